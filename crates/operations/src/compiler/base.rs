//! The inputs of rulesets, held in memory, and the results.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use xshield_policy::compile::{Addresses, Class, CompileError, Compiler, Placement};
use xshield_policy::document::Policy;
use xshield_policy::inventory::Inventory;
use xshield_policy::{AssetId, Impact, Revision, Ruleset};
use xshield_wire::SharedDigest;
use xshield_wire::envelope;
use xshield_wire::message::Digest;

/// A committed policy, parsed.
#[derive(Debug)]
pub struct Committed {
    /// Its number.
    pub revision: Revision,
    /// Its content.
    pub policy: Policy,
}

/// Why an asset's ruleset was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The policy can't be compiled for it.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The result can't be encoded.
    #[error(transparent)]
    Seal(#[from] envelope::SealError),
}

/// The result for a class.
type CompileResult = Result<SharedDigest, Arc<Failure>>;

/// A compiled class, with all its inputs.
#[derive(Debug, Clone)]
struct Known {
    inputs: Vec<Addresses>,
    outcome: CompileResult,
}

/// Policy, inventory and endpoints. Cheap to clone: large parts are shared.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) committed: Arc<Committed>,
    endpoints: Vec<SocketAddr>,
    pub(super) placement: Placement,
    known: HashMap<Class, Known>,
}

/// The result of compiling everything.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) digests: Vec<(AssetId, Digest)>,
    pub(super) failures: Vec<(AssetId, Arc<Failure>)>,
}

impl Base {
    pub(super) fn new(
        committed: Arc<Committed>,
        inventory: &Inventory,
        endpoints: Vec<SocketAddr>,
    ) -> Self {
        let placement = Placement::of(&committed.policy, inventory);
        Self { committed, endpoints, placement, known: HashMap::new() }
    }

    /// Sets the endpoints; everything is recompiled when they differ.
    pub(super) fn reached_at(&mut self, endpoints: Vec<SocketAddr>) {
        if self.endpoints != endpoints {
            self.endpoints = endpoints;
            self.known.clear();
        }
    }

    /// Whether results from `other` are valid here, too.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.committed, &other.committed) && self.endpoints == other.endpoints
    }

    /// Takes over results from another instance.
    pub(super) fn learn_from(&mut self, other: Self) {
        self.known = other.known;
    }

    pub(super) fn compiler(&self) -> Compiler<'_> {
        let Committed { policy, revision } = &*self.committed;
        Compiler::placed(policy, &self.placement, *revision, &self.endpoints)
    }

    /// The impact on these assets when this policy replaces the previous one.
    pub(super) fn impact(
        &self,
        before: Option<&Policy>,
        inventory: &Inventory,
    ) -> Result<Impact, CompileError> {
        let none = Policy::default();
        let before = before.unwrap_or(&none);
        let before = Compiler::new(before, inventory, self.committed.revision, &self.endpoints);
        Impact::between(&before, &self.compiler())
    }

    /// The digest of one asset's ruleset; `None` when there is no such asset.
    pub(super) fn digest(&mut self, id: &AssetId) -> Option<Result<Digest, Arc<Failure>>> {
        let class = self.placement.class(id)?.clone();
        let Self { committed, endpoints, placement, known } = self;
        let compiler =
            Compiler::placed(&committed.policy, placement, committed.revision, endpoints);
        let outcome = compiled(&compiler, known, &class, id);
        Some(for_one(&compiler, &outcome, id))
    }

    /// The ruleset of one asset.
    pub(super) fn ruleset(&self, id: &AssetId) -> Result<Ruleset, CompileError> {
        let compiler = self.compiler();
        compiler.check_own_host(id)?;
        compiler.ruleset(id)
    }

    /// Compiles for every asset. Results whose inputs have not changed are reused, and assets of one class
    /// are compiled once.
    pub(super) fn compile_whole(&mut self) -> Whole {
        self.compile_while(|| true)
    }

    /// The same, with cancellation: a partial result is useless.
    pub(super) fn compile_while(&mut self, is_wanted: impl Fn() -> bool) -> Whole {
        let Self { committed, endpoints, placement, known } = self;
        let compiler =
            Compiler::placed(&committed.policy, placement, committed.revision, endpoints);
        let mut whole = Whole::default();
        let mut seen: HashMap<&Class, CompileResult> = HashMap::new();
        for (id, class) in placement.classes().take_while(|_| is_wanted()) {
            let outcome =
                seen.entry(class).or_insert_with(|| compiled(&compiler, known, class, id));
            match for_one(&compiler, outcome, id) {
                Ok(digest) => whole.digests.push((id.clone(), digest)),
                Err(failure) => whole.failures.push((id.clone(), failure)),
            }
        }
        known.retain(|class, _| seen.contains_key(class));
        whole
    }
}

