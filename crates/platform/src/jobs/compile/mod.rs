//! Policy and inventory become rulesets.
//!
//! What is stored is which ruleset each asset should have: its digest, and its place among all. Assets
//! of which the policy says the same share one compilation, and only what depends on a change is
//! compiled again. A ruleset is written and signed when its host asks for it.
//!
//! An asset's own change is compiled at once, since its host waits; what it means for others is
//! gathered ([`super::pace`]). What was compiled for one asset from a newer inventory is never
//! replaced by what was compiled for all from an older one.

mod base;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use xshield_api::impact::ImpactSummary;
use xshield_model::Timestamp;
use xshield_policy::compile::{Bite, CompileError, PolicyStanding};
use xshield_policy::document::Policy;
use xshield_policy::inventory::Inventory;
use xshield_policy::{AssetId, Impact};
use xshield_store as store;
use xshield_store::rulesets::StoredRuleset;
use xshield_store::{StoreError, StoreResult, Tx, assets, commit, rulesets};
use xshield_wire::message::{Digest, InForce};
use xshield_wire::{Envelope, RulesetVersion, envelope};

pub use self::base::Committed;
pub(super) use self::base::Failure;
use self::base::{Base, Whole};
use super::pace::{Changes, Pace};
use crate::impact::summary;
use crate::policy::read_stored;
use crate::problem::{Answer, Problem};
use crate::rehearsals;
use crate::state::App;

/// The state of compiling.
#[derive(Debug, Default)]
pub struct Compiling {
    state: Arc<Mutex<State>>,
    changes: Changes,
    /// For whoever else looks at the inventory: the threat list never blocks own assets.
    pub(super) inventory: Changes,
    failures: std::sync::Mutex<BTreeMap<AssetId, String>>,
}

/// What is compiled from; nothing before a policy is committed.
#[derive(Debug, Default)]
pub(super) struct State {
    base: Option<Base>,
    /// Assets that were compiled by themselves since a compilation for all was begun.
    touched: BTreeSet<AssetId>,
}

impl Compiling {
    /// The inventory has changed by a host's word: what that means for other hosts is compiled in the
    /// background, before long.
    pub fn host_changed(&self) {
        self.changes.by_host();
        self.inventory.by_host();
    }

    /// The inventory has changed by an operator's word: rulesets are compiled again in the
    /// background, soon.
    pub fn inventory_changed(&self) {
        self.changes.by_operator();
        self.inventory.by_operator();
    }

    /// Why this asset's ruleset could not be compiled when it last should have been; its host keeps
    /// the one that it has.
    #[must_use]
    pub fn failure(&self, asset: &AssetId) -> Option<String> {
        self.failures().get(asset).cloned()
    }

    /// The right to compile, and to store what was compiled.
    pub(super) async fn turn(&self) -> Turn {
        Turn(self.state.clone().lock_owned().await)
    }

    /// From now on this is compiled from: its rulesets are stored.
    pub(super) fn committed(&self, turn: Turn, policy: Rehearsed) {
        let Turn(mut state) = turn;
        self.failures().clear();
        *state = State { base: Some(policy.base), touched: BTreeSet::new() };
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, BTreeMap<AssetId, String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, asset: &AssetId, failure: Option<&Failure>) {
        match failure {
            Some(failure) => drop(self.failures().insert(asset.clone(), told(asset, failure))),
            None => drop(self.failures().remove(asset)),
        }
    }
}

fn told(asset: &AssetId, failure: &Failure) -> String {
    tracing::error!(%asset, %failure, "a ruleset could not be compiled; the old one stays");
    failure.to_string()
}

/// The right to compile.
pub(super) struct Turn(OwnedMutexGuard<State>);

impl Turn {
    /// Works on what is compiled from, off the async threads.
    async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Answer<(Self, T)> {
        let Self(mut state) = self;
        let work = move || {
            let done = work(&mut state);
            (Self(state), done)
        };
        Ok(tokio::task::spawn_blocking(work).await?)
    }

    /// The committed policy, parsed once.
    pub(super) async fn committed(&mut self, app: &App) -> StoreResult<Option<Arc<Committed>>> {
        Ok(self.load(app).await?.map(|base| base.committed.clone()))
    }

