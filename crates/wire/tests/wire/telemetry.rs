//! The JSON of host telemetry, as recorded when its version was current.

use xshield_policy::{Direction, Protocol, Revision};
use xshield_wire::Bytes;
use xshield_wire::message::*;
use xshield_wire::telemetry::*;
use xshield_wire::threat::ThreatReport;

use crate::fixtures::NOW;
use crate::messages::{check, event, report, threats};

pub(crate) fn package(name: &str, version: &str) -> SoftwarePackage {
    SoftwarePackage {
        name: name.into(),
        version: version.into(),
        architecture: "amd64".into(),
        manager: "dpkg".into(),
    }
}

pub(crate) fn host_telemetry() -> HostTelemetry {
    HostTelemetry {
        taken: NOW,
        booted: NOW - 86_400,
        os: "Debian GNU/Linux 12 (bookworm)".into(),
        kernel: "6.1.0-18-amd64".into(),
        architecture: "x86_64".into(),
        machine: Some(Bytes([0x77; 32])),
        cpu: Cpu { model: "EPYC".into(), count: 2 },
        memory: 4 << 30,
        disks: vec![Disk {
            mount: "/".into(),
            device: "/dev/vda1".into(),
            file_system: "ext4".into(),
            size: 40 << 30,
            free: 10 << 30,
        }],
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: Some("52:54:00:12:34:56".into()),
            addresses: vec!["10.0.0.5".parse().unwrap()],
            state: LinkState::Up,
            mtu: 1500,
        }],
        runs_in: Some("kvm".into()),
        hardware: Some("QEMU Standard PC".into()),
        cloud: Some(CloudInstance {
            provider: "aws".into(),
            instance: "i-0abc".into(),
            size: Some("m5.large".into()),
            region: Some("eu-central-1".into()),
            zone: Some("eu-central-1a".into()),
            account: Some("123456789012".into()),
            image: Some("ami-0abc".into()),
        }),
    }
}

#[test]
fn version_1_telemetry_stays_readable() {
    check("report-host", &report(ReportBody::Host(Box::new(host_telemetry()))));
    let bare = HostTelemetry {
        machine: None,
        runs_in: None,
        hardware: None,
        cloud: None,
        ..host_telemetry()
    };
    check("report-host-bare", &report(ReportBody::Host(Box::new(bare))));
    let packages = vec![package("bash", "5.2.15-2+b2"), package("openssl", "3.0.11-1~deb12u2")];
    let digest = software_digest(&packages.iter().cloned().collect());
    let software = |contents| ReportBody::Software(SoftwareReport { taken: NOW, digest, contents });
    check("report-software", &report(software(SoftwareContents::Full { packages })));
    let changes = SoftwareContents::Changes {
        base: Bytes([0x0B; 32]),
        added: vec![package("openssl", "3.0.11-1~deb12u2")],
        removed: vec![package("openssl", "3.0.11-1~deb12u1")],
    };
    check("report-software-changes", &report(software(changes)));
    let path = ActivePath {
        direction: Direction::Outbound,
        source: "10.0.0.5".parse().unwrap(),
        destination: "10.0.0.9".parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 5432,
        process: Some("/usr/sbin/appd".into()),
        user: Some("app".into()),
        service: Some("app.service".into()),
        connections: 12,
        bytes_forth: 4_000,
        bytes_back: 90_000,
        first_seen: NOW - 100,
        last_seen: NOW - 1,
    };
    let unknown = ActivePath { process: None, user: None, service: None, ..path.clone() };
    let paths = vec![path, unknown];
    let span =
        PathReport { since: NOW - 120, until: NOW, from: PathSource::Conntrack, paths, lost: 3 };
    check("report-paths", &report(ReportBody::Paths(span)));
    let ReportBody::Threats(ThreatReport { matches: threats, .. }) = threats() else { panic!() };
    let live = FirewallEvent { from: EventSource::Live, ..event() };
    let bare = LiveEvent { event: live, user: None, service: None };
    let live = LiveReport { events: vec![bare.clone()], threats, lost: 90_000 };
    check("report-live", &report(ReportBody::Live(live)));
    let (user, service) = (Some("www-data".to_owned()), Some("nginx.service".to_owned()));
    let live = LiveEvent { user, service, ..bare };
    let live = LiveReport { events: vec![live], threats: Vec::new(), lost: 0 };
    check("report-live-attributed", &report(ReportBody::Live(live)));
    let event = |kind, text: &str| AgentEvent {
        at: NOW,
        kind,
        text: text.into(),
        revision: None,
        seconds: None,
    };
    let applied = AgentEvent {
        revision: Some(Revision(3)),
        seconds: Some(1),
        ..event(AgentEventKind::PolicyApplied, "revision 3 is in force")
    };
    let events = vec![applied, event(AgentEventKind::Started, "ctagent 0.2.0")];
    check("report-agent", &report(ReportBody::Agent { events }));
    let line = |area, text: &str| DebugLine { at_ms: NOW * 1000 + 5, area, text: text.into() };
    let lines = vec![
        line(DebugArea::Network, "POST /host/v1/check-in: 200, 12 ms, direct"),
        line(DebugArea::Rules, "generation 12"),
    ];
    let log = DebugLog { command: "c-9".into(), first: 40, lines, dropped: 2, end: LogEnd::Closed };
    check("report-debug-log", &report(ReportBody::DebugLog(log)));
}

#[test]
fn an_inventory_has_one_digest_in_any_order_and_another_when_anything_differs() {
    let of = |packages: &[(&str, &str)]| {
        software_digest(&packages.iter().map(|(name, version)| package(name, version)).collect())
    };
    let whole = of(&[("a", "1"), ("b", "2")]);
    assert_eq!(of(&[("b", "2"), ("a", "1"), ("a", "1")]), whole);
    for other in [&[("a", "1")][..], &[("a", "12"), ("b", "")], &[("a", "1"), ("b", "3")]] {
        assert_ne!(of(other), whole, "{other:?}");
    }
}

#[test]
fn a_later_kind_of_agent_event_is_read_as_unknown() {
    let event = AgentEvent {
        at: NOW,
        kind: AgentEventKind::Stopped,
        text: "bye".into(),
        revision: None,
        seconds: None,
    };
    let mut value =
        serde_json::to_value(report(ReportBody::Agent { events: vec![event] })).unwrap();
    value["body"]["events"][0]["kind"] = "levitated".into();
    let read = Report::read(value.to_string().as_bytes()).unwrap();
    let ReportBody::Agent { events } = read.body else { panic!() };
    assert_eq!(events[0].kind, AgentEventKind::Unknown);
}
