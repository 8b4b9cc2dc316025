//! Compiles policy and inventory into rulesets.
//!
//! What is stored is the ruleset that each asset should have: its digest, and its number. Assets with the
//! same policy share one compilation, and only what depends on a change is recompiled. A ruleset is encoded
//! and signed when its host requests it.
//!
//! An asset's own change is compiled at once, since its host waits; its effect on others is batched, and the
//! caller of [`RulesetCompiler::recompile`] decides how often. A result for one asset from a newer inventory
//! is never replaced by a result for all from an older one.

mod base;
mod changes;
mod compiled;
mod endpoints;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::sync::{Mutex, OwnedMutexGuard};
use xshield_model::Timestamp;
use xshield_policy::compile::{Bite, PolicyStanding};
use xshield_policy::inventory::Inventory;
use xshield_policy::{AssetId, Ruleset};
use xshield_store as store;
use xshield_store::rulesets::StoredRuleset;
use xshield_store::{Store, StoreError, StoreResult, assets, commit, rulesets};
use xshield_wire::RulesetVersion;
use xshield_wire::message::InForce;

use self::base::{Base, Whole};
pub use self::base::{Committed, Failure};
pub use self::changes::Changes;
pub use self::compiled::CompiledPolicy;
pub use self::endpoints::Endpoints;
use crate::error::{Doing as _, OperationError, Result};
use crate::policy::documents::read_stored;
use crate::policy::simulations::Permit;

/// Keeps the committed policy compiled for every asset.
#[derive(Debug)]
pub struct RulesetCompiler {
    store: Store,
    endpoints: Endpoints,
    state: Arc<Mutex<State>>,
    changes: Changes,
    /// For other users of the inventory: the threat list never blocks own assets.
    inventory: Changes,
    failures: std::sync::Mutex<BTreeMap<AssetId, String>>,
}

/// The inputs; `None` before a policy is committed.
#[derive(Debug, Default)]
struct State {
    base: Option<Base>,
    /// Assets compiled individually since a compilation for all began.
    touched: BTreeSet<AssetId>,
}

impl RulesetCompiler {
    /// Has not read the committed policy yet. `endpoints`: where hosts reach the platform.
    #[must_use]
    pub fn new(store: Store, endpoints: Endpoints) -> Self {
        Self {
            store,
            endpoints,
            state: Arc::default(),
            changes: Changes::default(),
            inventory: Changes::default(),
            failures: std::sync::Mutex::default(),
        }
    }

    /// Changes that require a [recompilation](Self::recompile).
    #[must_use]
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Changes of the inventory, for other users of it.
    #[must_use]
    pub fn inventory_changes(&self) -> &Changes {
        &self.inventory
    }

    /// A host has changed the inventory: the effect on other hosts is compiled in the background.
    pub fn host_changed(&self) {
        self.changes.by_host();
        self.inventory.by_host();
    }

    /// An operator has changed the inventory: rulesets are recompiled soon, in the background.
    pub fn inventory_changed(&self) {
        self.changes.by_operator();
        self.inventory.by_operator();
    }

    /// Why this asset's ruleset could not be compiled; its host keeps the previous one.
    #[must_use]
    pub fn failure(&self, asset: &AssetId) -> Option<String> {
        self.failures().get(asset).cloned()
    }

    /// The exclusive right to compile and store results.
    pub async fn turn(&self) -> CompilePermit {
        CompilePermit(self.state.clone().lock_owned().await)
    }

