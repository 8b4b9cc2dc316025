//! What a run reports about itself: once, and within limits.

use std::os::unix::fs::PermissionsExt as _;

use xshield_enforce::RunStatus;
use xshield_wire::bounds;

use crate::host::{codes, on_a_host, sh};

#[test]
fn a_refused_check_in_is_reported_once_and_not_retried_in_the_same_run() {
    on_a_host(|platform, host| {
        platform.script(|script| script.refuse = Some((422, "invalid-value")));
        for run in 1..=2 {
            let outcome = host.run();
            assert_eq!(outcome.status, RunStatus::Refused);
            assert_eq!(codes(&outcome), ["platform-refused"], "{:?}", outcome.problems);
            let sent = platform.script(|script| script.check_ins.len());
            assert_eq!(sent, run, "who was turned away would be once more");
        }
        platform.script(|script| script.refuse = None);
        let outcome = host.run();
        assert_eq!(codes(&outcome), [""; 0], "{:?}", outcome.problems);
        let told = platform.script(|script| script.check_ins.last().unwrap().problems.clone());
        let texts: Vec<_> = told.iter().map(|problem| problem.text.as_str()).collect();
        assert_eq!(texts.len(), 2, "each run's, once: {texts:?}");
        assert!(texts[0].contains("check-in 1") && texts[1].contains("check-in 2"), "{texts:?}");
    });
}

#[test]
fn too_many_addresses_are_cut_and_reported_once() {
    on_a_host(|platform, host| {
        let add = |from: usize, to: usize| {
            let line = |at: usize| format!("address add 10.{}.{}.1/32 dev lo", at / 256, at % 256);
            let lines: Vec<String> = (from..to).map(line).collect();
            std::fs::write(host.file("batch"), lines.join("\n")).unwrap();
            sh(&format!("ip -batch {}", host.file("batch").display()));
        };
        add(0, 5_000);
        assert_eq!(codes(&host.run()), [""; 0], "thousands are told");
        let last = || platform.script(|script| script.check_ins.last().unwrap().clone());
        assert_eq!(last().host.addresses.len(), 5_000);
        add(5_000, 9_000);
        let outcome = host.run();
        assert_eq!(codes(&outcome), [bounds::LEFT_OUT], "{:?}", outcome.problems);
        let told = last();
        assert_eq!(told.host.addresses.len(), bounds::ADDRESSES);
        assert_eq!(told.problems, outcome.problems, "operators hear it, too");
        assert!(told.problems[0].text.starts_with("of 9000 addresses only 8192"), "{told:?}");
    });
}

#[test]
fn a_configuration_readable_by_others_is_reported_at_every_run() {
    on_a_host(|platform, host| {
        host.config_mode.set(0o644);
        for _ in 0..2 {
            let outcome = host.run();
            assert_eq!(codes(&outcome), ["secret-exposed"], "{:?}", outcome.problems);
            let text = &outcome.problems[0].text;
            assert!(text.contains("chmod 600") && text.contains("enforcement key"), "{text}");
            let told = platform.script(|script| script.check_ins.last().unwrap().problems.clone());
            assert_eq!(told, outcome.problems, "operators hear it, too");
        }
        host.config_mode.set(0o600);
        assert_eq!(codes(&host.run()), [""; 0]);
    });
}

#[test]
fn a_state_directory_writable_by_others_is_refused() {
    on_a_host(|_, host| {
        host.run();
        let state = host.file("state");
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o777)).unwrap();
        let said = host.run_in_vain();
        let what_to_do = format!("chmod go-w {}", state.display());
        assert!(said.contains("can't be trusted") && said.contains(&what_to_do), "{said}");
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(codes(&host.run()), [""; 0], "that others may list it is no harm");
    });
}
