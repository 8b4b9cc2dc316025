//! Compiling change by change gives the same result as compiling from scratch.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use xshield_policy::compile::{Addresses, Class, Placement};
use xshield_policy::document::{Document, Policy};
use xshield_policy::inventory::{Asset, Inventory, Source};
use xshield_policy::{AssetId, Compiler, Revision, Ruleset};

/// Segments that allow themselves and others, by tag, name and system; rules about assets by name; a block
/// rule that omits addresses of the platform; and assets with their own documents, one of which does not
/// compile.
fn policy() -> Policy {
    let documents = serde_json::json!([
        {"segment": {"name": "web", "criteria": "role = 'web'", "templates": ["peers"],
            "inbound": {"level": "secure-all-ports", "mode": "enforce"}}},
        {"segment": {"name": "db", "criteria": "role = 'db'", "templates": ["from-web", "blocks"],
            "inbound": {"level": "secure-inbound-paths", "mode": "enforce"},
            "outbound": {"level": "secure-internet-paths", "mode": "test"}}},
        {"segment": {"name": "debian", "criteria": "os = 'debian 12' and name != 'n3'",
            "templates": ["to-db"]}},
        {"asset": {"name": "n1", "templates": ["from-web"],
            "inbound": {"level": "secure-all-ports", "mode": "test"}}},
        {"asset": {"name": "n2", "templates": ["cuts"]}},
        {"template": {"name": "peers", "action": "allow",
            "ports": [{"name": "web", "from": ["segment:web"], "services": ["tcp/1"]}]}},
        {"template": {"name": "from-web", "action": "allow",
            "inbound": [{"name": "in", "from": ["segment:web", "asset:n1"], "services": ["tcp/2"]}]}},
        {"template": {"name": "to-db", "action": "allow",
            "outbound": [{"name": "out", "to": ["segment:db", "asset:n3"], "services": ["tcp/3"]}]}},
        {"template": {"name": "blocks", "action": "block",
            "inbound": [{"name": "no", "from": ["asset:n4", "segment:debian"],
                "services": ["tcp/4"]}]}},
        {"template": {"name": "cuts", "action": "block",
            "inbound": [{"name": "cut", "from": ["any"], "services": ["tcp/22"]}]}},
        {"settings": {"management": [{"from": ["10.0.0.250"], "services": ["tcp/22"]}]}},
    ]);
    let documents: Vec<Document> = serde_json::from_value(documents).unwrap();
    Policy::build(documents).unwrap()
}

fn asset() -> impl Strategy<Value = Asset> {
    let addresses = vec(0u8..8, 0..3);
    (0u8..6, 0u8..6, 0usize..3, prop::bool::ANY, addresses).prop_map(
        |(id, name, role, is_debian, addresses)| {
            let role = ["web", "db", "none"][role];
            let mut addresses: Vec<_> = addresses
                .into_iter()
                .map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, id, last)))
                .collect();
            addresses.sort_unstable();
            addresses.dedup();
            Asset {
                id: format!("as-{id}").parse().unwrap(),
                name: format!("n{name}").parse().unwrap(),
                tags: [("role".parse().unwrap(), role.to_owned().try_into().unwrap())].into(),
                addresses,
                os: if is_debian { "debian 12" } else { "rhel 9" }.to_owned(),
                source: Source::Agent,
            }
        },
    )
}

#[derive(Debug, Clone)]
enum Change {
    Put(Asset),
    Remove(AssetId),
    /// Several at once, by a whole inventory.
    Several(Vec<Asset>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => asset().prop_map(Change::Put),
        1 => (0u8..6).prop_map(|id| Change::Remove(format!("as-{id}").parse().unwrap())),
        2 => vec(asset(), 0..4).prop_map(Change::Several),
    ]
}

/// The current inventory, by id; names are unique.
#[derive(Debug, Default)]
struct World(BTreeMap<AssetId, Asset>);

impl World {
    /// Changes an asset, under a name that no other has; returns what changed.
    fn put(&mut self, asset: Asset) -> Asset {
        let is_taken =
            self.0.values().any(|other| other.name == asset.name && other.id != asset.id);
        let name = if is_taken { asset.id.as_str().parse().unwrap() } else { asset.name.clone() };
        let asset = Asset { name, ..asset };
        self.0.insert(asset.id.clone(), asset.clone());
        asset
    }

    fn inventory(&self) -> Inventory {
        Inventory { assets: self.0.values().cloned().collect() }
    }
}

/// What was compiled of a class, and from which addresses.
type Known = HashMap<Class, (Vec<Addresses>, Result<Ruleset, String>)>;

fn compiled(compiler: &Compiler<'_>, id: &AssetId) -> Result<Ruleset, String> {
    compiler.ruleset(id).map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn incremental_compilation_equals_full_compilation(changes in vec(change(), 1..25)) {
        let (policy, platform) = (policy(), ["10.0.1.1:8443".parse().unwrap()]);
        let mut world = World::default();
        let mut placement = Placement::empty(&policy);
        let mut known = Known::new();
        for change in changes {
            match change {
                Change::Put(asset) => placement.put(&policy, &world.put(asset)),
                Change::Remove(id) => {
                    world.0.remove(&id);
                    placement.remove(&id);
                }
                Change::Several(assets) => {
                    assets.into_iter().for_each(|asset| drop(world.put(asset)));
                    placement.follow(&policy, &world.inventory());
                }
            }
            let inventory = world.inventory();
            let anew = Compiler::new(&policy, &inventory, Revision(1), &platform);
            let step_by_step = Compiler::placed(&policy, &placement, Revision(1), &platform);
            prop_assert_eq!(placement.classes().count(), inventory.assets.len());
            prop_assert_eq!(step_by_step.warnings(), anew.warnings());
            for Asset { id, name, .. } in &inventory.assets {
                prop_assert_eq!(placement.name(id), Some(name));
                let class = placement.class(id).unwrap();
                let inputs = step_by_step.inputs(class);
                let is_known = known.get(class).is_some_and(|(known, _)| *known == inputs);
                if !is_known {
                    known.insert(class.clone(), (inputs, compiled(&step_by_step, id)));
                }
                // As compiled earlier, possibly for another asset of the class.
                let reused = known[class].1.clone();
                let reused = reused.map(|ruleset| Ruleset { asset: id.clone(), ..ruleset });
                prop_assert_eq!(reused, compiled(&anew, id));
            }
        }
    }
}