    /// Reads the committed policy and the inventory, unless that was done.
    async fn load(&mut self, app: &App) -> StoreResult<Option<&mut Base>> {
        let Self(state) = self;
        if state.base.is_none() {
            let mut conn = app.store.read().await?;
            if let Some(stored) = store::policy::committed(&mut conn).await? {
                let checked = read_stored(&stored.documents).map_err(|errors| {
                    let reasons: Vec<_> = errors.into_iter().map(|error| error.reason).collect();
                    StoreError::damaged("read the committed policy", reasons.join("; "))
                })?;
                let revision = stored.revision;
                let committed = Arc::new(Committed { revision, policy: checked.policy });
                let inventory = assets::inventory(&mut conn).await?;
                state.base = Some(Base::new(committed, &inventory, app.endpoints()));
            }
        }
        Ok(state.base.as_mut())
    }
}

/// The committed policy, parsed once.
///
/// # Errors
/// When the database fails or what it holds is damaged.
pub async fn committed(app: &App) -> StoreResult<Option<Arc<Committed>>> {
    app.compiling.turn().await.committed(app).await
}

/// Whether anybody can manage an asset by the committed policy; `None` while there is none, or when it
/// can't be compiled for the asset.
///
/// # Errors
/// When the database fails.
pub async fn is_managed(app: &App, asset: &AssetId) -> StoreResult<Option<bool>> {
    let mut turn = app.compiling.turn().await;
    Ok(turn.load(app).await?.and_then(|base| base.compiler().is_managed(asset)))
}

/// Where these assets stand in the committed policy; nothing while there is none.
///
/// # Errors
/// When the database fails.
pub async fn standings(
    app: &App,
    assets: impl IntoIterator<Item = AssetId>,
) -> StoreResult<HashMap<AssetId, PolicyStanding>> {
    let mut turn = app.compiling.turn().await;
    let Some(base) = turn.load(app).await? else { return Ok(HashMap::new()) };
    let compiler = base.compiler();
    let standing = |id: AssetId| compiler.standing(&id).map(|standing| (id, standing));
    Ok(assets.into_iter().filter_map(standing).collect())
}

/// The assets on which the committed policy enforces nothing.
///
/// # Errors
/// When the database fails.
pub async fn not_enforced(app: &App) -> StoreResult<Vec<AssetId>> {
    let mut turn = app.compiling.turn().await;
    let Some(base) = turn.load(app).await? else { return Ok(Vec::new()) };
    let compiler = base.compiler();
    let open = compiler.bites().filter(|(_, bite)| *bite != Bite::Enforce);
    Ok(open.map(|(id, _)| id.clone()).collect())
}

/// Compiles one asset's ruleset now, for a host that is waiting for it.
///
/// # Errors
/// When the database fails.
pub async fn compile_one(app: &App, asset: &AssetId) -> Answer<Option<InForce>> {
    Ok(up_to_date(app, asset).await?.1.map(|stored| stored.wanted()))
}

/// A signed ruleset.
#[derive(Debug)]
pub struct Signed {
    /// Which one it is.
    pub stored: StoredRuleset,
    /// As the host gets it.
    pub envelope: Envelope,
}

/// An asset's ruleset as it should be by now; `None` while no policy is committed.
///
/// # Errors
/// When it can't be compiled, or the database fails.
pub async fn signed(app: &App, asset: &AssetId) -> Answer<Option<Signed>> {
    let (turn, stored) = up_to_date(app, asset).await?;
    let Some(stored) = stored else { return Ok(None) };
    if let Some(failure) = app.compiling.failure(asset) {
        return Err(not_compiled(&failure));
    }
    let id = asset.clone();
    let (turn, ruleset) = turn.work(move |state| Some(state.base.as_ref()?.ruleset(&id))).await?;
    drop(turn);
    let Some(ruleset) = ruleset else { return Ok(None) };
    let ruleset = ruleset.map_err(|error| not_compiled(&error.to_string()))?;
    let app = app.clone();
    let seal =
        move || envelope::seal_ruleset(&app.keys.policy, &ruleset, stored.version.compilation);
    let envelope = tokio::task::spawn_blocking(seal).await?;
    let envelope = envelope.map_err(|error| Problem::internal(&error))?;
    Ok(Some(Signed { stored, envelope }))
}

