//! Policy and inventory become signed rulesets.
//!
//! One compilation runs at a time, from reading the inventory to storing the rulesets, so that an
//! older inventory's rulesets never replace a newer one's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard, Notify};
use xshield_policy::compile::{CompileError, Compiler};
use xshield_policy::document::Policy;
use xshield_policy::inventory::Inventory;
use xshield_policy::{AssetId, Revision};
use xshield_wire::envelope;
use xshield_wire::message::InForce;

use crate::clock::Timestamp;
use crate::policy::read_stored;
use crate::problem::Answer;
use crate::state::App;
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
    /// For whoever else looks at the inventory: the threat list never blocks own assets.
    pub(super) inventory: Notify,
    failures: std::sync::Mutex<BTreeMap<AssetId, String>>,
}

impl Compiling {
    /// The inventory has changed: rulesets are compiled again, soon and in the background.
    pub fn inventory_changed(&self) {
        self.changed.notify_one();
        self.inventory.notify_one();
    }

    /// Why this asset's ruleset could not be compiled when it last should have been; the asset keeps
    /// the one of before.
    #[must_use]
    pub fn failure(&self, asset: &AssetId) -> Option<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(asset).cloned()
    }

    /// The right to compile, and the place of the committed policy.
    pub(super) async fn turn(&self) -> MutexGuard<'_, Option<Arc<Committed>>> {
        self.committed.lock().await
    }

    pub(super) fn note(&self, scope: &Scope, failures: Failures) {
        let mut known = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match scope {
            Scope::All => known.clear(),
            Scope::One(asset) => drop(known.remove(asset)),
        }
        known.extend(failures.into_iter().map(|(asset, failure)| (asset, failure.to_string())));
    }
}

/// Which assets a compilation is for.
#[derive(Debug, Clone)]
pub(super) enum Scope {
    All,
    One(AssetId),
}

pub(super) type Compiled = Vec<(AssetId, StoredRuleset)>;
pub(super) type Failures = Vec<(AssetId, Failure)>;

/// Why an asset's ruleset was not compiled.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Seal(#[from] envelope::SealError),
}

/// What a compilation came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) compiled: Compiled,
    pub(super) failures: Failures,
    pub(super) warnings: Vec<String>,
}

/// The committed policy, parsed once.
///
/// # Errors
/// When the database fails or what it holds is damaged.
pub async fn committed(app: &App) -> StoreResult<Option<Arc<Committed>>> {
    let mut cached = app.compiling.turn().await;
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

/// Compiles the committed policy again. An asset whose ruleset can't be compiled keeps the one of
/// before and does not keep others from theirs.
async fn recompile(app: &App, scope: Scope) -> Answer<()> {
    let mut cached = app.compiling.turn().await;
    let Some(committed) = load(app, &mut cached).await? else { return Ok(()) };
    let (inventory, before) = {
        let mut conn = app.store.read().await?;
        let inventory = assets::inventory(&mut conn).await?;
        (inventory, rulesets::all_wanted(&mut conn).await?)
    };
    let Outcome { compiled, failures, .. } =
        compile(app, &committed, inventory, scope.clone()).await?;
    for (asset, failure) in &failures {
        tracing::error!(%asset, %failure, "a ruleset could not be compiled; the old one stays");
    }
    app.compiling.note(&scope, failures);
    let changed = changed(compiled, &before);
    if changed.is_empty() {
        return Ok(());
    }
    let mut tx = app.store.write().await?;
    for (asset, ruleset) in &changed {
        rulesets::put(&mut tx, asset, ruleset).await?;
    }
    commit(tx).await?;
    changed.iter().for_each(|(asset, _)| app.waking.wake(asset));
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
pub(super) async fn compile(
    app: &App,
    committed: &Arc<Committed>,
    inventory: Inventory,
    scope: Scope,
) -> Answer<Outcome> {
    let (app, committed) = (app.clone(), committed.clone());
    let work = move || {
        let started = Instant::now();
        let outcome = compile_blocking(&app, &committed, &inventory, &app.endpoints(), &scope);
        metrics::histogram!("xshield_compile_seconds").record(started.elapsed().as_secs_f64());
        outcome
    };
    Ok(tokio::task::spawn_blocking(work).await?)
}

fn compile_blocking(
    app: &App,
    committed: &Committed,
    inventory: &Inventory,
    endpoints: &[SocketAddr],
    scope: &Scope,
) -> Outcome {
    let now = Timestamp::now();
    let compiler = Compiler::new(&committed.policy, inventory, committed.revision, endpoints);
    let sealed = |id: &AssetId| -> Result<StoredRuleset, Failure> {
        let envelope = envelope::seal(&app.keys.policy, &compiler.ruleset(id)?)?;
        let wanted = InForce { revision: committed.revision, digest: envelope.digest() };
        let envelope = String::from_utf8_lossy(&envelope.to_bytes()).into_owned();
        Ok(StoredRuleset { wanted, envelope, compiled_at: now })
    };
    let mut outcome = Outcome {
        warnings: compiler.warnings().iter().map(ToString::to_string).collect(),
        ..Outcome::default()
    };
    let ids = inventory.assets.iter().map(|asset| &asset.id).filter(|id| match scope {
        Scope::All => true,
        Scope::One(wanted) => wanted == *id,
    });
    for id in ids {
        match sealed(id) {
            Ok(ruleset) => outcome.compiled.push((id.clone(), ruleset)),
            Err(failure) => outcome.failures.push((id.clone(), failure)),
        }
    }
    outcome
}

/// Compiles again whenever the inventory has changed, gathering changes that come together.
pub async fn run(app: App) {
    const RETRY: Duration = Duration::from_secs(5);
    loop {
        app.compiling.changed.notified().await;
        tokio::time::sleep(Duration::from_millis(app.settings.gather_changes_ms)).await;
        app.configuring.changed();
        // The problem is in the log by now.
        if recompile(&app, Scope::All).await.is_err() {
            tokio::time::sleep(RETRY).await;
            app.compiling.inventory_changed();
        }
    }
}
