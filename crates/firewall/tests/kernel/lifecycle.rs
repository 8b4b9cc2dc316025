//! Applying, keeping, reverting, reading back, damage.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use xshield_firewall::{
    Capabilities, Firewall, FirewallError, KernelState, LiveGroup, plan, plan_with,
};
use xshield_policy::{AddressMatch, BoundRule, Owner, Revision};

use crate::policies::{bound, closed, crowded, open, varied};
use crate::world::{eventually, in_namespace, nft_objects, renderings, sh};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn an_applied_ruleset_is_read_back() {
    for capabilities in renderings() {
        in_namespace(|| {
            let mut firewall = Firewall::open_with(capabilities).unwrap();
            assert_eq!(firewall.state().unwrap(), KernelState::Absent);
            let plan = plan(&varied(1), &capabilities);
            let trial = firewall.try_apply(&plan, MINUTE).unwrap();
            assert!(matches!(
                firewall.state().unwrap(),
                KernelState::Trial { old: None, over: false, .. }
            ));
            let programmed = firewall.keep(trial).unwrap();
            assert_eq!(programmed.differences(&plan), []);
            assert_eq!((programmed.digest, programmed.revision), (plan.digest(), Revision(1)));
            assert_eq!(firewall.state().unwrap(), KernelState::InForce(trial.standing()));
            // The next run knows the kernel's capabilities without testing, except for those that older
            // programs did not test.
            let known = Capabilities { forwarded: true, ..capabilities };
            assert_eq!(Firewall::open().unwrap().capabilities(), &known);
        });
    }
}

/// The plan's own text, loaded by `nft`, lists the same as what was put there over netlink.
#[test]
fn nft_agrees_with_the_plan() {
    let renderings = renderings();
    let policies = renderings.iter().map(|found| (*found, varied(1), None));
    let group = Some(LiveGroup::DEFAULT);
    let more =
        renderings.iter().take(1).flat_map(|c| [(*c, crowded(1), None), (*c, varied(1), group)]);
    for (capabilities, policy, live) in policies.chain(more) {
        let plan = plan_with(&policy, &capabilities, live);
        let ours = in_namespace(|| {
            let mut firewall = Firewall::open_with(capabilities).unwrap();
            firewall.apply_now(&plan).unwrap();
            listing()
        });
        let theirs = in_namespace(|| {
            let path =
                std::env::temp_dir().join(format!("xshield-plan-{}.nft", std::process::id()));
            let text = plan.to_string();
            let lines = text.lines().filter(|line| !is_beyond_nft(line));
            let text: String = lines.map(|line| format!("{line}\n")).collect();
            std::fs::write(&path, text).unwrap();
            sh(&format!("nft -f {}", path.display()));
            std::fs::remove_file(&path).unwrap();
            listing()
        });
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            let (more, less): (Vec<_>, Vec<_>) =
                (ours.difference(&theirs).collect(), theirs.difference(&ours).collect());
            assert!(more.is_empty() && less.is_empty(), "over netlink {more:#?}\nby nft {less:#?}");
            assert!(ours.len() > 100, "{}", ours.len());
        }
    }
}

/// nft accepts only ports in place of a port; the recorder uses ICMP types and zero there.
fn is_beyond_nft(line: &str) -> bool {
    let tails = [" . 0 counter }", " . @th,0,8 counter }", " . icmp type counter }"];
    line.contains(" . icmpv6 type counter }") || tails.iter().any(|tail| line.contains(tail))
}

/// The output of `nft`, without what differs between the ways of loading: slots, base chains, set sizes.
fn listing() -> BTreeSet<String> {
    let text = sh("nft -s -nn list table inet xshield").replace("_a ", " ").replace("_a\n", "\n");
    let mut block = String::new();
    let mut lines = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if line.ends_with(" {") {
            block = line.to_owned();
        }
        let of_base_chain = ["chain input {", "chain output {"].contains(&block.as_str());
        if of_base_chain || line.starts_with("size ") || is_beyond_nft(line) {
            continue;
        }
        for part in line.split("elements = ") {
            lines.insert(format!("{block} {}", part.trim_matches([' ', ',', '{', '}'])));
        }
    }
    lines
}