    /// Makes these the inputs and results: its rulesets are stored.
    pub fn adopt(&self, turn: CompilePermit, policy: CompiledPolicy) {
        let CompilePermit(mut state) = turn;
        self.failures().clear();
        *state = State { base: Some(policy.into_base()), touched: BTreeSet::new() };
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
    tracing::error!(%asset, %failure, "could not compile a ruleset; the old one stays");
    failure.to_string()
}

/// The exclusive right to compile.
#[derive(Debug)]
pub struct CompilePermit(OwnedMutexGuard<State>);

impl CompilePermit {
    /// Works on the inputs, off the async threads.
    async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<(Self, T)> {
        let Self(mut state) = self;
        let work = move || {
            let done = work(&mut state);
            (Self(state), done)
        };
        tokio::task::spawn_blocking(work).await.doing("compile rulesets")
    }
}

impl RulesetCompiler {
    /// Reads the committed policy and the inventory, unless already done.
    async fn load<'a>(&self, turn: &'a mut CompilePermit) -> StoreResult<Option<&'a mut Base>> {
        let CompilePermit(state) = turn;
        if state.base.is_none() {
            let mut conn = self.store.read().await?;
            if let Some(stored) = store::policy::committed(&mut conn).await? {
                let checked = read_stored(&stored.documents).map_err(|errors| {
                    let reasons: Vec<_> = errors.into_iter().map(|error| error.reason).collect();
                    StoreError::damaged("read the committed policy", reasons.join("; "))
                })?;
                let revision = stored.revision;
                let committed = Arc::new(Committed { revision, policy: checked.policy });
                let inventory = assets::inventory(&mut conn).await?;
                state.base = Some(Base::new(committed, &inventory, self.endpoints.get()));
            }
        }
        Ok(state.base.as_mut())
    }

    /// The committed policy, for whoever has the right to compile.
    ///
    /// # Errors
    /// When the database fails or what it holds is damaged.
    pub async fn committed_in(
        &self,
        turn: &mut CompilePermit,
    ) -> StoreResult<Option<Arc<Committed>>> {
        Ok(self.load(turn).await?.map(|base| base.committed.clone()))
    }

    /// The committed policy, parsed once.
    ///
    /// # Errors
    /// When the database fails or its content is damaged.
    pub async fn committed(&self) -> StoreResult<Option<Arc<Committed>>> {
        self.committed_in(&mut self.turn().await).await
    }

    /// Whether anybody can manage an asset by the committed policy; `None` while there is none, or when it
    /// can't be compiled for the asset.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_managed(&self, asset: &AssetId) -> StoreResult<Option<bool>> {
        let mut turn = self.turn().await;
        Ok(self.load(&mut turn).await?.and_then(|base| base.compiler().is_managed(asset)))
    }

    /// The state of these assets in the committed policy; empty if there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn standings(
        &self,
        assets: impl IntoIterator<Item = AssetId>,
    ) -> StoreResult<HashMap<AssetId, PolicyStanding>> {
        let mut turn = self.turn().await;
        let Some(base) = self.load(&mut turn).await? else { return Ok(HashMap::new()) };
        let compiler = base.compiler();
        let standing = |id: AssetId| compiler.standing(&id).map(|standing| (id, standing));
        Ok(assets.into_iter().filter_map(standing).collect())
    }

    /// The assets on which the committed policy enforces nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn not_enforced(&self) -> StoreResult<Vec<AssetId>> {
        let mut turn = self.turn().await;
        let Some(base) = self.load(&mut turn).await? else { return Ok(Vec::new()) };
        let compiler = base.compiler();
        let open = compiler.bites().filter(|(_, bite)| *bite != Bite::Enforce);
        Ok(open.map(|(id, _)| id.clone()).collect())
    }

    /// Compiles one asset's ruleset now, for a host that is waiting for it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn compile_one(&self, asset: &AssetId) -> Result<Option<InForce>> {
        Ok(self.up_to_date(asset).await?.1.map(|stored| stored.wanted()))
    }

    /// The current ruleset of an asset; `None` while no policy is committed.
    ///
    /// # Errors
    /// When it can't be compiled, or the database fails.
    pub async fn ruleset(&self, asset: &AssetId) -> Result<Option<(StoredRuleset, Ruleset)>> {
        let (turn, stored) = self.up_to_date(asset).await?;
        let Some(stored) = stored else { return Ok(None) };
        if let Some(failure) = self.failure(asset) {
            return Err(OperationError::RulesetNotCompiled { failure });
        }
        let id = asset.clone();
        let (turn, ruleset) =
            turn.work(move |state| Some(state.base.as_ref()?.ruleset(&id))).await?;
        drop(turn);
        let Some(ruleset) = ruleset else { return Ok(None) };
        let ruleset = ruleset
            .map_err(|error| OperationError::RulesetNotCompiled { failure: error.to_string() })?;
        Ok(Some((stored, ruleset)))
    }

    /// Compiles one asset's ruleset from the current database, and stores its digest if it changed.
    async fn up_to_date(&self, asset: &AssetId) -> Result<(CompilePermit, Option<StoredRuleset>)> {
        let mut turn = self.turn().await;
        let Some(base) = self.load(&mut turn).await? else { return Ok((turn, None)) };
        base.reached_at(self.endpoints.get());
        let (described, before) = {
            let mut conn = self.store.read().await?;
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
        self.note(asset, digest.as_ref().err().map(Arc::as_ref));
        let Ok(digest) = digest else { return Ok((turn, before)) };
        if before.is_some_and(|before| before.is(revision, digest)) {
            return Ok((turn, before));
        }
        let now = Timestamp::now();
        let mut tx = self.store.write().await?;
        let compilation = rulesets::next_compilation(&mut tx).await?;
        let version = RulesetVersion { revision, compilation };
        rulesets::put(&mut tx, version, &[(asset.clone(), digest)], now).await?;
        commit(tx).await?;
        Ok((turn, Some(StoredRuleset { version, digest, compiled_at: now })))
    }

    /// Compiles the committed policy for all assets, and returns those with a changed ruleset. An asset whose
    /// ruleset can't be compiled keeps its previous one and does not affect others.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recompile(&self) -> Result<Vec<AssetId>> {
        let mut turn = self.turn().await;
        if self.load(&mut turn).await?.is_none() {
            return Ok(Vec::new());
        }
        let inventory = assets::inventory(&mut *self.store.read().await?).await?;
        let endpoints = self.endpoints.get();
        let prepare = move |state: &mut State| {
            state.touched.clear();
            let base = state.base.as_mut()?;
            base.reached_at(endpoints);
            base.placement.follow(&base.committed.policy, &inventory);
            Some(base.clone())
        };
        // Hosts that wait for a compilation do not wait for the rest.
        let (turn, base) = turn.work(prepare).await?;
        drop(turn);
        let Some(base) = base else { return Ok(Vec::new()) };
        let (base, whole) = compile_off(base).await?;

        let CompilePermit(mut state) = self.turn().await;
        let State { base: current, touched } = &mut *state;
        let Some(current) = current.as_mut().filter(|current| current.is_of(&base)) else {
            // Another policy was committed meanwhile, with everything compiled.
            return Ok(Vec::new());
        };
        let revision = base.committed.revision;
        current.learn_from(base);
        let Whole { mut digests, failures } = whole;
        {
            let mut known = self.failures();
            known.retain(|asset, _| touched.contains(asset));
            let failures = failures.iter().filter(|(asset, _)| !touched.contains(asset));
            known.extend(failures.map(|(asset, failure)| (asset.clone(), told(asset, failure))));
        }
        let before = rulesets::all(&mut *self.store.read().await?).await?;
        digests.retain(|(asset, digest)| {
            let is_known =
                || before.get(asset.as_str()).is_some_and(|before| before.is(revision, *digest));
            !touched.contains(asset) && !is_known()
        });
        if digests.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.store.write().await?;
        let compilation = rulesets::next_compilation(&mut tx).await?;
        let version = RulesetVersion { revision, compilation };
        rulesets::put(&mut tx, version, &digests, Timestamp::now()).await?;
        commit(tx).await?;
        tracing::info!(changed = digests.len(), %version, "rulesets compiled");
        Ok(digests.into_iter().map(|(asset, _)| asset).collect())
    }

    /// Compiles a policy for all assets of an inventory without putting it into effect, and compares it with
    /// that of `before`. Cancelled when nobody waits for it any more.
    ///
    /// # Errors
    /// When the work could not be done.
    pub async fn compile_policy(
        &self,
        before: Option<Arc<Committed>>,
        committed: Committed,
        inventory: Inventory,
        permit: Permit,
    ) -> Result<CompiledPolicy> {
        let endpoints = self.endpoints.get();
        let work = move || {
            let before = before.as_deref().map(|before| &before.policy);
            let base = Base::new(Arc::new(committed), &inventory, endpoints);
            CompiledPolicy::of(base, before, &inventory, &permit)
        };
        tokio::task::spawn_blocking(work).await.doing("compile a policy")
    }
}

/// Compiles everything off the async threads.
async fn compile_off(mut base: Base) -> Result<(Base, Whole)> {
    let work = move || {
        let started = Instant::now();
        let whole = base.compile_whole();
        metrics::histogram!("xshield_compile_seconds").record(started.elapsed().as_secs_f64());
        (base, whole)
    };
    tokio::task::spawn_blocking(work).await.doing("compile rulesets")
}
