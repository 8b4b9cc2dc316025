//! Software and communication as reported by agents.

use std::collections::BTreeSet;

use serde_json::json;
use xshield_policy::{Direction, Protocol};
use xshield_wire::Bytes;
use xshield_wire::message::*;
use xshield_wire::telemetry::*;

use crate::host;
use crate::support::{TestPlatform, now, report};

fn package(name: &str, version: &str) -> SoftwarePackage {
    SoftwarePackage {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
        manager: "dpkg".to_owned(),
    }
}

#[test]
fn software_is_stored_in_full_and_as_changes() {
    let platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    host.check_in(&platform);
    let first: BTreeSet<_> = [package("bash", "5"), package("openssl", "3.0")].into();
    let second: BTreeSet<_> = [package("bash", "5"), package("openssl", "3.1")].into();
    let send = |taken: u64, digest, contents| {
        let body = ReportBody::Software(SoftwareReport { taken, digest, contents });
        assert_eq!(host.report(&platform, &report(body)).status, 200);
    };
    let changes = |base| SoftwareContents::Changes {
        base,
        added: vec![package("openssl", "3.1")],
        removed: vec![package("openssl", "3.0")],
    };
    let at = now() - 100;
    let full = SoftwareContents::Full { packages: first.iter().cloned().collect() };
    send(at, software_digest(&first), full);
    for _ in 0..2 {
        send(at + 1, software_digest(&second), changes(software_digest(&first)));
    }
    // An older report that arrives late changes nothing.
    send(at, software_digest(&first), SoftwareContents::Full { packages: Vec::new() });
    let shown = platform.get("/api/v1/assets/h/software?name=SSL");
    assert_eq!(shown["packages"], json!([package("openssl", "3.1")]));
    let noted = platform.get("/api/v1/assets/h/software/changes");
    let noted: Vec<_> =
        noted["items"].as_array().unwrap().iter().map(|one| one["change"].clone()).collect();
    assert_eq!(noted, ["added", "removed"]);
    assert_eq!(host.check_in(&platform).commands, Vec::new());
}

#[test]
fn a_change_to_an_unknown_inventory_requests_a_full_report() {
    let platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    host.check_in(&platform);
    for _ in 0..3 {
        let contents = SoftwareContents::Changes {
            base: Bytes([9; 32]),
            added: Vec::new(),
            removed: Vec::new(),
        };
        let body =
            ReportBody::Software(SoftwareReport { taken: now(), digest: Bytes([8; 32]), contents });
        assert_eq!(host.report(&platform, &report(body)).status, 200);
    }
    let commands = host.check_in(&platform).commands;
    assert_eq!(commands.len(), 1, "asked once");
    assert_eq!(commands[0].kind, CommandKind::Resend);
}

