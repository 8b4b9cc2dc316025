//! Orders that are carried out.

use xshield_enforce::outcome::ThreatChange;
use xshield_enforce::{RunStatus, verbs};
use xshield_threat::ThreatMode;

use crate::host::{Host, codes, listed, on_a_host, sh};
use crate::platform::{Offers, order, set};

#[test]
fn a_list_is_loaded_changed_and_removed() {
    on_a_host(|platform, host| {
        host.run_well(ThreatChange::None);
        assert_eq!(listed(), [""; 0]);

        platform.order(1, "192.0.2.1 198.51.100.0/24 2001:db8::1 2001:db8:1::/48");
        let outcome = host.run_well(ThreatChange::Loaded);
        let first = ["192.0.2.1", "198.51.100.0/24", "2001:db8:1::/48", "2001:db8::1"];
        assert_eq!(listed(), first);
        assert_eq!(outcome.threat.inbound, Some(ThreatMode::Block));
        platform.script(|script| {
            let told = script.check_ins.last().unwrap().threat.clone().unwrap();
            assert_eq!((told.elements, told.failure), (4, None));
            assert_eq!(told.list.unwrap().revision, 1);
        });
        platform.fetched();

        host.run_well(ThreatChange::None);
        assert_eq!(platform.fetched(), [""; 0], "nothing is fetched twice");

        platform.order(2, "192.0.2.1 198.51.100.0/25 2001:db8:1::/48 203.0.113.7");
        host.run_well(ThreatChange::Changed);
        assert_eq!(listed(), ["192.0.2.1", "198.51.100.0/25", "2001:db8:1::/48", "203.0.113.7"]);
        assert_eq!(platform.fetched().len(), 3, "order, path, one change");
        assert_eq!(host.list_files().len(), 1);

        platform.give(&order(3, None));
        host.run_well(ThreatChange::Removed);
        assert!(!sh("nft list tables").contains("xshield_threat"));
        assert_eq!(host.list_files().len(), 0);
        host.run_well(ThreatChange::None);
    });
}

#[test]
fn several_deltas_are_applied_in_order() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1 192.0.2.2");
        host.run_well(ThreatChange::Loaded);
        platform.order(2, "192.0.2.1 192.0.2.3");
        platform.order(3, "192.0.2.3 2001:db8::/32");
        platform.order(4, "192.0.2.4/30 2001:db8::/33");
        platform.script(|script| script.offers = Offers::EveryStep);
        platform.fetched();
        host.run_well(ThreatChange::Changed);
        assert_eq!(platform.fetched().len(), 5, "order, path, three changes");
        assert_eq!(listed(), ["192.0.2.4/30", "2001:db8::/33"]);
    });
}

#[test]
fn an_empty_list_is_enforced() {
    on_a_host(|platform, host| {
        platform.order(1, "");
        let outcome = host.run_well(ThreatChange::Loaded);
        assert_eq!(outcome.threat.list.unwrap().entries, 0);
        host.run_well(ThreatChange::None);
        platform.order(2, "192.0.2.1 2001:db8::1");
        host.run_well(ThreatChange::Changed);
        assert_eq!(listed(), ["192.0.2.1", "2001:db8::1"]);
        platform.order(3, "");
        host.run_well(ThreatChange::Changed);
        assert_eq!(listed(), [""; 0]);
    });
}

#[test]
fn a_host_far_behind_fetches_the_whole_list() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        platform.script(|script| script.offers = Offers::WholeListsOnly);
        platform.order(2, "192.0.2.2");
        host.run_well(ThreatChange::Loaded);
        assert_eq!(listed(), ["192.0.2.2"]);
    });
}

#[test]
fn modes_change_without_touching_the_list() {
    on_a_host(|platform, host| {
        let entries = "192.0.2.1 198.51.100.0/24";
        platform.order(1, entries);
        host.run_well(ThreatChange::Loaded);
        let list = set(entries);
        let elements = |chain: &str| sh(&format!("nft list chain inet xshield_threat {chain}"));
        assert!(elements("input").contains("@hosts4"));
        for (sequence, inbound, outbound) in [
            (2, ThreatMode::EventOnly, ThreatMode::Block),
            (3, ThreatMode::Off, ThreatMode::Off),
            (4, ThreatMode::Block, ThreatMode::Off),
        ] {
            let mut modes = order(sequence, Some(&list));
            (modes.inbound, modes.outbound) = (inbound, outbound);
            modes.list.as_mut().unwrap().revision = 1;
            platform.give(&modes);
            let before = sh("nft -a list sets inet | grep 'set hosts4'");
            let outcome = host.run_well(ThreatChange::Posture);
            assert_eq!(outcome.threat.inbound, Some(inbound));
            assert_eq!(outcome.threat.outbound, Some(outbound));
            assert_eq!(listed(), ["192.0.2.1", "198.51.100.0/24"]);
            assert_eq!(sh("nft -a list sets inet | grep 'set hosts4'"), before, "the same set");
            let idle = inbound == ThreatMode::Off && outbound == ThreatMode::Off;
            assert_eq!(elements("input").contains("@hosts4"), !idle);
        }
    });
}

