//! Loading, changing, comparing, damage.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ipnet::IpNet;
use proptest::prelude::*;
use xshield_firewall::threat::{Listed, ThreatError, ThreatMode, ThreatState, ThreatTable};

use crate::lists::{block, delta, loaded, many, name, nets, posture};
use crate::world::{address, in_namespace, sh};

/// The prefixes of all sets of the list in force, as `nft` lists them. It lists no empty table.
pub(crate) fn listed() -> BTreeSet<IpNet> {
    let text = sh("nft -j list table inet xshield_threat");
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sets = all["nftables"].as_array().unwrap().iter().filter_map(|object| object.get("set"));
    let ours = sets.filter(|set| {
        let name = set["name"].as_str().unwrap();
        name.starts_with("hosts") || name.starts_with("nets")
    });
    let elements = ours.flat_map(|set| set["elem"].as_array().cloned().unwrap_or_default());
    elements.flat_map(|element| prefixes(&element)).collect()
}

fn prefixes(element: &serde_json::Value) -> Vec<IpNet> {
    if let Some(text) = element.as_str() {
        return vec![text.parse::<IpAddr>().unwrap().into()];
    }
    if let Some(prefix) = element.get("prefix") {
        let address: IpAddr = prefix["addr"].as_str().unwrap().parse().unwrap();
        let length = u8::try_from(prefix["len"].as_u64().unwrap()).unwrap();
        return vec![IpNet::new(address, length).unwrap()];
    }
    let ends = element["range"].as_array().unwrap();
    let end = |at: usize| ends[at].as_str().unwrap();
    match (end(0).parse(), end(1).parse()) {
        (Ok(first), Ok(last)) => {
            let subnets = ipnet::Ipv4Subnets::new(first, last, 0);
            subnets.map(IpNet::from).collect()
        }
        _ => {
            let (first, last) = (end(0).parse().unwrap(), end(1).parse().unwrap());
            ipnet::Ipv6Subnets::new(first, last, 0).map(IpNet::from).collect()
        }
    }
}

pub(crate) fn set(entries: &[IpNet]) -> BTreeSet<IpNet> {
    entries.iter().copied().collect()
}

fn revision(table: &mut ThreatTable) -> Option<u64> {
    table.state().unwrap().standing().map(|standing| standing.list.revision)
}

#[test]
fn nft_lists_exactly_what_was_loaded() {
    in_namespace(|| {
        let mut table = ThreatTable::open().unwrap();
        assert_eq!(table.state().unwrap(), ThreatState::Absent);
        let entries = nets(&[
            "192.0.2.1",
            "198.51.100.0/24",
            "203.0.113.7",
            "0.0.0.0/8",
            "255.255.255.0/24",
            "203.0.113.8/29",
            "2001:db8::1",
            "2001:db8:1::/48",
            "ffff::/16",
        ]);
        let mut table = loaded(1, &entries, &block());
        assert_eq!(listed(), set(&entries));
        assert!(matches!(table.state().unwrap(), ThreatState::InForce(_)), "{:?}", table.state());
        assert_eq!(table.verify_full(entries.clone()).unwrap(), []);
        assert_ne!(table.verify_full(entries[1..].to_vec()).unwrap(), []);
        let cases = [
            ("192.0.2.1", Some(("192.0.2.1", "192.0.2.1"))),
            ("192.0.2.2", None),
            ("198.51.100.9", Some(("198.51.100.0", "198.51.100.255"))),
            ("198.51.101.0", None),
            ("0.1.2.3", Some(("0.0.0.0", "0.255.255.255"))),
            ("255.255.255.255", Some(("255.255.255.0", "255.255.255.255"))),
            ("2001:db8::1", Some(("2001:db8::1", "2001:db8::1"))),
            ("2001:db8:1:2::", Some(("2001:db8:1::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff"))),
            ("2001:db8:2::", None),
        ];
        for (asked, expected) in cases {
            let expected = expected.map(|(first, last)| {
                let (first, last) = (address(first), address(last));
                Listed { first, last }
            });
            assert_eq!(table.lookup(address(asked)).unwrap(), expected, "{asked}");
        }
    });
}

