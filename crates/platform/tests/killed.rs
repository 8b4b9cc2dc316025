//! The real program, killed: acknowledged data is there, and it starts again.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::sync::Arc;

use support::{TestHost, TestPlatform, now, report};
use xshield_policy::{Direction, Protocol};
use xshield_wire::message::{EventKind, EventReport, EventSource, FirewallEvent, ReportBody};

#[test]
fn acknowledged_reports_survive_a_kill() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut packets = 0;
    let mut host: Option<TestHost> = None;
    for round in 1..=3 {
        let (platform, child) = TestPlatform::start_process(dir.clone());
        let host = host.get_or_insert_with(|| {
            let mut host = TestHost::new("h", &platform.new_key());
            host.sign_in(&platform);
            host
        });
        host.check_in(&platform);
        for _ in 0..10 {
            let event = FirewallEvent {
                kind: EventKind::Denied,
                direction: Direction::Inbound,
                source: [198, 51, 100, 7].into(),
                destination: [192, 0, 2, 10].into(),
                protocol: Protocol::Udp,
                port: 53,
                rule: None,
                packets: round,
                bytes: round,
                first_seen: now(),
                last_seen: now(),
                from: EventSource::Recorder,
                process: None,
            };
            let events = EventReport { events: vec![event], lost: 0 };
            let answer = host.report(&platform, &report(ReportBody::Events(events)));
            assert_eq!(answer.status, 200, "{}", answer.json());
            packets += round;
        }
        let refused = std::process::Command::new(env!("CARGO_BIN_EXE_xshield"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(platform.data_dir())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("another xshield serve"), "{said}");
        drop(child);
    }
    let (platform, _child) = TestPlatform::start_process(dir);
    let events = platform.get("/api/v1/assets/h/events");
    assert_eq!(events["items"][0]["packets"], packets);
    assert_eq!(events["items"][0]["reports"], 30);
}