#[test]
fn the_same_list_at_a_new_revision_is_not_fetched() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        platform.fetched();
        platform.order(2, "192.0.2.1");
        let outcome = host.run_well(ThreatChange::Changed);
        assert_eq!(outcome.threat.list.unwrap().revision, 2);
        assert_eq!(platform.fetched(), ["/host/v1/threat/order"]);
        host.run_well(ThreatChange::None);
    });
}

#[test]
fn changes_by_others_to_the_list_are_repaired_and_reported() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1 192.0.2.9 198.51.100.0/24");
        host.run_well(ThreatChange::Loaded);
        let right = listed();
        for damage in [
            "nft flush chain inet xshield_threat input",
            "nft delete table inet xshield_threat",
            "nft flush ruleset",
            "nft delete element inet xshield_threat hosts4_a { 192.0.2.1 } ||
             nft delete element inet xshield_threat hosts4_b { 192.0.2.1 }",
            "nft flush set inet xshield_threat nets4_a || nft flush set inet xshield_threat nets4_b",
        ] {
            sh(damage);
            let outcome = host.run();
            assert_eq!(codes(&outcome), ["drift"], "{damage}: {:?}", outcome.problems);
            assert_eq!(outcome.threat.change, ThreatChange::Repaired, "{damage}");
            assert_eq!(listed(), right, "{damage}");
            assert!(sh("nft list chain inet xshield_threat input").contains("@hosts4"), "{damage}");
            host.run_well(ThreatChange::None);
        }
        assert_eq!(platform.fetched().len(), 3, "all of it from disk");
    });
}

#[test]
fn a_swapped_entry_is_found_by_the_scheduled_comparison() {
    on_a_host(|platform, host| {
        let list = set("192.0.2.1 192.0.2.9");
        platform.order_set(1, &list);
        host.run_well(ThreatChange::Loaded);
        sh("nft 'delete element inet xshield_threat hosts4_a { 192.0.2.1 };
                 add element inet xshield_threat hosts4_a { 192.0.2.2 }'");
        host.run_well(ThreatChange::None);
        assert_eq!(listed(), ["192.0.2.2", "192.0.2.9"], "the numbers are right");

        let mut verified = order(2, Some(&list));
        verified.list.as_mut().unwrap().revision = 1;
        verified.verify_every = 1;
        platform.give(&verified);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let outcome = loop {
            let outcome = host.run();
            if !outcome.problems.is_empty() || std::time::Instant::now() > deadline {
                break outcome;
            }
        };
        assert_eq!(codes(&outcome), ["drift"], "{:?}", outcome.problems);
        assert_eq!(listed(), ["192.0.2.1", "192.0.2.9"]);
        let told = platform.script(|script| script.check_ins.last().unwrap().threat.clone());
        assert!(told.unwrap().verified_at.is_some());
    });
}

#[test]
fn the_list_is_restored_at_boot_and_removed_with_the_rest() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1 2001:db8::/32");
        host.run_well(ThreatChange::Loaded);
        sh("nft flush ruleset");
        assert_eq!(listed(), [""; 0]);
        let restored = verbs::restore(&host.config(), &host.environment()).unwrap();
        assert_eq!(restored.threat.unwrap().revision, 1);
        assert!(restored.policy.is_none());
        assert_eq!(listed(), ["192.0.2.1", "2001:db8::/32"]);
        assert!(sh("nft list chain inet xshield_threat input").contains("@hosts4"));
        verbs::restore(&host.config(), &host.environment()).unwrap();

        look_up(host);
        let status = verbs::status(&host.config()).unwrap();
        assert_eq!(status.threat.kernel, "threat list revision 1 is in force");
        sh("nft add table inet of_others");
        verbs::remove(&host.config(), &host.environment()).unwrap();
        assert_eq!(sh("nft list tables"), "table inet of_others\n");
        assert!(!host.state("").exists());
        assert!(verbs::restore(&host.config(), &host.environment()).is_err());
    });
}

fn look_up(host: &Host) {
    let config = host.config();
    let ask = |address: &str| {
        let found =
            xshield_enforce::threat::verbs::lookup(&config, address.parse().unwrap()).unwrap();
        (found.entry.map(|entry| entry.to_string()), found.inbound, found.revision)
    };
    let block = Some(ThreatMode::Block);
    assert_eq!(ask("192.0.2.1"), (Some("192.0.2.1".to_owned()), block, 1));
    assert_eq!(ask("192.0.2.2"), (None, None, 1));
    assert_eq!(ask("2001:db8:ffff::1"), (Some("2001:db8::/32".to_owned()), block, 1));
}

#[test]
fn the_list_stays_while_the_platform_is_unreachable() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        sh("nft flush ruleset");
        let outcome = host.run_alone();
        assert_eq!(outcome.status, RunStatus::PlatformUnreachable);
        assert_eq!(outcome.threat.change, ThreatChange::Repaired);
        assert_eq!(listed(), ["192.0.2.1"]);
        platform.order(2, "192.0.2.2");
        let outcome = host.run_alone();
        assert_eq!(outcome.threat.change, ThreatChange::None);
        let outcome = host.run();
        assert_eq!(outcome.threat.change, ThreatChange::Changed);
    });
}