#[test]
fn applying_twice_equals_applying_once() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let plan = plan(&varied(1), firewall.capabilities());
        let trial = firewall.try_apply(&plan, MINUTE).unwrap();
        firewall.keep(trial).unwrap();
        let before = firewall.generation().unwrap();
        let again = firewall.try_apply(&plan, MINUTE).unwrap();
        assert!(again.is_unchanged());
        assert_eq!(firewall.keep(again).unwrap().differences(&plan), []);
        firewall.revert(again).unwrap();
        assert_eq!(firewall.generation().unwrap(), before);
        // Testing the kernel's capabilities changes nothing, either.
        Firewall::open().unwrap();
        assert_eq!(firewall.generation().unwrap(), before);
    });
}

#[test]
fn the_old_ruleset_returns_after_probation_and_on_revert() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let [first, second] =
            [(1, "a/r tcp/1 any"), (2, "a/r tcp/2 any")].map(|(revision, rule)| {
                plan(&bound(revision, closed(&[rule]), open()), firewall.capabilities())
            });
        firewall.apply_now(&first).unwrap();
        let settled = firewall.state().unwrap();

        let trial = firewall.try_apply(&second, MINUTE).unwrap();
        firewall.revert(trial).unwrap();
        assert_eq!(firewall.state().unwrap(), settled);

        let trial = firewall.try_apply(&second, Duration::from_millis(100)).unwrap();
        assert_eq!(firewall.read_back().unwrap().revision, Revision(2));
        // As if the program had ended: another one checks.
        let mut other = Firewall::open().unwrap();
        eventually("probation over", Duration::from_secs(5), || {
            other.state().unwrap().in_force() == settled.in_force()
        });
        assert_eq!(other.read_back().unwrap().differences(&first), []);
        assert!(matches!(firewall.keep(trial), Err(FirewallError::ProbationOver)));

        // The next trial cleans up after the expired one.
        let trial = firewall.try_apply(&second, MINUTE).unwrap();
        assert_eq!(firewall.keep(trial).unwrap().differences(&second), []);
        assert!(matches!(firewall.keep(trial), Err(FirewallError::Overtaken { .. })));
        assert!(nft_objects("set").iter().all(|set| set["name"] != "probation"));
    });
}

/// A program that is killed between its transactions leaves an unreferenced slot.
#[test]
fn leftovers_of_a_killed_run_do_no_harm() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let [first, second] =
            [(1, "a/r tcp/1 any"), (2, "a/r tcp/2 any")].map(|(revision, rule)| {
                plan(&bound(revision, closed(&[rule]), open()), firewall.capabilities())
            });
        firewall.apply_now(&first).unwrap();
        sh("nft add set inet xshield allow_in_port4_b '{ type ipv4_addr . inet_service; }'
            nft add chain inet xshield in_orig_b
            nft add chain inet xshield in_b
            nft add rule inet xshield in_b goto in_orig_b
            nft add rule inet xshield in_orig_b ip saddr . tcp dport @allow_in_port4_b accept
            nft add set inet xshield probation '{ type nf_proto; flags timeout; }'");
        assert_eq!(firewall.read_back().unwrap().differences(&first), []);
        let trial = firewall.try_apply(&second, MINUTE).unwrap();
        assert_eq!(firewall.keep(trial).unwrap().differences(&second), []);
        let names = |kind: &str| {
            let of_slot_a = |object: &serde_json::Value| {
                let name = object["name"].as_str().unwrap();
                name.ends_with("_a") || name == "probation"
            };
            nft_objects(kind).into_iter().filter(of_slot_a).count()
        };
        assert_eq!((names("set"), names("chain")), (0, 0));
    });
}

