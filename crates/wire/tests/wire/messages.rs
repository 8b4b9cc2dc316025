//! The JSON of every message, as recorded when its version was current. A recorded file is never edited:
//! hosts that use it are still running.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::Value;
use xshield_policy::{Direction, Mode, Protocol, Revision, Subject};
use xshield_threat::ThreatMode;
use xshield_wire::control::*;
use xshield_wire::envelope::{open, open_order, seal, seal_ruleset};
use xshield_wire::message::*;
use xshield_wire::session::{prove, start};
use xshield_wire::threat::*;
use xshield_wire::trust::{Der, PublicTrust};
use xshield_wire::{Bytes, Envelope, RulesetVersion, Verified};

use crate::fixtures::{
    NOW, TOKEN, asset, enforcement, identity, policy_key, randomness, ruleset, terms,
};

fn in_force() -> InForce {
    InForce { revision: Revision(3), digest: Bytes([0x5A; 32]) }
}

pub(crate) fn check_in(status: Status) -> CheckIn {
    CheckIn {
        version: 1,
        sequence: 42,
        program: Program { kind: ProgramKind::Spark, version: "0.1.0".into() },
        host: HostFacts {
            name: "web".into(),
            os: "debian 12".into(),
            kernel: "6.1.0-18-amd64".into(),
            addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            boot_id: "2f1b0b0e-6a0b-4c59-8d3f-0d5a6f1c9b11".into(),
        },
        status,
        in_force: Some(in_force()),
        problems: vec![Problem { code: "dns-stale".into(), text: "answers are 2 h old".into() }],
        threat: None,
        routes: vec![],
        interval: None,
        configuration: None,
        usage: None,
        previous: None,
        held: None,
        trust: None,
    }
}

fn answer() -> CheckInAnswer {
    CheckInAnswer {
        version: 1,
        wanted: Some(in_force()),
        commands: vec![Command {
            id: "c-1".into(),
            kind: CommandKind::Resend,
            expires: None,
            duration: None,
        }],
        next_check_in: 252,
        time: NOW,
        threat: None,
        configuration: None,
        seen: None,
        problems: Vec::new(),
        trust: None,
    }
}

pub(crate) fn report(body: ReportBody) -> Report {
    Report { version: 1, batch: Bytes([0xB0; 16]), created: NOW, body }
}

pub(crate) fn event() -> FirewallEvent {
    FirewallEvent {
        kind: EventKind::WouldDeny,
        direction: Direction::Inbound,
        source: "10.0.0.9".parse().unwrap(),
        destination: "10.0.0.5".parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 5432,
        rule: Some("never/telnet".parse().unwrap()),
        packets: 3,
        bytes: 180,
        first_seen: NOW - 240,
        last_seen: NOW,
        from: EventSource::Recorder,
        process: None,
    }
}

fn events() -> ReportBody {
    let gre = FirewallEvent {
        kind: EventKind::Denied,
        protocol: Protocol::Other(47),
        port: 0,
        rule: None,
        from: EventSource::KernelLog,
        process: Some("gre".into()),
        ..event()
    };
    ReportBody::Events(EventReport { events: vec![event(), gre], lost: 2 })
}

fn programmed(text: Option<&str>) -> ReportBody {
    ReportBody::Programmed(ProgrammedReport {
        in_force: in_force(),
        inbound: DirectionState { subject: Subject::Everything, mode: Mode::Enforce, tested: None },
        outbound: DirectionState { subject: Subject::Internet, mode: Mode::Test, tested: None },
        hits: vec![RuleHits {
            rule: "failsafe/dns".parse().unwrap(),
            direction: Direction::Outbound,
            packets: 5,
            bytes: 400,
        }],
        text: text.map(str::to_owned),
        unenforceable: vec![UnenforceableRule {
            rule: "db-tier/backup".parse().unwrap(),
            direction: Direction::Outbound,
            reason: "process restic: is not running".into(),
        }],
    })
}

fn threat_wanted() -> ThreatWanted {
    ThreatWanted { sequence: 9, order: Bytes([0x0D; 32]) }
}

fn list() -> ListName {
    ListName {
        revision: 7,
        digest: Bytes([0x11; 32]),
        entries: 900,
        least_confidence: 60,
        whole_entries: 1000,
    }
}

fn order() -> ThreatOrder {
    ThreatOrder {
        asset: asset("a-web"),
        sequence: 9,
        inbound: ThreatMode::Block,
        outbound: ThreatMode::EventOnly,
        list: Some(list()),
        verify_every: 86_400,
    }
}