/// The result of a class for one of its assets.
fn for_one(
    compiler: &Compiler<'_>,
    outcome: &CompileResult,
    id: &AssetId,
) -> Result<Digest, Arc<Failure>> {
    let shared = outcome.as_ref().map_err(Arc::clone)?;
    compiler.check_own_host(id).map_err(|error| Arc::new(Failure::from(error)))?;
    Ok(shared.for_asset(id))
}

/// The result for a class, compiled as the class of `id` if not known yet.
fn compiled(
    compiler: &Compiler<'_>,
    known: &mut HashMap<Class, Known>,
    class: &Class,
    id: &AssetId,
) -> CompileResult {
    let inputs = compiler.inputs(class);
    if let Some(known) = known.get(class)
        && known.inputs == inputs
    {
        return known.outcome.clone();
    }
    let outcome = compiler
        .ruleset(id)
        .map_err(Failure::from)
        .and_then(|ruleset| SharedDigest::of(&ruleset).map_err(Failure::from))
        .map_err(Arc::new);
    known.insert(class.clone(), Known { inputs, outcome: outcome.clone() });
    outcome
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use xshield_policy::inventory::{Asset, Source};
    use xshield_policy::{Compiler, Revision};
    use xshield_wire::PolicyKey;

    use super::*;
    use crate::policy::documents::read_stored;

    const ENDPOINTS: [&str; 1] = ["10.9.9.9:8443"];

    fn endpoints() -> Vec<SocketAddr> {
        ENDPOINTS.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn committed() -> Arc<Committed> {
        let documents = r#"[
            {"segment": {"name": "web", "criteria": "role = 'web'", "templates": ["peers"],
                "inbound": {"level": "secure-all-ports", "mode": "enforce"}}},
            {"segment": {"name": "odd", "criteria": "role = 'odd'", "templates": ["cuts"]}},
            {"template": {"name": "peers", "action": "allow",
                "ports": [{"from": ["segment:web"], "services": ["tcp/1"]}]}},
            {"template": {"name": "cuts", "action": "block",
                "outbound": [{"to": ["any"], "services": ["any"]}],
                "inbound": [{"from": ["any"], "services": ["tcp/22"]}]}},
            {"settings": {"management": [{"from": ["10.0.0.250"], "services": ["tcp/22"]}]}}
        ]"#;
        let policy = read_stored(documents).unwrap().policy;
        Arc::new(Committed { revision: Revision(7), policy })
    }

    fn asset(number: u32, role: &str) -> Asset {
        Asset {
            id: format!("as-{number:04}").parse().unwrap(),
            name: format!("h{number}").parse().unwrap(),
            tags: [("role".parse().unwrap(), role.to_owned().try_into().unwrap())].into(),
            addresses: vec![IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | number))],
            os: String::new(),
            source: Source::Agent,
        }
    }

    fn inventory(of: u32) -> Inventory {
        let role = |number| ["web", "other", "odd", "web"][number as usize % 4];
        Inventory { assets: (0..of).map(|number| asset(number, role(number))).collect() }
    }

    /// The digest of what is eventually signed.
    fn signed(committed: &Committed, inventory: &Inventory, id: &AssetId) -> Option<Digest> {
        let endpoints = endpoints();
        let compiler = Compiler::new(&committed.policy, inventory, committed.revision, &endpoints);
        let ruleset = compiler.ruleset(id).ok()?;
        let key = PolicyKey::from_seed([1; 32]);
        Some(envelope::seal_ruleset(&key, &ruleset, 1).unwrap().digest())
    }

    fn is_anew(base: &mut Base, inventory: &Inventory) {
        let committed = base.committed.clone();
        let whole = base.compile_whole();
        let digests: HashMap<_, _> = whole.digests.iter().cloned().collect();
        for Asset { id, .. } in &inventory.assets {
            let expected = signed(&committed, inventory, id);
            assert_eq!(digests.get(id).copied(), expected, "{id} of all");
            let alone = base.digest(id).unwrap();
            assert_eq!(alone.as_ref().ok().copied(), expected, "{id} alone");
            let failed = whole.failures.iter().any(|(failed, _)| failed == id);
            assert_eq!(failed, expected.is_none(), "{id}");
        }
        assert_eq!(whole.digests.len() + whole.failures.len(), inventory.assets.len());
    }

    #[test]
    fn digests_match_the_signed_rulesets_after_every_change() {
        let mut world = inventory(24);
        let mut base = Base::new(committed(), &world, endpoints());
        is_anew(&mut base, &world);

        // One moves, one is added, one is removed, one changes, one becomes uncompilable.
        world.assets[3].addresses = vec!["10.7.7.7".parse().unwrap()];
        base.placement.put(&base.committed.policy, &world.assets[3]);
        is_anew(&mut base, &world);
        world.assets.push(asset(24, "web"));
        base.placement.put(&base.committed.policy, &world.assets[24]);
        is_anew(&mut base, &world);
        let gone = world.assets.remove(0);
        base.placement.remove(&gone.id);
        is_anew(&mut base, &world);
        for role in ["odd", "web"] {
            world.assets[5] = asset(6, role);
            base.placement.follow(&base.committed.policy, &world);
            is_anew(&mut base, &world);
        }
    }

    #[test]
    fn only_what_depends_on_a_change_is_compiled_again() {
        let mut base = Base::new(committed(), &inventory(24), endpoints());
        base.compile_whole();
        let outcome = |base: &Base, number: u32| {
            let id: AssetId = format!("as-{number:04}").parse().unwrap();
            base.known[base.placement.class(&id).unwrap()].inputs.first().cloned()
        };
        assert_eq!(base.known.len(), 3, "one compilation a class, not an asset");
        let web = outcome(&base, 0).unwrap();

        base.placement.put(&base.committed.policy, &asset(1, "another"));
        base.compile_whole();
        assert!(Arc::ptr_eq(&web, &outcome(&base, 0).unwrap()), "not of the segment");

        base.placement.put(&base.committed.policy, &asset(1, "web"));
        base.compile_whole();
        assert!(!Arc::ptr_eq(&web, &outcome(&base, 0).unwrap()));
    }

    #[test]
    fn blocking_the_platform_on_its_host_fails_only_for_that_asset() {
        let documents = r#"[
            {"segment": {"name": "web", "criteria": "role = 'web'", "templates": ["shut"]}},
            {"template": {"name": "shut", "action": "block",
                "ports": [{"from": ["internet"], "services": ["tcp/8443"]}]}}
        ]"#;
        let policy = read_stored(documents).unwrap().policy;
        let mut world = inventory(8);
        // The first of its class, whose ruleset represents all of them.
        world.assets[0].addresses = vec!["10.9.9.9".parse().unwrap()];
        let committed = Arc::new(Committed { revision: Revision(7), policy });
        let mut base = Base::new(committed, &world, endpoints());
        let whole = base.compile_whole();
        let failed: Vec<&str> = whole.failures.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(failed, ["as-0000"]);
        assert_eq!(whole.digests.len(), 7);
        let alone = base.digest(&world.assets[0].id).unwrap();
        assert!(alone.unwrap_err().to_string().contains("shut/ports-1 would block the platform"));
        assert!(base.digest(&world.assets[3].id).unwrap().is_ok());
    }

    #[test]
    fn other_endpoints_are_compiled_in() {
        let world = inventory(4);
        let mut base = Base::new(committed(), &world, Vec::new());
        let before = base.compile_whole().digests;
        base.reached_at(endpoints());
        is_anew(&mut base, &world);
        assert_ne!(before, base.compile_whole().digests);
    }
}
