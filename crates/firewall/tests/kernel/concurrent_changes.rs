//! While other programs change their own rules continuously, as container engines and service meshes do.

use std::time::Duration;

use xshield_firewall::threat::ThreatTable;
use xshield_firewall::{Firewall, Plan, plan};

use crate::policies::{bound, closed, crowded, open, varied};
use crate::world::{beside_others, in_namespace, renderings, sh};

const MINUTE: Duration = Duration::from_secs(60);

/// For the policy's table, the threat list's is another program's.
fn stranger() -> impl FnMut() {
    let mut other = ThreatTable::open().unwrap();
    move || other.remove().unwrap()
}

fn try_and_keep(firewall: &mut Firewall, plan: &Plan) {
    let trial = firewall.try_apply(plan, MINUTE).unwrap();
    assert_eq!(firewall.keep(trial).unwrap().differences(plan), []);
}

#[test]
fn other_programs_can_change_their_rules_concurrently() {
    for capabilities in renderings() {
        in_namespace(|| {
            let mut firewall = Firewall::open_with(capabilities).unwrap();
            let changes = beside_others(stranger, || {
                for revision in 1..14 {
                    let rule = format!("a/r tcp/{revision} any");
                    let bound = bound(revision, closed(&[&rule]), open());
                    try_and_keep(&mut firewall, &plan(&bound, &capabilities));
                }
                // Sets and chains that the kernel lists in many messages.
                for revision in 20..22 {
                    try_and_keep(&mut firewall, &plan(&crowded(revision), &capabilities));
                    firewall.apply_now(&plan(&varied(revision), &capabilities)).unwrap();
                    firewall.flows().unwrap();
                    let (old, new) = (varied(revision), crowded(revision));
                    let trial = firewall.try_apply(&plan(&new, &capabilities), MINUTE).unwrap();
                    firewall.revert(trial).unwrap();
                    let left = firewall.read_back().unwrap();
                    assert_eq!(left.differences(&plan(&old, &capabilities)), []);
                }
            });
            println!("{changes} changes of others");
        });
    }
}

#[test]
fn damage_is_found_despite_concurrent_changes() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let plan = plan(&varied(1), firewall.capabilities());
        firewall.apply_now(&plan).unwrap();
        beside_others(stranger, || {
            sh("nft insert rule inet xshield in_orig_a tcp dport 1 accept");
            let drift = firewall.read_back().unwrap().differences(&plan);
            assert!(format!("{drift:?}").contains("chain in_orig"), "{drift:?}");
            firewall.apply_now(&plan).unwrap();
            assert_eq!(firewall.read_back().unwrap().differences(&plan), []);
        });
    });
}