#[test]
fn a_hundred_thousand_entries_are_loaded_changed_and_compared() {
    in_namespace(|| {
        let (old, new) = (many(100_000, 0), many(100_000, 5_000));
        let mut table = loaded(1, &old, &block());
        assert_eq!(revision(&mut table), Some(1));
        delta(&mut table, (1, &old), (2, &new), &block()).unwrap();
        assert_eq!(revision(&mut table), Some(2));
        assert_eq!(table.verify_full(new.clone()).unwrap(), []);
        assert_eq!(listed(), set(&new));
        // Another whole list replaces the one in force.
        table.load(&name(3, &old), &block(), old.clone()).unwrap();
        assert_eq!(table.verify_full(old.clone()).unwrap(), []);
        assert_eq!(listed(), set(&old));
    });
}

#[test]
fn a_delta_is_applied_completely_or_not_at_all() {
    in_namespace(|| {
        let old = nets(&["192.0.2.1", "192.0.2.2", "198.51.100.0/24"]);
        let mut table = loaded(1, &old, &block());
        let base = name(1, &old).digest;
        let expect = |result: Result<(), ThreatError>, what: &str| {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
            assert_eq!(listed(), set(&old), "{error}");
        };
        // Adds an existing entry; removes a missing one; both with the right numbers.
        let new = nets(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "198.51.100.0/24"]);
        let adds = nets(&["192.0.2.3", "192.0.2.1"]);
        expect(table.apply_delta(base, &name(2, &new), &adds, &[], &block()), "refused");
        let (adds, removes) =
            (nets(&["192.0.2.3", "192.0.2.4", "192.0.2.5"]), nets(&["192.0.2.9"]));
        expect(table.apply_delta(base, &name(2, &new), &adds, &removes, &block()), "refused");
        expect(table.apply_delta(base, &name(2, &new), &[], &[], &block()), "were announced");
        let wrong = name(7, &old).digest;
        expect(table.apply_delta(wrong, &name(2, &new), &[], &[], &block()), "starts from");
        expect(
            table.apply_delta(base, &name(2, &new), &nets(&["0.0.0.0/0"]), &[], &block()),
            "all",
        );
        let crowd = many(100_000, 0);
        expect(
            table.apply_delta(
                base,
                &name(2, &[&old[..], &crowd[..]].concat()),
                &crowd,
                &[],
                &block(),
            ),
            "room",
        );
        assert!(matches!(table.state().unwrap(), ThreatState::InForce(_)));
    });
}

#[test]
fn a_failed_or_killed_change_keeps_the_old_list() {
    in_namespace(|| {
        let old = nets(&["192.0.2.1", "198.51.100.0/24"]);
        let mut table = loaded(1, &old, &block());
        let new = many(100_000, 0);
        // The same entry twice at the very end; too few; everything.
        let twice: Vec<IpNet> = new.iter().chain(&new[..1]).copied().collect();
        let refused = table.load(&name(2, &twice), &block(), twice.clone());
        assert!(matches!(refused, Err(ThreatError::Firewall(_))), "{refused:?}");
        let short = table.load(&name(2, &new), &block(), new[1..].to_vec());
        assert!(matches!(short, Err(ThreatError::Miscounted { .. })), "{short:?}");
        let all = nets(&["::/0"]);
        let all = table.load(&name(2, &all), &block(), all.clone());
        assert!(matches!(all, Err(ThreatError::Everything { .. })), "{all:?}");
        assert_eq!(listed(), set(&old));
        // After a kill there is no cleanup: what was staged stays, unreferenced.
        let killed = catch_unwind(AssertUnwindSafe(|| {
            let entries = new.iter().enumerate().map(|(n, entry)| match n {
                90_000 => panic!("killed"),
                _ => *entry,
            });
            ThreatTable::open().unwrap().load(&name(2, &new), &block(), entries)
        }));
        assert!(killed.is_err());
        assert!(matches!(table.state().unwrap(), ThreatState::InForce(_)));
        assert_eq!(table.verify_full(old.clone()).unwrap(), []);
        assert!(listed().len() > 10_000, "something was staged");
        table.load(&name(2, &new), &block(), new.clone()).unwrap();
        assert_eq!(listed(), set(&new));
    });
}