fn standing() -> ThreatStanding {
    ThreatStanding {
        order: Some(threat_wanted()),
        list: Some(list()),
        inbound: ThreatMode::Block,
        outbound: ThreatMode::Off,
        elements: 905,
        verified_at: Some(NOW - 60),
        memory: 4 << 30,
        budget: Some(64 << 20),
        failure: Some("the kernel refused its memory".into()),
    }
}

pub(crate) fn threats() -> ReportBody {
    let blocked = ThreatMatch {
        action: ThreatAction::Blocked,
        direction: Direction::Inbound,
        local: "10.0.0.5".parse().unwrap(),
        remote: "203.0.113.9".parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 443,
        rule: Some("web-tier/https".parse().unwrap()),
        policy: PolicyVerdict::Allowed,
        process: Some("/usr/sbin/nginx".into()),
        service: Some("nginx.service".into()),
        packets: 3,
        bytes: 180,
        first_seen: NOW - 240,
        last_seen: NOW,
        from: EventSource::Recorder,
        revision: 7,
    };
    let recorded = ThreatMatch {
        action: ThreatAction::Recorded,
        direction: Direction::Outbound,
        rule: None,
        policy: PolicyVerdict::NoPolicy,
        process: None,
        service: None,
        ..blocked.clone()
    };
    ReportBody::Threats(ThreatReport { matches: vec![blocked, recorded], lost: 1 })
}

fn listening() -> ReportBody {
    ReportBody::ListeningPorts {
        ports: vec![ListeningPort {
            protocol: Protocol::Tcp,
            address: "::".parse().unwrap(),
            port: 443,
            process: Some("nginx".into()),
            path: Some("/usr/sbin/nginx".into()),
            uid: Some(33),
            service: None,
        }],
    }
}