fn not_compiled(failure: &str) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "ruleset-not-compiled",
        "The asset's ruleset can't be compiled",
    )
    .detail(format!("{failure}; the host keeps the ruleset that it has until the policy is mended"))
}

/// Compiles one asset's ruleset from what the database says of it now, and stores which one it is
/// when it is another than before.
async fn up_to_date(app: &App, asset: &AssetId) -> Answer<(Turn, Option<StoredRuleset>)> {
    let mut turn = app.compiling.turn().await;
    let Some(base) = turn.load(app).await? else { return Ok((turn, None)) };
    base.reached_at(app.endpoints());
    let (described, before) = {
        let mut conn = app.store.read().await?;
        let described = assets::described(&mut conn, asset).await?;
        (described, rulesets::get(&mut conn, asset).await?)
    };
    let id = asset.clone();
    let compile = move |state: &mut State| {
        let base = state.base.as_mut()?;
        match &described {
            Some(asset) => base.placement.put(&base.committed.policy, asset),
            None => base.placement.remove(&id),
        }
        state.touched.insert(id.clone());
        let revision = base.committed.revision;
        base.digest(&id).map(|digest| (revision, digest))
    };
    let (turn, compiled) = turn.work(compile).await?;
    let Some((revision, digest)) = compiled else { return Ok((turn, before)) };
    app.compiling.note(asset, digest.as_ref().err().map(Arc::as_ref));
    let Ok(digest) = digest else { return Ok((turn, before)) };
    if before.is_some_and(|before| before.is(revision, digest)) {
        return Ok((turn, before));
    }
    let now = Timestamp::now();
    let mut tx = app.store.write().await?;
    let compilation = rulesets::next_compilation(&mut tx).await?;
    let version = RulesetVersion { revision, compilation };
    rulesets::put(&mut tx, version, &[(asset.clone(), digest)], now).await?;
    commit(tx).await?;
    Ok((turn, Some(StoredRuleset { version, digest, compiled_at: now })))
}

/// Compiles the committed policy for all assets, and says for how many it is news. An asset whose
/// ruleset can't be compiled keeps the one of before and does not keep others from theirs.
async fn recompile(app: &App) -> Answer<usize> {
    let mut turn = app.compiling.turn().await;
    if turn.load(app).await?.is_none() {
        return Ok(0);
    }
    let inventory = assets::inventory(&mut *app.store.read().await?).await?;
    let endpoints = app.endpoints();
    let prepare = move |state: &mut State| {
        state.touched.clear();
        let base = state.base.as_mut()?;
        base.reached_at(endpoints);
        base.placement.follow(&base.committed.policy, &inventory);
        Some(base.clone())
    };
    // Hosts that have something to be compiled do not wait for the rest of it.
    let (turn, base) = turn.work(prepare).await?;
    drop(turn);
    let Some(base) = base else { return Ok(0) };
    let (base, whole) = compile_off(base).await?;

    let Turn(mut state) = app.compiling.turn().await;
    let State { base: current, touched } = &mut *state;
    let Some(current) = current.as_mut().filter(|current| current.is_of(&base)) else {
        // Committed anew meanwhile: by whoever compiled all of it.
        return Ok(0);
    };
    let revision = base.committed.revision;
    current.learn_from(base);
    let Whole { mut digests, failures } = whole;
    {
        let mut known = app.compiling.failures();
        known.retain(|asset, _| touched.contains(asset));
        let failures = failures.iter().filter(|(asset, _)| !touched.contains(asset));
        known.extend(failures.map(|(asset, failure)| (asset.clone(), told(asset, failure))));
    }
    let before = rulesets::all(&mut *app.store.read().await?).await?;
    digests.retain(|(asset, digest)| {
        let is_known =
            || before.get(asset.as_str()).is_some_and(|before| before.is(revision, *digest));
        !touched.contains(asset) && !is_known()
    });
    if digests.is_empty() {
        return Ok(0);
    }
    let mut tx = app.store.write().await?;
    let compilation = rulesets::next_compilation(&mut tx).await?;
    let version = RulesetVersion { revision, compilation };
    rulesets::put(&mut tx, version, &digests, Timestamp::now()).await?;
    commit(tx).await?;
    digests.iter().for_each(|(asset, _)| app.waking.wake(asset));
    tracing::info!(changed = digests.len(), %version, "rulesets compiled");
    Ok(digests.len())
}