#[test]
fn changing_the_posture_keeps_the_list() {
    in_namespace(|| {
        let entries = many(5_000, 0);
        let mut table = loaded(1, &entries, &block());
        let handles = || {
            let text = sh("nft -a list sets inet");
            let sets =
                text.lines().filter(|line| line.contains("set hosts") || line.contains("set nets"));
            sets.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = handles();
        assert_eq!(before.len(), 4);
        for inbound in [ThreatMode::EventOnly, ThreatMode::Off, ThreatMode::Block] {
            for outbound in [ThreatMode::Off, ThreatMode::Block, ThreatMode::EventOnly] {
                let posture = posture(inbound, outbound);
                table.set_posture(&posture).unwrap();
                let generation = table.generation().unwrap();
                assert!(matches!(table.state().unwrap(), ThreatState::InForce(_)));
                table.set_posture(&posture).unwrap();
                assert_eq!(table.generation().unwrap(), generation, "twice is once");
            }
        }
        assert_eq!(handles(), before);
        assert_eq!(table.verify_full(entries.clone()).unwrap(), []);
    });
}

#[test]
fn damage_is_detected_and_repaired() {
    in_namespace(|| {
        let entries = nets(&["192.0.2.1", "198.51.100.0/24", "2001:db8::1"]);
        let mut table = loaded(1, &entries, &block());
        for damage in [
            "nft flush chain inet xshield_threat input",
            "nft insert rule inet xshield_threat output accept",
            "nft flush chain inet xshield_threat listed_in_orig_a",
            "nft add chain inet xshield_threat mine",
        ] {
            sh(damage);
            assert!(matches!(table.state().unwrap(), ThreatState::Disturbed(_)), "{damage}");
            if damage.ends_with("mine") {
                sh("nft delete chain inet xshield_threat mine");
            }
            table.set_posture(&block()).unwrap();
            assert!(matches!(table.state().unwrap(), ThreatState::InForce(_)), "{damage}");
        }
        for damage in [
            "nft flush chain inet xshield_threat about",
            "nft flush table inet xshield_threat",
            "nft flush ruleset",
        ] {
            let mut table = loaded(1, &entries, &block());
            let slot = table.state().unwrap().standing().unwrap().slot;
            sh(&damage.replace("_a ", &format!("_{slot} ")));
            let state = table.state().unwrap();
            assert!(state.standing().is_none(), "{damage}: {state:?}");
            assert!(matches!(table.set_posture(&block()), Err(ThreatError::NotInForce { .. })));
            table.load(&name(1, &entries), &block(), entries.clone()).unwrap();
            assert!(matches!(table.state().unwrap(), ThreatState::InForce(_)), "{damage}");
            assert_eq!(listed(), set(&entries), "{damage}");
        }
    });
}

/// By their number if the kernel reports it, by looking them up otherwise.
#[test]
fn missing_entries_are_detected() {
    in_namespace(|| {
        let entries =
            nets(&["192.0.2.1", "192.0.2.2", "198.51.100.0/24", "203.0.113.0/25", "2001:db8::1"]);
        let mut table = loaded(1, &entries, &block());
        assert_eq!(table.a_missing_entry(entries.clone()).unwrap(), None);
        for damage in [
            "delete element inet xshield_threat hosts4_a '{ 192.0.2.1 }'",
            "delete element inet xshield_threat nets4_a '{ 198.51.100.0/24 }'",
            "flush set inet xshield_threat hosts4_a",
            "flush set inet xshield_threat nets4_a",
            "flush set inet xshield_threat hosts6_a",
        ] {
            let slot = table.state().unwrap().standing().unwrap().slot;
            sh(&format!("nft {}", damage.replace("_a", &format!("_{slot}"))));
            let is_told = table.state().unwrap().standing().is_none();
            assert!(
                is_told || table.a_missing_entry(entries.clone()).unwrap().is_some(),
                "{damage}"
            );
            table.load(&name(1, &entries), &block(), entries.clone()).unwrap();
            assert_eq!(listed(), set(&entries), "{damage}");
        }
    });
}

#[test]
fn tables_of_others_are_not_changed() {
    use xshield_firewall::{Capabilities, Firewall, plan};
    in_namespace(|| {
        sh("nft add table inet theirs; nft add set inet theirs s '{ type ipv4_addr; }'");
        let bound = xshield_policy::Bound {
            revision: xshield_policy::Revision(1),
            failsafe: block().failsafe,
            intranet: xshield_policy::RangeSet::empty(),
            inbound: closed(),
            outbound: closed(),
            forwarded: xshield_policy::BoundForwarded::default(),
        };
        let plan = plan(&bound, &Capabilities::FULL);
        let mut firewall = Firewall::open_with(Capabilities::FULL).unwrap();
        firewall.apply_now(&plan).unwrap();
        let policy = || sh("nft list table inet xshield; nft list table inet theirs");
        let list = || sh("nft list table inet xshield_threat");
        let before = policy();
        let entries = many(1_000, 0);
        let mut table = loaded(1, &entries, &block());
        delta(&mut table, (1, &entries), (2, &entries[1..]), &block()).unwrap();
        assert_eq!(policy(), before);
        let before = list();
        firewall.apply_now(&plan).unwrap();
        firewall.remove().unwrap();
        assert_eq!(list(), before);
        table.remove().unwrap();
        table.remove().unwrap();
        assert_eq!(table.state().unwrap(), ThreatState::Absent);
        assert!(sh("nft list tables").contains("inet theirs"));
    });
}

fn closed() -> xshield_policy::BoundDirection {
    xshield_policy::BoundDirection::enforcing(xshield_policy::BoundStance::closed())
}

/// Disjoint entries of a small range, so that neighbours and splits occur.
fn entries() -> impl Strategy<Value = Vec<IpNet>> {
    let entry = (0u32..64, 0u8..4, any::<bool>()).prop_map(|(n, free, v6)| {
        let start = n >> free << free;
        match v6 {
            false => IpNet::new(std::net::Ipv4Addr::from(0xffff_ffc0 + start).into(), 32 - free),
            true => {
                let address = std::net::Ipv6Addr::from(u128::from(start));
                IpNet::new(address.into(), 128 - free)
            }
        }
        .unwrap()
    });
    proptest::collection::vec(entry, 0..40).prop_map(|list| {
        let mut kept: Vec<IpNet> = Vec::new();
        for entry in list {
            if !kept.iter().any(|one| one.contains(&entry) || entry.contains(one)) {
                kept.push(entry);
            }
        }
        kept
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_list_becomes_any_other(lists in proptest::collection::vec(entries(), 2..5)) {
        let outcome = in_namespace(|| {
            let mut table = loaded(0, &lists[0], &block());
            for (n, pair) in lists.windows(2).enumerate() {
                let n = n as u64;
                delta(&mut table, (n, &pair[0]), (n + 1, &pair[1]), &block()).unwrap();
                assert_eq!(table.verify_full(pair[1].clone()).unwrap(), []);
                assert!(matches!(table.state().unwrap(), ThreatState::InForce(_)));
            }
            listed()
        });
        if let Some(listed) = outcome {
            let last = lists.last().unwrap();
            let same = listed.iter().all(|net| last.iter().any(|one| one.contains(net)));
            let total = |nets: &mut dyn Iterator<Item = &IpNet>| -> u64 {
                nets.map(|net| 1u64 << (net.max_prefix_len() - net.prefix_len())).sum()
            };
            prop_assert!(same);
            prop_assert_eq!(total(&mut listed.iter()), total(&mut last.iter()));
        }
    }
}