fn recorded(name: &str) -> String {
    let path = format!("{}/tests/recorded/v1/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The recorded text is still parsed as the same message and still written the same way.
pub(crate) fn check<M: Message + PartialEq + std::fmt::Debug>(name: &str, message: &M) {
    let text = recorded(name);
    assert_eq!(M::read(text.as_bytes()).unwrap(), *message, "{name} is read otherwise");
    let written: Value = serde_json::from_slice(&message.to_json().unwrap()).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written, expected, "{name} is written otherwise");
}

#[test]
fn version_1_check_ins_stay_readable() {
    check("check-in", &check_in(Status::Enforcing));
    check("check-in-blocked", &check_in(Status::Blocked { by: "firewalld".into() }));
    let bare = CheckIn { in_force: None, problems: vec![], ..check_in(Status::NoPolicy) };
    check("check-in-no-policy", &bare);
    let failed = Status::Failed { reason: "the kernel refused the transaction".into() };
    check("check-in-failed", &check_in(failed));
    check("check-in-answer", &answer());
    let nothing = CheckInAnswer { wanted: None, commands: vec![], ..answer() };
    check("check-in-answer-nothing", &nothing);
}

#[test]
fn version_1_reports_stay_readable() {
    check("report-programmed", &report(programmed(Some("table inet xshield {\n}\n"))));
    check("report-programmed-same-text", &report(programmed(None)));
    check("report-events", &report(events()));
    check("report-listening-ports", &report(listening()));
    check("report-answer", &ReportAnswer { version: 1, acknowledged: Bytes([0xB0; 16]) });
}

#[test]
fn later_additions_to_version_1_stay_readable() {
    let threat = Some(standing());
    let failure = |kind| RouteFailure { at: NOW, reason: "the proxy does not answer".into(), kind };
    let unnamed = failure(RouteFailureKind::Unknown);
    let routes = vec![
        RouteStanding {
            route: "proxy 10.10.6.4:3128".into(),
            in_use: false,
            last_failure: Some(unnamed),
            last_worked: None,
        },
        RouteStanding {
            route: "direct".into(),
            in_use: true,
            last_failure: None,
            last_worked: None,
        },
    ];
    let full = CheckIn { threat, routes, interval: Some(120), ..check_in(Status::Enforcing) };
    check("check-in-with-threat", &full);
    let routes = vec![RouteStanding {
        route: "proxy 10.10.6.4:3128".into(),
        in_use: false,
        last_failure: Some(failure(RouteFailureKind::TimedOut)),
        last_worked: Some(NOW - 60),
    }];
    check("check-in-with-routes", &CheckIn { routes, ..check_in(Status::Enforcing) });
    let command = |kind, expires, duration| Command { id: "c-2".into(), kind, expires, duration };
    let pending = CheckInAnswer {
        threat: Some(threat_wanted()),
        commands: vec![
            command(CommandKind::RunNow, Some(NOW + 3600), None),
            command(CommandKind::Diagnostics, None, None),
            command(CommandKind::DebugOn, None, Some(600)),
            command(CommandKind::DebugOff, None, None),
        ],
        ..answer()
    };
    check("check-in-answer-with-threat", &pending);
    check("report-threats", &report(threats()));
    let outcome = |result| CommandOutcome { id: "c-2".into(), at: NOW, result };
    let outcomes = vec![
        outcome(CommandResult::Done),
        outcome(CommandResult::Failed { reason: "the disk is full".into() }),
        outcome(CommandResult::Expired),
        outcome(CommandResult::Unknown),
    ];
    check("report-commands", &report(ReportBody::Commands { outcomes }));
    let file = |kind, seed| ThreatFile {
        kind,
        sha256: Bytes([seed; 32]),
        bytes: 700,
        to: Bytes([seed + 1; 32]),
    };
    let files = vec![file(ThreatFileKind::Snapshot, 1), file(ThreatFileKind::Delta, 2)];
    check("threat-path", &ThreatPath { version: 1, files });
}

#[test]
fn claims_in_version_1_stay_readable() {
    let bare = CheckIn { in_force: None, problems: vec![], ..check_in(Status::NoPolicy) };
    check("check-in-continued", &CheckIn { previous: Some(41), ..bare });
    let problems =
        vec![Problem { code: "name-waits".into(), text: "the host calls itself localhost".into() }];
    let nothing = CheckInAnswer { wanted: None, commands: vec![], ..answer() };
    check("check-in-answer-problems", &CheckInAnswer { problems, ..nothing });
}

#[test]
fn trust_documents_stay_readable() {
    let policy_keys = vec![policy_key().public()];
    check("trust", &PublicTrust { version: 1, ca: vec![Der(vec![0x30; 40])], policy_keys });
}

#[test]
fn agent_additions_to_version_1_stay_readable() {
    let usage = Some(Usage { started: NOW - 7200, cpu: 1, memory: 15_360 });
    let resident = CheckIn {
        program: Program { kind: ProgramKind::Agent, version: "0.2.0".into() },
        interval: Some(120),
        configuration: Some(4),
        usage,
        ..check_in(Status::Enforcing)
    };
    check("check-in-agent", &resident);
    let configuration = HostConfiguration {
        version: 5,
        heartbeat: Some(60),
        telemetry: Some(300),
        inventory: Some(3600),
        cloud_metadata: Some(Switch::Off),
        live_events: Some(Switch::On),
        cpu_budget: Some(30),
        memory_budget: Some(64),
    };
    let seen = Some("17-2".to_owned());
    check(
        "check-in-answer-configured",
        &CheckInAnswer { configuration: Some(configuration), seen, ..answer() },
    );
    check("notification", &Notification { version: 1, seen: "18-2".into() });
    let standing = |received, state| UploadStanding { version: 1, received, state };
    check("upload-partial", &standing(1 << 20, UploadState::Partial));
    check("upload-complete", &standing(2_000_000, UploadState::Complete));
}

#[test]
fn version_1_threat_orders_stay_verifiable() {
    let order = order();
    let text = recorded("threat-order-envelope");
    let envelope: Envelope = serde_json::from_str(&text).unwrap();
    assert_eq!(envelope, seal(&policy_key(), &order).unwrap());
    let pinned = [policy_key().public()];
    let verified: Verified<ThreatOrder> =
        open_order(text.as_bytes(), &pinned, &asset("a-web"), 9).unwrap();
    assert_eq!(*verified, order);
    assert_eq!(verified.name().sequence, 9);
}

#[test]
fn version_1_sessions_stay_provable() {
    let enforcement = enforcement();
    let (request, pending) = start(&enforcement, &identity(), "web", NOW, randomness());
    check("session-request", &request);
    let request = SessionRequest::read(recorded("session-request").as_bytes()).unwrap();
    let proven = prove(&request, &enforcement, NOW).unwrap();
    let (response, _) = proven.accept(terms(), |_| TOKEN.to_owned()).unwrap();
    check("session-response", &response);
    let response = SessionResponse::read(recorded("session-response").as_bytes()).unwrap();
    pending.finish(response).unwrap();
}

#[test]
fn version_1_rulesets_stay_verifiable() {
    let text = recorded("ruleset-envelope");
    let pinned = [policy_key().public()];
    let verified = open(text.as_bytes(), &pinned, &asset("a-web"), Revision(3).into()).unwrap();
    assert_eq!(*verified, ruleset(3));
}

#[test]
fn version_1_labelled_rulesets_stay_verifiable() {
    let text = recorded("ruleset-envelope-labelled");
    let envelope: Envelope = serde_json::from_str(&text).unwrap();
    assert_eq!(envelope, seal_ruleset(&policy_key(), &ruleset(3), 7).unwrap());
    let pinned = [policy_key().public()];
    let floor = RulesetVersion { revision: Revision(3), compilation: 7 };
    let verified = open(text.as_bytes(), &pinned, &asset("a-web"), floor).unwrap();
    assert_eq!((&*verified, verified.version()), (&ruleset(3), floor));
}

#[test]
fn version_1_problems_stay_readable() {
    let expected = ProblemDocument {
        kind: "/problems/clock-skew".into(),
        title: "The host's clock is wrong".into(),
        status: 401,
        detail: Some("host 1790003600, platform 1790000000".into()),
        field: Some("/created".into()),
    };
    let text = recorded("problem");
    assert_eq!(serde_json::from_str::<ProblemDocument>(&text).unwrap(), expected);
    let bare = r#"{"type":"about:blank","title":"Not Found","status":404}"#;
    let read: ProblemDocument = serde_json::from_str(bare).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), bare);
}

