//! Policy and inventory become signed rulesets.
//!
//! One compilation runs at a time, from reading the inventory to storing the rulesets, so that an
//! older inventory's rulesets never replace a newer one's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::sync::{Mutex, Notify};
use xshield_policy::compile::{CompileError, Compiler};
use xshield_policy::document::Policy;
use xshield_policy::inventory::Inventory;
use xshield_policy::{AssetId, Revision};
use xshield_wire::envelope;
use xshield_wire::message::InForce;

use crate::clock::Timestamp;
use crate::policy::read_stored;
use crate::problem::{Answer, FieldError, Problem};
use crate::state::App;
use crate::store::audit::{self, Deed};
use crate::store::policy::CommittedPolicy;
use crate::store::rulesets::StoredRuleset;
use crate::store::{self, StoreError, StoreResult, assets, commit, rulesets};

/// A committed policy, parsed.
#[derive(Debug)]
pub struct Committed {
    /// Its number.
    pub revision: Revision,
    /// Its content.
    pub policy: Policy,
}

/// The state of compiling.
#[derive(Debug, Default)]
pub struct Compiling {
    committed: Mutex<Option<Arc<Committed>>>,
    changed: Notify,
    failure: std::sync::Mutex<Option<String>>,
}

impl Compiling {
    /// The inventory has changed: rulesets are compiled again, soon and in the background.
    pub fn inventory_changed(&self) {
        self.changed.notify_one();
    }

    /// Why the last compilation in the background failed; rulesets of before stay then.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_failure(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// Which assets a compilation is for.
#[derive(Debug, Clone)]
enum Scope {
    All,
    One(AssetId),
}

type Compiled = Vec<(AssetId, StoredRuleset)>;

/// Why nothing was compiled.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Seal(#[from] envelope::SealError),
}

/// What synchronizing did.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Synchronized {
    /// The new revision.
    pub revision: u64,
    /// How many assets have a ruleset of it.
    pub assets: usize,
    /// What compiled but probably isn't meant.
    pub warnings: Vec<String>,
}

/// Who synchronizes what.
#[derive(Debug)]
pub struct Request {
    /// As the audit log writes it.
    pub actor: String,
    /// Refused unless the candidate is of this version.
    pub expected_version: Option<u64>,
    /// What the operator says about it.
    pub note: String,
}

/// Makes the candidate the committed policy: compiles it for every asset, and only when that
/// succeeds stores revision and rulesets, all or nothing.
///
/// # Errors
/// A problem that lists what can't be compiled.
pub async fn synchronize(app: &App, request: Request) -> Answer<Synchronized> {
    let mut committed = app.compiling.committed.lock().await;
    let (candidate, last, inventory) = {
        let mut conn = app.store.read().await?;
        let candidate = store::policy::candidate(&mut conn).await?;
        let last = store::policy::committed(&mut conn).await?.map(|policy| policy.revision);
        (candidate, last, assets::inventory(&mut conn).await?)
    };
    if request.expected_version.is_some_and(|expected| expected != candidate.version) {
        return Err(Problem::conflict(
            "candidate-changed",
            format!("the candidate is of version {} by now; look at it again", candidate.version),
        )
        .field("/expected_version"));
    }
    let policy = read_stored(&candidate.documents).map_err(invalid_policy)?.policy;
    let revision = Revision(last.unwrap_or_default().0 + 1);
    let fresh = Arc::new(Committed { revision, policy });
    let (compiled, warnings) =
        compile(app, &fresh, inventory, Scope::All).await?.map_err(does_not_compile)?;

    let now = Timestamp::now();
    let mut tx = app.store.write().await?;
    let stored = CommittedPolicy {
        revision,
        documents: candidate.documents,
        note: request.note.clone(),
        committed_at: now,
        committed_by: request.actor.clone(),
    };
    store::policy::insert_revision(&mut tx, &stored).await?;
    for (asset, ruleset) in &compiled {
        rulesets::put(&mut tx, asset, ruleset).await?;
    }
    let deed = Deed {
        actor: &request.actor,
        action: "policy.synchronize",
        target: "policy",
        before: last.map_or_else(String::new, |last| format!("revision {last}")),
        after: format!("revision {revision}, {} assets; {}", compiled.len(), request.note),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    *committed = Some(fresh);
    app.compiling.set_failure(None);
    Ok(Synchronized { revision: revision.0, assets: compiled.len(), warnings })
}

/// Compiles documents that aren't committed, to see whether that works.
///
/// # Errors
/// A problem that lists what can't be compiled.
pub async fn rehearse(app: &App, policy: Policy) -> Answer<Vec<String>> {
    let inventory = assets::inventory(&mut *app.store.read().await?).await?;
    let rehearsed = Arc::new(Committed { revision: Revision(0), policy });
    let compiled = compile(app, &rehearsed, inventory, Scope::All).await?;
    compiled.map(|(_, warnings)| warnings).map_err(does_not_compile)
}

/// Everything wrong in a set of documents, as a problem.
#[must_use]
pub fn invalid_policy(errors: Vec<FieldError>) -> Problem {
    let problem =
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-policy", "The policy is not valid");
    let first = errors.first().map(|error| {
        let place = error.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        format!("{place}{}", error.reason)
    });
    let field = errors.first().map(|error| error.field.clone()).unwrap_or_default();
    problem.field(field).detail(first.unwrap_or_default()).errors(errors)
}

fn does_not_compile(failure: Failure) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "policy-does-not-compile",
        "The policy can't be compiled",
    )
    .detail(format!("{failure}; nothing was changed"))
}

