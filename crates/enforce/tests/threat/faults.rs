//! Orders and files that can't be trusted, and disks that fail.

use std::fs;

use xshield_enforce::RunStatus;
use xshield_enforce::outcome::ThreatChange;
use xshield_wire::threat::{ThreatFileKind, ThreatPath};
use xshield_wire::{Bytes, envelope};

use crate::host::{codes, listed, on_a_host, sh};
use crate::platform::{Spoil, order, set};

#[test]
fn a_damaged_change_is_refused_and_the_whole_list_fetched() {
    let damages: [Spoil; 4] = [
        |kind, mut bytes| {
            if kind == ThreatFileKind::Delta {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            bytes
        },
        |kind, mut bytes| {
            if kind == ThreatFileKind::Delta {
                bytes.pop();
            }
            bytes
        },
        |kind, mut bytes| {
            if kind == ThreatFileKind::Delta {
                bytes.extend([0; 1000]);
            }
            bytes
        },
        |kind, bytes| if kind == ThreatFileKind::Delta { Vec::new() } else { bytes },
    ];
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        for (at, damage) in damages.into_iter().enumerate() {
            platform.script(|script| script.spoil = Some(damage));
            let entry = format!("192.0.2.{}", 10 + at);
            platform.order(10 + at as u64, &entry);
            let outcome = host.run();
            assert_eq!(codes(&outcome), ["threat-delta-refused"], "{at}: {:?}", outcome.problems);
            assert_eq!(outcome.threat.change, ThreatChange::Loaded, "{at}");
            assert_eq!(listed(), [entry]);
            platform.script(|script| script.spoil = None);
            host.run_well(ThreatChange::None);
        }
    });
}

#[test]
fn downloads_that_do_not_match_the_order_are_refused_and_the_old_list_stays() {
    type Mislead = fn(ThreatPath) -> ThreatPath;
    let lies: [Mislead; 4] = [
        |mut path| {
            path.files.clear();
            path
        },
        |mut path| {
            path.files.iter_mut().for_each(|file| file.to = Bytes([1; 32]));
            path
        },
        |mut path| {
            path.files.iter_mut().for_each(|file| file.sha256 = Bytes([1; 32]));
            path
        },
        |mut path| {
            path.files.iter_mut().for_each(|file| file.bytes = u64::MAX);
            path
        },
    ];
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        platform.order(2, "192.0.2.2");
        for lie in lies {
            platform.script(|script| script.mislead = Some(lie));
            let outcome = host.run();
            assert_eq!(codes(&outcome), ["threat-delta-refused", "threat-failed"]);
            assert_eq!(outcome.status, RunStatus::Failed);
            assert_eq!(listed(), ["192.0.2.1"]);
            let told = platform.script(|script| script.check_ins.last().unwrap().threat.clone());
            let told = told.unwrap();
            assert!(told.failure.is_some());
            assert_eq!(told.list.unwrap().revision, 1);
        }
        platform.script(|script| script.mislead = None);
        host.run_well(ThreatChange::Changed);
        assert_eq!(listed(), ["192.0.2.2"]);
    });
}

#[test]
fn another_list_than_the_ordered_one_is_not_enforced() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        // The digest is right, but the number of entries is wrong.
        let mut wrong = order(2, Some(&set("192.0.2.2")));
        wrong.list.as_mut().unwrap().entries = 2;
        platform.order(2, "192.0.2.2");
        platform.give(&wrong);
        let outcome = host.run();
        assert_eq!(codes(&outcome), ["threat-delta-refused", "threat-failed"]);
        assert_eq!(listed(), ["192.0.2.1"]);
    });
}