#[test]
fn another_version_is_named_whatever_else_the_message_holds() {
    let newer = serde_json::to_string(&answer()).unwrap().replace("\"version\":1", "\"version\":2");
    for text in [newer.as_str(), r#"{"version":2,"all":"new"}"#] {
        let error = CheckInAnswer::read(text.as_bytes()).unwrap_err();
        assert!(matches!(error, MessageError::Version { got: 2 }), "{error:?}");
    }
    for text in [r#"{"version":0}"#, r#"{"version":70000}"#] {
        assert!(matches!(Report::read(text.as_bytes()), Err(MessageError::Version { .. })));
    }
    for text in ["", "{}", "[]", r#"{"version":"1"}"#, r#"{"version":1}"#] {
        assert!(matches!(Report::read(text.as_bytes()), Err(MessageError::Malformed(_))), "{text}");
    }
}

#[test]
fn a_later_command_is_read_as_unknown_and_a_later_field_is_ignored() {
    let mut value: Value = serde_json::to_value(answer()).unwrap();
    value["commands"][0]["kind"] = "dance".into();
    value["later"] = "field".into();
    let read = CheckInAnswer::read(value.to_string().as_bytes()).unwrap();
    assert_eq!(read.commands[0].kind, CommandKind::Unknown);
}

fn any_event() -> impl Strategy<Value = FirewallEvent> {
    let kind =
        prop_oneof![Just(EventKind::Denied), Just(EventKind::WouldDeny), Just(EventKind::Accepted)];
    let protocol = prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Icmp),
        any::<u8>().prop_map(Protocol::Other)
    ];
    let addresses = (any::<IpAddr>(), any::<IpAddr>());
    let numbers = (any::<u16>(), any::<u64>(), any::<u64>(), any::<u64>());
    (kind, protocol, addresses, numbers, prop::option::of("\\PC{0,20}")).prop_map(
        |(kind, protocol, (source, destination), (port, packets, bytes, seen), process)| {
            FirewallEvent {
                kind,
                protocol,
                source,
                destination,
                port,
                packets,
                bytes,
                first_seen: seen,
                last_seen: seen,
                process,
                ..event()
            }
        },
    )
}

proptest! {
    #[test]
    fn every_event_reads_back(events in prop::collection::vec(any_event(), 0..8), lost: u64) {
        let message = report(ReportBody::Events(EventReport { events, lost }));
        prop_assert_eq!(Report::read(&message.to_json().unwrap()).unwrap(), message);
    }

    #[test]
    fn every_check_in_reads_back(
        sequence: u64, name in "\\PC{0,40}", addresses: Vec<IpAddr>, reason in "\\PC{0,80}",
        revision: u64, digest: [u8; 32],
    ) {
        let mut message = check_in(Status::Failed { reason });
        message.sequence = sequence;
        message.host.name = name;
        message.host.addresses = addresses;
        message.in_force = Some(InForce { revision: Revision(revision), digest: Bytes(digest) });
        prop_assert_eq!(CheckIn::read(&message.to_json().unwrap()).unwrap(), message);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = SessionRequest::read(&bytes);
        let _ = CheckIn::read(&bytes);
        let _ = Report::read(&bytes);
    }
}
