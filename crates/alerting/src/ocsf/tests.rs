use serde_json::{Value, json};
use xshield_model::alert::AlertKind;
use xshield_model::threat_match::{ListedBy, ReadFrom};
use xshield_policy::{Direction, Protocol};
use xshield_threat::Confidence;
use xshield_wire::threat::{PolicyVerdict, ThreatAction};

use super::schema::violations;
use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000);

fn event() -> EventView {
    let listed = |feed: &str, entry: &str, confidence| ListedBy {
        feed: feed.parse().unwrap(),
        entry: entry.parse().unwrap(),
        confidence: Confidence::new(confidence).unwrap(),
    };
    EventView {
        id: 7,
        name: "Malicious IP Match".to_owned(),
        asset: "web-1.example.com".to_owned(),
        asset_id: "as-x".to_owned(),
        action: ThreatAction::Blocked,
        blockable_at_host: true,
        direction: Direction::Inbound,
        remote: "203.0.113.7".parse().unwrap(),
        local: Some("192.0.2.10".parse().unwrap()),
        protocol: Protocol::Tcp,
        port: 443,
        process: Some("nginx".to_owned()),
        service: Some("nginx.service".to_owned()),
        rule: Some("web/https".to_owned()),
        policy: Some(PolicyVerdict::Allowed),
        via: None,
        request: None,
        entry: Some("203.0.113.0/25".parse().unwrap()),
        confidence: Confidence::new(90),
        feeds: vec![listed("drop", "203.0.113.0/24", 90), listed("other", "203.0.113.7/32", 40)],
        revision: 3,
        packets: 12,
        bytes: 720,
        reports: 1,
        first_seen: NOW.plus(-300),
        last_seen: NOW.plus(-20),
        from: ReadFrom::Recorder,
    }
}

fn alert(kind: AlertKind, severity: Severity, event: Option<EventView>) -> Alert {
    Alert {
        name: "Malicious IP Match".to_owned(),
        kind,
        severity,
        rule: "critical".to_owned(),
        at: NOW,
        summary: "what happened".to_owned(),
        withheld: 2,
        counted: None,
        event,
    }
}

fn of(change: impl FnOnce(&mut EventView)) -> Value {
    let mut event = event();
    change(&mut event);
    let severity = event.severity();
    finding(&alert(AlertKind::ThreatMatch, severity, Some(event)), 12)
}

/// All variants of our events, by what is special about them.
fn shapes() -> Vec<(&'static str, Value)> {
    let outbound = |event: &mut EventView| event.direction = Direction::Outbound;
    vec![
        ("usual", of(|_| ())),
        ("outbound", of(outbound)),
        ("recorded", of(|event| event.action = ThreatAction::Recorded)),
        (
            "recorded and denied by policy",
            of(|event| {
                event.action = ThreatAction::Recorded;
                event.policy = Some(PolicyVerdict::Denied);
            }),
        ),
        (
            "without a policy, without a name",
            of(|event| {
                event.policy = None;
                (event.process, event.service, event.rule) = (None, None, None);
            }),
        ),
        (
            "behind a proxy",
            of(|event| {
                event.action = ThreatAction::Recorded;
                (event.local, event.policy, event.blockable_at_host) = (None, None, false);
                event.via = Some("10.0.0.1".parse().unwrap());
                event.request = Some("GET / HTTP/1.1".to_owned());
                event.from = ReadFrom::AccessLog;
            }),
        ),
        (
            "IPv6, ping",
            of(|event| {
                event.remote = "2001:db8::7".parse().unwrap();
                event.local = Some("2001:db8::10".parse().unwrap());
                event.entry = Some("2001:db8::/48".parse().unwrap());
                (event.protocol, event.port) = (Protocol::Icmp, 128);
            }),
        ),
        ("GRE", of(|event| (event.protocol, event.port) = (Protocol::Other(47), 0))),
        ("SCTP", of(|event| event.protocol = Protocol::Other(SCTP))),
        ("a name that is none of a host", of(|event| event.asset = "Büro 3: \"x\"".to_owned())),
        ("not listed any more", of(|event| (event.feeds, event.confidence) = (vec![], None))),
        ("told as it happened", of(|event| (event.from, event.packets) = (ReadFrom::Live, 0))),
        ("a flood", of(|event| event.packets = u64::MAX)),
        ("stale", finding(&alert(AlertKind::FeedStale, Severity::Medium, None), 1)),
        ("held", finding(&alert(AlertKind::FeedHeld, Severity::Medium, None), 1)),
        ("losses", finding(&alert(AlertKind::RecorderLosses, Severity::Medium, None), 1)),
        ("test", finding(&alert(AlertKind::Test, Severity::Low, None), 1)),
    ]
}