#[test]
fn tables_of_others_are_not_changed() {
    in_namespace(|| {
        sh("nft add table inet filter; nft add chain inet filter input '{ type filter hook input priority 0; }';
            nft add rule inet filter input tcp dport 22 counter accept; nft add table ip nat");
        let before = sh("nft -s list ruleset");
        let mut firewall = Firewall::open().unwrap();
        let plan = plan(&varied(1), firewall.capabilities());
        firewall.apply_now(&plan).unwrap();
        firewall.apply_now(&plan).unwrap();
        assert!(sh("nft -s list ruleset").starts_with(&before));
        firewall.remove().unwrap();
        firewall.remove().unwrap();
        assert_eq!(sh("nft -s list ruleset"), before);
        assert_eq!(firewall.state().unwrap(), KernelState::Absent);
    });
}

#[test]
fn damage_is_found_and_repaired() {
    let damages = [
        ("nft flush ruleset", "no ruleset"),
        ("nft add rule inet xshield input tcp dport 1 accept", "base chains"),
        ("nft flush chain inet xshield output", "different rulesets"),
        ("nft insert rule inet xshield in_orig_a tcp dport 1 accept", "chain in_orig"),
        ("nft insert rule inet xshield in_orig_a quota 5 bytes accept", "<quota>"),
        (
            "nft delete element inet xshield allow_in_host4_a '{ 10.0.4.9 . tcp . 5432 }'
             nft add element inet xshield allow_in_host4_a '{ 1.2.3.4 . tcp . 5 }'",
            "element added",
        ),
        ("nft flush set inet xshield allow_in_host4_a", "rule app/host missing"),
        ("nft flush chain inet xshield rec_denied_in", "chain rec_denied_in"),
        ("nft add chain inet xshield mine", "chain mine: not ours"),
        ("nft add set inet xshield mine '{ type mark; }'", "set mine: not ours"),
    ];
    for (damage, told) in damages {
        in_namespace(|| {
            let mut firewall = Firewall::open().unwrap();
            let plan = plan(&varied(1), firewall.capabilities());
            firewall.apply_now(&plan).unwrap();
            let generation = firewall.generation().unwrap();
            sh(damage);
            assert_ne!(firewall.generation().unwrap(), generation, "{damage}");
            let got = match firewall.read_back() {
                Ok(programmed) => format!("{:?}", programmed.differences(&plan)),
                Err(error) => error.to_string(),
            };
            assert!(got.contains(told), "{damage}\nwant {told}\ngot {got}");
            firewall.apply_now(&plan).unwrap();
            let drift = firewall.read_back().unwrap().differences(&plan);
            assert_eq!(drift, [], "after {damage}");
        });
    }
}

#[test]
fn many_hosts() {
    many_rules(32, "allow_in_host4_");
}

#[test]
fn many_networks() {
    many_rules(24, "allow_in_port4_");
}

fn many_rules(prefix_length: u8, sets: &str) {
    in_namespace(|| {
        let start = Instant::now();
        let mut firewall = Firewall::open().unwrap();
        println!("opened and probed in {:?}", start.elapsed());
        let policy = |revision: u64, shift: u32| {
            let rule = |n: u32| {
                let address = std::net::Ipv4Addr::from(0x0a00_0000 + n * 512 + shift * 256);
                let net = ipnet::IpNet::new(address.into(), prefix_length).unwrap();
                BoundRule {
                    id: format!("many/r{n}").parse().unwrap(),
                    peers: AddressMatch::Only([net].into_iter().collect()),
                    services: vec![format!("tcp/{}", 1000 + n % 500).parse().unwrap()],
                    owner: None,
                }
            };
            let mut inbound = closed(&[]);
            inbound.enforced.allows = (0..10_000).map(rule).collect();
            bound(revision, inbound, open())
        };
        let first = plan(&policy(1, 0), firewall.capabilities());
        firewall.apply_now(&first).unwrap();
        let second = policy(2, 3);
        let start = Instant::now();
        let plan = plan(&second, firewall.capabilities());
        let planned = start.elapsed();
        let trial = firewall.try_apply(&plan, MINUTE).unwrap();
        let tried = start.elapsed();
        let programmed = firewall.keep(trial).unwrap();
        let kept = start.elapsed();
        assert_eq!(programmed.differences(&plan), []);
        println!(
            "10,000 rules: planned {planned:?}, on trial {tried:?}, kept and read {kept:?}, compared {:?}",
            start.elapsed()
        );
        let ours = nft_objects("set").into_iter();
        let ours = ours.filter(|set| set["name"].as_str().unwrap().starts_with(sets));
        let elements: usize = ours.map(|set| set["elem"].as_array().unwrap().len()).sum();
        assert_eq!(elements, 10_000);
    });
}

#[test]
fn wide_rules_do_not_multiply_elements() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let nets: Vec<String> =
            (0..1000).map(|n| format!("10.{}.{}.0/25", n / 250, n % 250)).collect();
        let ports: Vec<String> = (0..500).map(|n| format!("tcp/{}", 1000 + 2 * n)).collect();
        let line = format!("wide/r {} {}", ports.join(","), nets.join(","));
        let plan = plan(&bound(1, closed(&[&line]), open()), firewall.capabilities());
        assert!(plan.elements() < 2000, "{}", plan.elements());
        firewall.apply_now(&plan).unwrap();
        assert_eq!(firewall.read_back().unwrap().differences(&plan), []);
    });
}