#[test]
fn an_untrusted_order_is_refused_and_the_previous_one_stays() {
    on_a_host(|platform, host| {
        platform.order(5, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        let good = order(6, Some(&set("192.0.2.2")));
        let other_key = xshield_wire::keys::PolicyKey::from_seed([8; 32]);
        let forged = envelope::seal(&other_key, &good).unwrap();
        platform.give(&good);
        platform.script(|script| {
            if let Some((_, bytes)) = &mut script.order {
                *bytes = forged.to_bytes();
            }
        });
        let refused = |code: &str, why: &str| {
            let outcome = host.run();
            assert_eq!(codes(&outcome), [code, "threat-failed"], "{why}");
            assert_eq!(listed(), ["192.0.2.1"], "{why}");
        };
        refused("threat-order-refused", "signed by another key");
        let mut elsewhere = good.clone();
        elsewhere.asset = "another".parse().unwrap();
        platform.give(&elsewhere);
        refused("threat-order-refused", "for another host");
        platform.give(&order(4, Some(&set("192.0.2.2"))));
        refused("platform-behind", "older");
        platform.order(7, "192.0.2.3");
        host.run_well(ThreatChange::Changed);
        assert_eq!(listed(), ["192.0.2.3"]);
    });
}

#[test]
fn an_old_order_is_refused_even_if_the_order_file_is_lost() {
    on_a_host(|platform, host| {
        platform.order(5, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        fs::remove_file(host.state("order")).unwrap();
        platform.give(&order(4, None));
        let outcome = host.run();
        assert_eq!(codes(&outcome), ["platform-behind", "threat-failed"]);
        assert_eq!(listed(), ["192.0.2.1"]);
    });
}

#[test]
fn a_damaged_list_on_disk_is_fetched_again() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1 192.0.2.7");
        host.run_well(ThreatChange::Loaded);
        let file = host.list_files().remove(0);
        let whole = fs::read(&file).unwrap();
        let damages = [&whole[..whole.len() / 2], &[][..], b"XTL"];
        for (sequence, damaged) in (2..).step_by(2).zip(damages) {
            fs::write(&file, damaged).unwrap();
            platform.order(sequence, "192.0.2.2");
            let outcome = host.run();
            assert_eq!(codes(&outcome), ["threat-delta-refused"], "{:?}", outcome.problems);
            assert_eq!(listed(), ["192.0.2.2"]);
            platform.order(sequence + 1, "192.0.2.1 192.0.2.7");
            host.run_well(ThreatChange::Changed);
        }
    });
}

#[test]
fn a_list_of_all_addresses_is_refused_by_the_host() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        platform.order(2, "0.0.0.0/1 128.0.0.0/1");
        let outcome = host.run();
        assert_eq!(codes(&outcome), ["threat-failed"], "{:?}", outcome.problems);
        assert_eq!(listed(), ["192.0.2.1"]);
        platform.order(3, "192.0.2.2");
        host.run_well(ThreatChange::Changed);
        assert_eq!(host.list_files().len(), 1);
    });
}

#[test]
fn a_list_that_cannot_be_repaired_is_not_reported_in_force() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        // Replaces our chain by one with another hook: the kernel does not move chains.
        sh("nft flush ruleset; nft add table inet xshield_threat;
            nft 'add chain inet xshield_threat input { type filter hook output priority 9; }'");
        let outcome = host.run();
        assert!(outcome.threat.list.is_none(), "{outcome:?}");
        let told = platform.script(|script| script.check_ins.last().unwrap().threat.clone());
        let told = told.unwrap();
        assert!(told.failure.is_some() && told.list.is_none(), "{told:?}");
        assert_eq!(outcome.status, RunStatus::Failed);
    });
}

#[test]
fn a_full_disk_leaves_the_list_in_force() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        // A directory where the next list's file would be written.
        fs::create_dir(host.state("unfinished")).unwrap();
        platform.order(2, "192.0.2.2");
        let outcome = host.run();
        assert_eq!(codes(&outcome), ["threat-failed"], "{:?}", outcome.problems);
        assert_eq!(listed(), ["192.0.2.1"]);
        let left = fs::read_dir(host.state("")).unwrap().flatten().map(|entry| entry.file_name());
        assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with("fetched")));
        fs::remove_dir(host.state("unfinished")).unwrap();
        host.run_well(ThreatChange::Changed);
        assert_eq!(listed(), ["192.0.2.2"]);
    });
}

#[test]
fn the_loss_of_any_state_file_is_survived() {
    on_a_host(|platform, host| {
        platform.order(1, "192.0.2.1");
        host.run_well(ThreatChange::Loaded);
        for name in ["order", "lists"] {
            fs::write(host.state(name), "no such thing").unwrap();
            let outcome = host.run();
            assert_eq!(codes(&outcome), ["state-damaged"], "{name}: {:?}", outcome.problems);
            assert_eq!(listed(), ["192.0.2.1"], "{name}");
            host.run_well(ThreatChange::None);
        }
        fs::remove_file(host.list_files().remove(0)).unwrap();
        assert_eq!(codes(&host.run()), ["state-damaged"]);
        host.run_well(ThreatChange::None);
        fs::remove_dir_all(host.state("")).unwrap();
        host.run_well(ThreatChange::Loaded);
        assert_eq!(listed(), ["192.0.2.1"]);
    });
}

#[test]
fn a_partial_list_is_reported_at_every_run() {
    on_a_host(|platform, host| {
        let list = set("192.0.2.1");
        platform.order_set(1, &list);
        let mut part = order(2, Some(&list));
        if let Some(list) = &mut part.list {
            (list.least_confidence, list.whole_entries) = (80, 1000);
        }
        platform.give(&part);
        for _ in 0..2 {
            let outcome = host.run();
            assert_eq!(codes(&outcome), ["threat-part"]);
            let text = &outcome.problems[0].text;
            assert!(text.contains("1000 entries") && text.contains("80 %"), "{text}");
            assert_eq!(outcome.status, RunStatus::NoPolicy);
        }
    });
}