#[test]
fn every_event_conforms_to_the_schema() {
    for (shape, finding) in shapes() {
        let found = violations("detection_finding", &finding);
        assert_eq!(found, Vec::<String>::new(), "{shape}: {finding:#}");
    }
}

#[test]
fn unknown_attributes_are_found() {
    let evidence = "/evidences/0";
    for (place, name, value, expected) in [
        (evidence, "process", json!({"name": "nginx"}), "has none of pid uid"),
        ("", "action_id", json!(3), "there is no 3"),
        ("", "action", json!("Blocked"), "but action says"),
        ("", "activity_id", json!(2), "type_uid is not made of"),
        ("", "finding_info", json!({"uid": "x"}), "finding_info.title: required"),
        ("", "peer", json!(1), "peer: the schema has no such attribute"),
        ("", "count", json!(u64::MAX), "is no integer_t"),
        ("", "time", json!(1_800_000_000), "is no timestamp_t"),
        ("", "observables", json!([{"name": "peer", "type_id": 2}]), "no attribute \"peer\""),
        ("/evidences/0/src_endpoint", "ip", json!("peer"), "is no ip_t"),
        ("/evidences/0/dst_endpoint", "hostname", json!("Büro 3"), "is no hostname_t"),
        ("/evidences/0/dst_endpoint", "port", json!(70_000), "is no port_t"),
        ("/evidences/0/connection_info", "direction_id", json!(7), "there is no 7"),
        ("/metadata", "profiles", json!([]), "action_id: the schema has no such attribute"),
    ] {
        let mut broken = of(|_| ());
        broken.pointer_mut(place).unwrap()[name] = value;
        let found = violations("detection_finding", &broken);
        assert!(found.iter().any(|one| one.contains(expected)), "{expected}: {found:?}");
    }
    let mut broken = of(|_| ());
    broken.as_object_mut().unwrap().remove("action_id");
    assert_eq!(violations("detection_finding", &broken), ["detection_finding.action_id: required"]);
}

#[test]
fn a_match_states_its_outcome_and_time() {
    let shapes = shapes();
    let shape = |name: &str| &shapes.iter().find(|(shape, _)| *shape == name).unwrap().1;
    for (name, action, disposition) in [
        ("usual", "Denied", "Blocked"),
        ("recorded", "Allowed", "Detected"),
        ("recorded and denied by policy", "Denied", "Blocked"),
        ("behind a proxy", "Allowed", "Detected"),
    ] {
        let finding = shape(name);
        assert_eq!(
            (&finding["action"], &finding["disposition"]),
            (&json!(action), &json!(disposition))
        );
    }
    // The recorder does not know when the first packet came: a span begins, and no more is known.
    let (since, last) = (1_799_999_700_000_i64, 1_799_999_980_000_i64);
    for (name, first_seen) in [("usual", Value::Null), ("told as it happened", json!(since))] {
        let finding = shape(name);
        assert_eq!((&finding["start_time"], &finding["end_time"]), (&json!(since), &json!(last)));
        assert_eq!(finding["finding_info"]["first_seen_time"], first_seen, "{name}");
        assert_eq!(finding["finding_info"]["last_seen_time"], json!(last));
    }
    assert_eq!(shape("IPv6, ping")["evidences"][0]["dst_endpoint"]["port"], Value::Null);
}

#[test]
fn a_long_event_omits_feeds_and_stays_valid_json() {
    let mut event = event();
    let listed = event.feeds[0].clone();
    event.feeds = (0..32)
        .map(|number| ListedBy {
            feed: format!("{number:02}-{}", "x".repeat(60)).parse().unwrap(),
            ..listed.clone()
        })
        .collect();
    let alert = alert(AlertKind::ThreatMatch, Severity::Medium, Some(event));
    let whole = text(&alert, 1, usize::MAX);
    let cut = text(&alert, 1, 4_000);
    assert!(whole.len() > 4_000 && cut.len() <= 4_000);
    let cut: Value = serde_json::from_str(&cut).unwrap();
    let left = cut["enrichments"].as_array().unwrap().len();
    assert!((1..32).contains(&left));
    assert_eq!(cut["unmapped"]["feeds_left_out"], 32 - left);
    assert_eq!(violations("detection_finding", &cut), Vec::<String>::new());
}