/// Compiles everything off the async threads.
async fn compile_off(mut base: Base) -> Answer<(Base, Whole)> {
    let work = move || {
        let started = Instant::now();
        let whole = base.compile_whole();
        metrics::histogram!("xshield_compile_seconds").record(started.elapsed().as_secs_f64());
        (base, whole)
    };
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// A policy that was compiled for all assets of an inventory.
pub(super) struct Rehearsed {
    base: Base,
    whole: Whole,
    /// What compiled but probably isn't meant.
    pub(super) warnings: Vec<String>,
    /// What becomes of assets when it takes the committed policy's place.
    impact: Result<Impact, CompileError>,
}

/// Compiles a policy for all assets of an inventory, without anything coming of it, and compares it
/// with the one of `before`. Stops when nobody waits for it any more.
pub(super) async fn rehearse(
    app: &App,
    before: Option<Arc<Committed>>,
    committed: Committed,
    inventory: Inventory,
    turn: rehearsals::Turn,
) -> Answer<Rehearsed> {
    let endpoints = app.endpoints();
    let work = move || {
        let mut base = Base::new(Arc::new(committed), &inventory, endpoints);
        let warnings = base.compiler().warnings().iter().map(ToString::to_string).collect();
        let whole = base.compile_while(|| !turn.is_given_up());
        let impact = if turn.is_given_up() {
            Ok(Impact::default())
        } else {
            base.impact(before.as_deref().map(|before| &before.policy), &inventory)
        };
        Rehearsed { base, whole, warnings, impact }
    };
    Ok(tokio::task::spawn_blocking(work).await?)
}

impl Rehearsed {
    /// The policy.
    pub(super) fn policy(&self) -> &Policy {
        &self.base.committed.policy
    }

    /// Every asset for which it could not be compiled, by name.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.whole.failures.iter().map(|(asset, failure)| {
            let name = self.base.placement.name(asset);
            (name.map_or(asset.as_str(), |name| name.as_str()), failure.as_ref())
        })
    }

    /// What becomes of assets when it takes the committed policy's place; `documents` are its own, as
    /// JSON.
    pub(super) fn impact(&self, documents: &str) -> Answer<ImpactSummary> {
        let impact = self.impact.as_ref().map_err(|error| Problem::internal(error))?;
        let assets = self.base.placement.classes().count();
        summary(impact, assets, documents).map_err(|error| Problem::internal(&error))
    }

    /// Which rulesets assets should have.
    pub(super) fn digests(&self) -> &[(AssetId, Digest)] {
        &self.whole.digests
    }

    /// Stores which rulesets assets should have.
    pub(super) async fn store(&self, tx: &mut Tx, now: Timestamp) -> StoreResult<()> {
        let revision = self.base.committed.revision;
        let compilation = rulesets::next_compilation(tx).await?;
        rulesets::put(tx, RulesetVersion { revision, compilation }, self.digests(), now).await
    }
}

/// Compiles again whenever the inventory has changed, gathering changes that come together.
pub async fn run(app: App) {
    const RETRY: Duration = Duration::from_secs(5);
    let mut pace = Pace::new(Duration::from_millis(app.settings.gather_changes_ms));
    loop {
        pace.gather(&app.compiling.changes).await;
        app.configuring.changed();
        let begun = Instant::now();
        match recompile(&app).await {
            Ok(told) => pace.worked(begun, Instant::now(), told),
            // The problem is in the log by now.
            Err(_) => {
                tokio::time::sleep(RETRY).await;
                app.compiling.inventory_changed();
            }
        }
    }
}