#[test]
fn missing_privileges_are_named() {
    in_namespace(|| {
        let capable = rustix::thread::capabilities(None).unwrap();
        let none = rustix::thread::CapabilitySets {
            effective: rustix::thread::CapabilitySet::empty(),
            ..capable
        };
        rustix::thread::set_capabilities(None, none).unwrap();
        let refused = Firewall::open().map(|_| ()).unwrap_err();
        assert!(matches!(refused, FirewallError::NoPermission { .. }), "{refused:?}");
        assert!(refused.to_string().contains("CAP_NET_ADMIN"), "{refused}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 27, ..ProptestConfig::default() })]
    #[test]
    fn any_ruleset_is_read_back_as_it_was_planned(bounds in proptest::collection::vec(crate::common::bound(), 3)) {
        for capabilities in renderings() {
            let result = in_namespace(|| {
                let mut firewall = Firewall::open_with(capabilities).unwrap();
                for bound in &bounds {
                    let mut bound = bound.clone();
                    // The cgroups of these rules don't exist here; see below.
                    crate::common::retain(&mut bound.outbound, |rule| {
                        !matches!(rule.owner, Some(Owner::Cgroup(_)))
                    });
                    let plan = plan(&bound, &capabilities);
                    let trial = firewall.try_apply(&plan, MINUTE).unwrap();
                    let drift = firewall.keep(trial).unwrap().differences(&plan);
                    prop_assert_eq!(drift, vec![], "{}", plan);
                }
                Ok(())
            });
            result.unwrap_or(Ok(()))?;
        }
    }
}

#[test]
fn a_removed_cgroup_is_drift_and_matches_nothing() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let mut outbound = closed(&["out/program tcp any"]);
        outbound.enforced.allows[0].owner =
            Some(Owner::Cgroup("system.slice/never-there.service".to_owned()));
        let plan = plan(&bound(1, open(), outbound), firewall.capabilities());
        if !firewall.capabilities().cgroups {
            assert_eq!(plan.unenforceable.len(), 1);
            return;
        }
        firewall.apply_now(&plan).unwrap();
        let drift = firewall.read_back().unwrap().differences(&plan);
        assert!(drift[0].text.contains("never-there.service"), "{drift:?}");
    });
}
