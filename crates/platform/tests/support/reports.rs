//! One report of each kind.

use xshield_policy::{Direction, Mode, Protocol, Revision, Subject};
use xshield_wire::Bytes;
use xshield_wire::message::*;
use xshield_wire::telemetry::*;
use xshield_wire::threat::ThreatReport;

use super::matches::found;
use super::now;

/// A denied flow to a port with this count.
pub fn event(port: u16, count: u64) -> FirewallEvent {
    FirewallEvent {
        kind: EventKind::Denied,
        direction: Direction::Inbound,
        source: [198, 51, 100, 7].into(),
        destination: [192, 0, 2, 10].into(),
        protocol: Protocol::Tcp,
        port,
        rule: None,
        packets: count,
        bytes: count,
        first_seen: now() - 60,
        last_seen: now(),
        from: EventSource::Recorder,
        process: None,
    }
}

/// A path to a port with this count.
pub fn path(port: u16, count: u64) -> ActivePath {
    ActivePath {
        direction: Direction::Inbound,
        source: [198, 51, 100, 7].into(),
        destination: [192, 0, 2, 10].into(),
        protocol: Protocol::Tcp,
        port,
        process: None,
        user: None,
        service: None,
        connections: count,
        bytes_forth: count,
        bytes_back: count,
        first_seen: now() - 60,
        last_seen: now(),
    }
}

/// Hits of a rule.
pub fn hits(rule: &str, count: u64) -> RuleHits {
    RuleHits {
        rule: rule.parse().unwrap(),
        direction: Direction::Inbound,
        packets: count,
        bytes: count,
    }
}

/// A programmed ruleset with these hits.
pub fn programmed(hits: Vec<RuleHits>, text: Option<String>) -> ReportBody {
    let state = DirectionState { subject: Subject::Nothing, mode: Mode::Enforce, tested: None };
    ReportBody::Programmed(ProgrammedReport {
        in_force: InForce { revision: Revision(1), digest: Bytes([1; 32]) },
        inbound: state,
        outbound: state,
        hits,
        text,
        unenforceable: Vec::new(),
    })
}

/// Paths as reported from connection tracking.
pub fn paths(paths: Vec<ActivePath>, lost: u64) -> ReportBody {
    let from = PathSource::Conntrack;
    ReportBody::Paths(PathReport { since: now() - 60, until: now(), from, paths, lost })
}

/// Items of every kind that a host reports: each counter is `count`, each item occurs `times` times.
pub fn every_kind(count: u64, times: usize) -> Vec<ReportBody> {
    let package = SoftwarePackage {
        name: "bash".to_owned(),
        version: "5".to_owned(),
        architecture: "amd64".to_owned(),
        manager: "dpkg".to_owned(),
    };
    let packages: std::collections::BTreeSet<_> = [package].into();
    let agent = AgentEvent {
        at: now(),
        kind: AgentEventKind::Started,
        text: "started".to_owned(),
        revision: Some(Revision(count)),
        seconds: Some(count),
    };
    let line = DebugLine { at_ms: count, area: DebugArea::Policy, text: "a line".to_owned() };
    let live = LiveEvent { event: event(22, count), user: None, service: None };
    let port = ListeningPort {
        protocol: Protocol::Tcp,
        address: "0.0.0.0".parse().unwrap(),
        port: 22,
        process: Some("sshd".to_owned()),
        path: None,
        uid: Some(0),
        service: None,
    };
    let host = HostTelemetry {
        taken: now(),
        booted: now() - 60,
        os: "Debian".to_owned(),
        kernel: "6.1".to_owned(),
        architecture: "x86_64".to_owned(),
        machine: None,
        cpu: Cpu { model: String::new(), count: 1 },
        memory: count,
        disks: Vec::new(),
        interfaces: Vec::new(),
        runs_in: None,
        hardware: None,
        cloud: None,
    };
    vec![
        ReportBody::Events(EventReport { events: vec![event(22, count); times], lost: count }),
        programmed(vec![hits("db/postgres", count); times], Some("table".to_owned())),
        paths(vec![path(22, count); times], count),
        ReportBody::Threats(ThreatReport {
            matches: vec![found("203.0.113.7", count); times],
            lost: count,
        }),
        ReportBody::Live(LiveReport { events: vec![live], threats: Vec::new(), lost: count }),
        ReportBody::Agent { events: vec![agent] },
        ReportBody::DebugLog(DebugLog {
            command: "c".to_owned(),
            first: count,
            lines: vec![line],
            dropped: count,
            end: LogEnd::Open,
        }),
        ReportBody::ListeningPorts { ports: vec![port] },
        ReportBody::Host(Box::new(host)),
        ReportBody::Software(SoftwareReport {
            taken: now(),
            digest: software_digest(&packages),
            contents: SoftwareContents::Full { packages: packages.into_iter().collect() },
        }),
    ]
}