#[test]
fn telemetry_is_counted_once_and_bounded() {
    let platform = TestPlatform::start_with(|settings| settings.paths_per_asset = 3);
    let mut host = host(&platform, "h");
    host.check_in(&platform);
    let path = |port| ActivePath {
        direction: Direction::Outbound,
        source: [192, 0, 2, 10].into(),
        destination: [198, 51, 100, 7].into(),
        protocol: Protocol::Tcp,
        port,
        process: Some("/usr/bin/curl".to_owned()),
        user: Some("root".to_owned()),
        service: None,
        connections: 2,
        bytes_forth: 100,
        bytes_back: 1000,
        first_seen: now() - 60,
        last_seen: now() - 60 + u64::from(port),
    };
    let paths = |ports: std::ops::Range<u16>| {
        report(ReportBody::Paths(PathReport {
            since: now() - 60,
            until: now(),
            from: PathSource::Conntrack,
            paths: ports.map(path).collect(),
            lost: 5,
        }))
    };
    let first = paths(1..3);
    for _ in 0..3 {
        assert_eq!(host.report(&platform, &first).status, 200);
    }
    assert_eq!(host.report(&platform, &paths(2..6)).status, 200);
    let listed = platform.get("/api/v1/assets/h/paths?process=CURL");
    let ports: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|one| one["port"].clone()).collect();
    assert_eq!(ports, [5, 4, 3], "those seen longest ago are forgotten");
    assert_eq!(listed["items"][0]["bytes_back"], 1000);
    assert_eq!(platform.get("/api/v1/paths?port=5")["items"][0]["asset"], "h");
    let telemetry = HostTelemetry {
        taken: now(),
        booted: now() - 1000,
        os: "Debian".to_owned(),
        kernel: "6.1".to_owned(),
        architecture: "x86_64".to_owned(),
        machine: None,
        cpu: Cpu { model: "x".repeat(10_000), count: 4 },
        memory: 1 << 30,
        disks: Vec::new(),
        interfaces: Vec::new(),
        runs_in: None,
        hardware: None,
        cloud: None,
    };
    let body = ReportBody::Host(Box::new(telemetry));
    assert_eq!(host.report(&platform, &report(body)).status, 200);
    let shown = platform.get("/api/v1/assets/h/host");
    assert_eq!(shown["host"]["cpu"]["model"].as_str().unwrap().len(), 512);
    assert_eq!(shown["paths_lost"], 10);

    let log = |first: u64, end| {
        let lines = (first..first + 3)
            .map(|number| DebugLine {
                at_ms: now() * 1000,
                area: DebugArea::Policy,
                text: format!("line {number}"),
            })
            .collect();
        let command = "cmd-x".to_owned();
        report(ReportBody::DebugLog(DebugLog { command, first, lines, dropped: 0, end }))
    };
    let piece = log(0, LogEnd::Open);
    for _ in 0..2 {
        assert_eq!(host.report(&platform, &piece).status, 200);
    }
    assert_eq!(host.report(&platform, &log(3, LogEnd::Closed)).status, 200);
    let pieces = platform.get("/api/v1/assets/h/debug-log");
    assert_eq!(pieces.as_array().unwrap().len(), 2);
    assert_eq!(pieces[1]["end"], "closed");
    let after = format!("/api/v1/assets/h/debug-log?after={}", pieces[0]["number"]);
    assert_eq!(platform.get(&after)[0]["lines"][0]["text"], "line 3");
}

#[test]
fn live_events_are_shown_in_order_and_not_counted() {
    let platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    host.check_in(&platform);
    let event = FirewallEvent {
        kind: EventKind::Denied,
        direction: Direction::Inbound,
        source: "10.0.0.66".parse().unwrap(),
        destination: "10.0.0.5".parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 22,
        rule: None,
        packets: 3,
        bytes: 180,
        first_seen: now() + 10_000,
        last_seen: now() + 20_000,
        from: EventSource::Live,
        process: Some("s".repeat(5_000)),
    };
    let (user, service) = (Some("root".to_owned()), Some("ssh.service".to_owned()));
    let live = LiveReport {
        events: vec![LiveEvent { event, user, service }; 2],
        threats: Vec::new(),
        lost: 40,
    };
    let batch = report(ReportBody::Live(live));
    for _ in 0..2 {
        assert_eq!(host.report(&platform, &batch).status, 200);
    }
    let shown = platform.get("/api/v1/live-events?asset=h");
    let shown = shown.as_array().unwrap();
    assert_eq!(shown.len(), 3, "a repeated batch is shown once: {shown:?}");
    let first = &shown[0]["event"];
    assert_eq!((&first["user"], &first["service"]), (&json!("root"), &json!("ssh.service")));
    assert_eq!(first["process"].as_str().unwrap().len(), 512);
    assert!(first["last_seen"].as_u64().unwrap() <= now() + 301, "{first}");
    assert_eq!(shown[2]["event"], json!({"lost": 40}));
    let after = format!("/api/v1/live-events?after={}", shown[1]["number"]);
    assert_eq!(platform.get(&after).as_array().unwrap().len(), 1);
    assert!(platform.get("/api/v1/events")["items"].as_array().unwrap().is_empty());
    assert_eq!(platform.get("/api/v1/assets/h")["events_lost"], 0);
}