/// The committed policy, parsed once.
///
/// # Errors
/// When the database fails or what it holds is damaged.
pub async fn committed(app: &App) -> StoreResult<Option<Arc<Committed>>> {
    let mut cached = app.compiling.committed.lock().await;
    load(app, &mut cached).await
}

async fn load(
    app: &App,
    cached: &mut Option<Arc<Committed>>,
) -> StoreResult<Option<Arc<Committed>>> {
    if cached.is_none() {
        let mut conn = app.store.read().await?;
        if let Some(stored) = store::policy::committed(&mut conn).await? {
            let checked = read_stored(&stored.documents).map_err(|errors| {
                let reasons: Vec<_> = errors.into_iter().map(|error| error.reason).collect();
                StoreError::damaged("read the committed policy", reasons.join("; "))
            })?;
            let revision = stored.revision;
            *cached = Some(Arc::new(Committed { revision, policy: checked.policy }));
        }
    }
    Ok(cached.clone())
}

/// Compiles one asset's ruleset now, for a host that is waiting for it.
///
/// # Errors
/// When the database fails.
pub async fn compile_one(app: &App, asset: &AssetId) -> Answer<Option<InForce>> {
    recompile(app, Scope::One(asset.clone())).await?;
    Ok(rulesets::wanted(&mut *app.store.read().await?, asset).await?)
}

async fn recompile(app: &App, scope: Scope) -> Answer<()> {
    let mut cached = app.compiling.committed.lock().await;
    let Some(committed) = load(app, &mut cached).await? else { return Ok(()) };
    let (inventory, before) = {
        let mut conn = app.store.read().await?;
        let inventory = assets::inventory(&mut conn).await?;
        (inventory, rulesets::all_wanted(&mut conn).await?)
    };
    let compiled = match compile(app, &committed, inventory, scope).await? {
        Ok((compiled, _)) => compiled,
        Err(failure) => {
            tracing::error!(%failure, "rulesets could not be compiled again; the old ones stay");
            app.compiling.set_failure(Some(failure.to_string()));
            return Ok(());
        }
    };
    app.compiling.set_failure(None);
    let changed = changed(compiled, &before);
    if changed.is_empty() {
        return Ok(());
    }
    let mut tx = app.store.write().await?;
    for (asset, ruleset) in &changed {
        rulesets::put(&mut tx, asset, ruleset).await?;
    }
    commit(tx).await?;
    tracing::info!(changed = changed.len(), revision = %committed.revision, "rulesets compiled");
    Ok(())
}

fn changed(compiled: Compiled, before: &BTreeMap<String, InForce>) -> Compiled {
    let is_new = |(asset, ruleset): &(AssetId, StoredRuleset)| {
        before.get(asset.as_str()) != Some(&ruleset.wanted)
    };
    compiled.into_iter().filter(is_new).collect()
}

/// Compiles and signs off the async threads.
async fn compile(
    app: &App,
    committed: &Arc<Committed>,
    inventory: Inventory,
    scope: Scope,
) -> Answer<Result<(Compiled, Vec<String>), Failure>> {
    let (app, committed) = (app.clone(), committed.clone());
    let work = move || {
        let started = Instant::now();
        let endpoints = app.endpoints();
        let compiled = compile_blocking(&app, &committed, &inventory, &endpoints, &scope);
        metrics::histogram!("xshield_compile_seconds").record(started.elapsed().as_secs_f64());
        compiled
    };
    Ok(tokio::task::spawn_blocking(work).await?)
}

fn compile_blocking(
    app: &App,
    committed: &Committed,
    inventory: &Inventory,
    endpoints: &[SocketAddr],
    scope: &Scope,
) -> Result<(Compiled, Vec<String>), Failure> {
    let now = Timestamp::now();
    let compiler = Compiler::new(&committed.policy, inventory, committed.revision, endpoints);
    let ids = inventory.assets.iter().map(|asset| &asset.id).filter(|id| match scope {
        Scope::All => true,
        Scope::One(wanted) => wanted == *id,
    });
    let compiled = ids
        .map(|id| {
            let envelope = envelope::seal(&app.keys.policy, &compiler.ruleset(id)?)?;
            let wanted = InForce { revision: committed.revision, digest: envelope.digest() };
            let envelope = String::from_utf8_lossy(&envelope.to_bytes()).into_owned();
            Ok((id.clone(), StoredRuleset { wanted, envelope, compiled_at: now }))
        })
        .collect::<Result<Compiled, Failure>>()?;
    let warnings = compiler.warnings().iter().map(ToString::to_string).collect();
    Ok((compiled, warnings))
}

/// Compiles again whenever the inventory has changed, gathering changes that come together.
pub async fn run(app: App) {
    loop {
        app.compiling.changed.notified().await;
        tokio::time::sleep(Duration::from_millis(app.settings.gather_changes_ms)).await;
        if let Err(problem) = recompile(&app, Scope::All).await {
            let detail = problem.detail.clone().unwrap_or_default();
            app.compiling.set_failure(Some(detail));
            tokio::time::sleep(Duration::from_secs(5)).await;
            app.compiling.inventory_changed();
        }
    }
}
