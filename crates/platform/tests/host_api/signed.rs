//! Signed requests and reports.

use serde_json::json;
use xshield_policy::Revision;
use xshield_wire::Bytes;
use xshield_wire::message::*;

use crate::event;
use crate::support::{TestHost, TestPlatform, eventually, now, report};

#[test]
fn altered_replayed_and_foreign_requests_are_refused() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let mut host = TestHost::new("h", &key);
    host.sign_in(&platform);
    let mut other = TestHost::new("other", &key);
    other.sign_in(&platform);
    let path = "/host/v1/check-in";
    let body = serde_json::to_vec(&host.check_in_message()).unwrap();
    let good = host.headers("POST", path, &body, now());
    let with = |name: &str, value: &str| {
        let mut headers = good.clone();
        headers.retain(|(known, _)| known != name);
        if !value.is_empty() {
            headers.push((name.to_owned(), value.to_owned()));
        }
        headers
    };
    let foreign = other.headers("POST", path, &body, now());
    let foreign_token = foreign.iter().find(|(name, _)| name == "authorization").unwrap().1.clone();
    let altered: Vec<u8> =
        String::from_utf8(body.clone()).unwrap().replace("debian 12", "debian 13").into_bytes();
    for (what, headers, body, problem) in [
        ("no headers", Vec::new(), &body[..], "signature-malformed"),
        ("no signature", with("signature", ""), &body, "signature-malformed"),
        ("no digest", with("content-digest", ""), &body, "signature-malformed"),
        ("nonsense token", with("authorization", "Bearer v4.local.x"), &body, "session-unknown"),
        ("another host's token", with("authorization", &foreign_token), &body, "signature-wrong"),
        ("altered body", good.clone(), &altered, "signature-wrong"),
        ("truncated body", good.clone(), &body[..body.len() - 1], "signature-wrong"),
        ("old", host.headers("POST", path, &body, now() - 3600), &body, "clock-skew"),
        (
            "other path",
            host.headers("POST", "/host/v1/reports", &body, now()),
            &body,
            "signature-wrong",
        ),
        ("other method", host.headers("GET", path, &body, now()), &body, "signature-wrong"),
    ] {
        let answer = platform.raw("POST", path, &headers, body);
        assert_eq!((answer.status, answer.problem().as_str()), (401, problem), "{what}");
    }

    let first = platform.raw("POST", path, &good, &body);
    assert_eq!(first.status, 200, "nothing above has used it up");
    let again = platform.raw("POST", path, &good, &body);
    assert_eq!((again.status, again.problem().as_str()), (409, "replayed"));
    let mut late = host.check_in_message();
    host.check_in(&platform);
    late.host.os = "older".to_owned();
    let late = host.send(&platform, "POST", path, &serde_json::to_vec(&late).unwrap());
    assert_eq!(late.status, 409, "reordered");
    assert_eq!(platform.get("/api/v1/assets/h")["os"], "debian 12");

    let mut newer = host.check_in_message();
    newer.version = 99;
    let newer = host.send(&platform, "POST", path, &serde_json::to_vec(&newer).unwrap());
    assert_eq!((newer.status, newer.problem().as_str()), (400, "version-unsupported"));
}

#[test]
fn a_batch_is_counted_once_even_across_a_restart() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    let batch = report(ReportBody::Events(EventReport { events: vec![event(5)], lost: 1 }));
    for _ in 0..3 {
        let answer = host.report(&platform, &batch);
        let acknowledged: ReportAnswer = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(acknowledged.acknowledged, batch.batch);
    }
    let platform = platform.restart();
    assert_eq!(host.report(&platform, &batch).status, 200, "the session outlives the restart");
    let next = report(ReportBody::Events(EventReport { events: vec![event(2)], lost: 0 }));
    assert_eq!(host.report(&platform, &next).status, 200);
    let events = platform.get("/api/v1/assets/h/events");
    assert_eq!(events["items"].as_array().unwrap().len(), 1, "one flow");
    assert_eq!(events["items"][0]["packets"], 7);
    assert_eq!(events["items"][0]["reports"], 2);
    assert_eq!(platform.get("/api/v1/assets/h")["events_lost"], 1);
}

#[test]
fn reports_are_bounded() {
    let platform = TestPlatform::start_with(|settings| settings.flows_per_asset = 10);
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    let path = "/host/v1/reports";
    let bomb = zstd::bulk::compress(&vec![b' '; 80 << 20], 19).unwrap();
    let answer = host.send(&platform, "POST", path, &bomb);
    assert_eq!((answer.status, answer.problem().as_str()), (413, "too-large"));
    let answer = host.send(&platform, "POST", path, &[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3]);
    assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-zstd"));
    let large = vec![b' '; (8 << 20) + 1];
    let answer = host.send(&platform, "POST", path, &large);
    assert_eq!((answer.status, answer.problem().as_str()), (413, "too-large"));
    let mut forever = event(1);
    forever.last_seen = u64::MAX;
    let mut events: Vec<_> = (0..30)
        .map(|port| {
            let mut event = event(1);
            event.port = port;
            event.last_seen -= 100 - u64::from(port);
            event
        })
        .collect();
    events.push(forever);
    let answer =
        host.report(&platform, &report(ReportBody::Events(EventReport { events, lost: u64::MAX })));
    assert_eq!(answer.status, 200, "{}", answer.json());
    let kept = platform.get("/api/v1/assets/h/events");
    let kept = kept["items"].as_array().unwrap();
    assert_eq!(kept.len(), 10, "the oldest flows are forgotten");
    assert_eq!(kept[1]["port"], 29);
}

#[test]
fn a_command_is_sent_until_the_host_has_carried_it_out() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    platform.post("/api/v1/assets/h/commands", json!({"kind": "resend"}));
    for _ in 0..2 {
        let commands = host.check_in(&platform).commands;
        assert_eq!(commands.len(), 1);
        assert_eq!(commands[0].kind, CommandKind::Resend);
    }
    let state =
        DirectionState { subject: Default::default(), mode: Default::default(), tested: None };
    let programmed = ReportBody::Programmed(ProgrammedReport {
        in_force: InForce { revision: Revision(1), digest: Bytes([0; 32]) },
        inbound: state,
        outbound: state,
        hits: Vec::new(),
        text: None,
        unenforceable: Vec::new(),
    });
    assert_eq!(host.report(&platform, &report(programmed)).status, 200);
    assert_eq!(host.check_in(&platform).commands, Vec::new());
}

#[test]
fn a_flood_of_one_host_does_not_stop_another() {
    let platform = TestPlatform::start_with(|settings| settings.requests_per_second = 1);
    let key = platform.new_key();
    let (mut loud, mut quiet) = (TestHost::new("loud", &key), TestHost::new("quiet", &key));
    loud.sign_in(&platform);
    quiet.sign_in(&platform);
    let refused = eventually("a refusal", || {
        let answer = loud.send(&platform, "GET", "/host/v1/ruleset", b"");
        (answer.status == 429).then_some(answer)
    });
    assert_eq!(refused.problem(), "too-many-requests");
    assert!(refused.header("retry-after").is_some());
    quiet.check_in(&platform);
}
