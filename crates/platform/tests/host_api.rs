//! The host API, used correctly and incorrectly.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use serde_json::json;
use support::{TestHost, TestPlatform, eventually, now, random, report};
use xshield_policy::{Direction, Protocol, Revision};
use xshield_wire::envelope;
use xshield_wire::message::*;
use xshield_wire::trust::PublicTrust;
use xshield_wire::{Bytes, DeploymentKey, EnforcementKey};

const WEB_AND_DB: &str = "
segment:
  name: web
  criteria: role = 'web'
---
segment:
  name: db
  criteria: role = 'db'
  templates: [db]
  inbound: { level: secure-inbound-paths, mode: enforce }
---
template:
  name: db
  action: allow
  inbound:
    - { name: postgres, from: ['segment:web'], services: [tcp/5432] }
";

fn event(packets: u64) -> FirewallEvent {
    FirewallEvent {
        kind: EventKind::Denied,
        direction: Direction::Inbound,
        source: [198, 51, 100, 7].into(),
        destination: [192, 0, 2, 10].into(),
        protocol: Protocol::Tcp,
        port: 22,
        rule: None,
        packets,
        bytes: packets * 60,
        first_seen: now() - 60,
        last_seen: now(),
        from: EventSource::Recorder,
        process: None,
    }
}

#[test]
fn whom_to_trust_is_told_to_anyone_and_a_deployment_key_vouches_for_it() {
    let platform = TestPlatform::start_with(|settings| settings.sessions_per_second = 1);
    let made = platform.post("/api/v1/enforcement-keys", json!({"name": "k"}));
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    let key: DeploymentKey = text("deployment_key").parse().unwrap();
    assert_eq!(key.enforcement().to_text().as_str(), text("key"));
    let command = format!("--domain {} --deploymentKey {}", platform.address, *key.to_text());
    assert_eq!(text("register"), format!("ctagent register {command}"));

    let shown = platform.raw("GET", "/host/v1/trust", &[], b"");
    assert_eq!(shown.header("cache-control"), Some("public, max-age=300"));
    let trust = PublicTrust::read(&shown.body).unwrap();
    let vouched = key.vouch(trust).unwrap();
    assert_eq!(vouched.policy_keys(), [platform.policy_key()]);
    let bare = |pem: &str| pem.split_whitespace().collect::<String>();
    assert_eq!(bare(&vouched.ca_pem()), bare(&platform.ca_pem()));

    let tag = shown.header("etag").unwrap().to_owned();
    let again = platform.raw("GET", "/host/v1/trust", &[("if-none-match".to_owned(), tag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let many = (0..100).map(|_| platform.raw("GET", "/host/v1/trust", &[], b""));
    let refused = many.into_iter().find(|answer| answer.status != 200).expect("a limit");
    assert_eq!((refused.status, refused.problem().as_str()), (429, "too-many-requests"));
}

#[test]
fn a_policy_reaches_the_host_and_its_reports_come_back() {
    let platform = TestPlatform::start();
    let made =
        platform.post("/api/v1/enforcement-keys", json!({"name": "k", "tags": {"role": "db"}}));
    let key: EnforcementKey = made["key"].as_str().unwrap().parse().unwrap();
    let mut host = TestHost::new("db-1", &key);

    let asset = host.sign_in(&platform).asset.clone();
    let answer = host.check_in(&platform);
    assert_eq!(answer.wanted, None, "no policy is committed");
    assert!((216..=288).contains(&answer.next_check_in), "{}", answer.next_check_in);
    let missing = host.send(&platform, "GET", "/host/v1/ruleset", b"");
    assert_eq!((missing.status, missing.problem().as_str()), (404, "no-policy"));

    assert_eq!(platform.commit(WEB_AND_DB), 1);
    let wanted = host.check_in(&platform).wanted.expect("a ruleset is wanted");
    assert_eq!(wanted.revision, Revision(1));
    let fetched = host.send(&platform, "GET", "/host/v1/ruleset", b"");
    let verified =
        envelope::open(&fetched.body, &[platform.policy_key()], &asset, Revision(0).into())
            .unwrap();
    assert_eq!(verified.in_force(), wanted);
    assert_eq!(verified.inbound.enforced.allows.len(), 1);

    let mut headers = host.headers("GET", "/host/v1/ruleset", b"", now());
    headers.push(("if-none-match".to_owned(), format!("\"{}\"", wanted.digest.to_base64())));
    let unchanged = platform.raw("GET", "/host/v1/ruleset", &headers, b"");
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));

    let shown = platform.get("/api/v1/assets/db-1");
    assert_eq!(shown["spark"]["activity"], "active");
    assert_eq!(shown["spark"]["up_to_date"], false);
    assert_eq!(shown["spark"]["nothing_enforced"], "the host has not fetched its ruleset yet");
    assert_eq!(shown["tags"], json!({"role": "db"}));
    let mut message = host.check_in_message();
    message.status = Status::Enforcing;
    message.in_force = Some(wanted);
    host.check_in_with(&platform, &message);
    let shown = platform.get("/api/v1/assets/db-1");
    assert_eq!(shown["spark"]["up_to_date"], true);
    assert_eq!(shown["spark"]["nothing_enforced"], json!(null));

    let events = report(ReportBody::Events(EventReport { events: vec![event(3)], lost: 2 }));
    assert_eq!(host.report(&platform, &events).status, 200);
    let ports = vec![ListeningPort {
        protocol: Protocol::Tcp,
        address: "0.0.0.0".parse().unwrap(),
        port: 5432,
        process: Some("postgres".to_owned()),
        path: None,
        uid: Some(100),
        service: None,
    }];
    assert_eq!(host.report(&platform, &report(ReportBody::ListeningPorts { ports })).status, 200);
    let programmed = ReportBody::Programmed(ProgrammedReport {
        in_force: wanted,
        inbound: DirectionState {
            subject: xshield_policy::Subject::Everything,
            mode: xshield_policy::Mode::Enforce,
            tested: None,
        },
        outbound: DirectionState {
            subject: xshield_policy::Subject::Nothing,
            mode: xshield_policy::Mode::Enforce,
            tested: None,
        },
        hits: vec![RuleHits {
            rule: "db/postgres".parse().unwrap(),
            direction: Direction::Inbound,
            packets: 7,
            bytes: 420,
        }],
        text: Some("table inet xshield {}".to_owned()),
        unenforceable: Vec::new(),
    });
    let mut unchanged = programmed.clone();
    if let ReportBody::Programmed(report) = &mut unchanged {
        report.text = None;
    }
    assert_eq!(host.report(&platform, &report(programmed)).status, 200);
    assert_eq!(host.report(&platform, &report(unchanged)).status, 200);

    let listed = platform.get("/api/v1/assets/db-1/events?kind=denied&port=22&peer=198.51.100.7");
    assert_eq!(listed["items"][0]["packets"], 3);
    let all = platform.get("/api/v1/events?direction=inbound&protocol=tcp");
    assert_eq!(all["items"], listed["items"]);
    assert_eq!(all["items"][0]["asset"], "db-1");
    assert_eq!(platform.get("/api/v1/assets/db-1/events?kind=accepted")["items"], json!([]));
    assert_eq!(platform.get("/api/v1/assets/db-1")["events_lost"], 2);
    assert_eq!(platform.get("/api/v1/assets/db-1/ports")["ports"][0]["port"], 5432);
    let read_back = platform.get("/api/v1/assets/db-1/programmed");
    assert_eq!(read_back["hits"][0]["packets"], 14, "two reports add up");
    assert_eq!(read_back["report"]["text"], "table inet xshield {}", "sent when it changes");
    let compiled = platform.get("/api/v1/assets/db-1/ruleset");
    assert_eq!(compiled["ruleset"]["revision"], 1);
}

#[test]
fn bad_session_requests_are_refused_by_kind() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let revoked = platform.new_key();
    platform.post(&format!("/api/v1/enforcement-keys/{}/revoke", revoked.id()), json!({}));
    let expired = platform.new_key();
    platform.post(
        &format!("/api/v1/enforcement-keys/{}/rotate", expired.id()),
        json!({"overlap_seconds": 0}),
    );
    let unknown = EnforcementKey::new("nobody".parse().unwrap(), random());
    let wrong = EnforcementKey::new(key.id().clone(), random());
    let hour = 3600;
    for (what, key, name, time, status, problem) in [
        ("unknown key", &unknown, "h", now(), 401, "enforcement-key-unknown"),
        ("wrong key", &wrong, "h", now(), 401, "enforcement-key-wrong"),
        ("revoked key", &revoked, "h", now(), 401, "enforcement-key-revoked"),
        ("expired key", &expired, "h", now(), 401, "enforcement-key-expired"),
        ("clock behind", &key, "h", now() - hour, 401, "clock-skew"),
        ("clock ahead", &key, "h", now() + hour, 401, "clock-skew"),
        ("bad name", &key, "not a name", now(), 422, "invalid-value"),
        ("no name", &key, "", now(), 422, "invalid-value"),
    ] {
        let answer = TestHost::new(name, key).session_at(&platform, time);
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{what}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    }
    let skewed = TestHost::new("h", &key).session_at(&platform, now() - hour);
    let detail = skewed.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("the host's clock says"), "{detail}");
    let huge = platform.raw("POST", "/host/v1/session", &[], &vec![b' '; 20 << 10]);
    assert_eq!((huge.status, huge.problem().as_str()), (413, "too-large"));
    let odd = platform.raw("POST", "/host/v1/session", &[], br#"{"version": "one"}"#);
    assert_eq!((odd.status, odd.problem().as_str()), (400, "invalid-json"));
    assert_eq!(odd.json()["field"], "/version");
    assert_eq!(platform.get("/api/v1/assets")["items"], json!([]), "none of them registered");
}

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
fn a_batch_is_counted_once_also_over_a_restart() {
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
fn a_changed_identity_waits_for_an_operator() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let mut old = TestHost::new("h", &key);
    old.sign_in(&platform);
    old.check_in(&platform);

    let mut new = TestHost::new("h", &key);
    for _ in 0..2 {
        let answer = new.session_at(&platform, now());
        assert_eq!((answer.status, answer.problem().as_str()), (403, "identity-changed"));
    }
    old.check_in(&platform);
    let waiting = platform.get("/api/v1/assets?status=identity-changed");
    assert_eq!(
        waiting["items"][0]["pending_identity"]["identity"],
        json!(new.identity.public().to_base64())
    );
    let audited = platform.get("/api/v1/audit?action=asset.identity-changed");
    assert_eq!(audited["items"].as_array().unwrap().len(), 1, "told once");

    let approval = json!({"fingerprint": new.fingerprint(), "running": "replace"});
    platform.post("/api/v1/assets/h/identity/approve", approval);
    new.sign_in(&platform);
    new.check_in(&platform);
    let body = serde_json::to_vec(&old.check_in_message()).unwrap();
    let answer = old.send(&platform, "POST", "/host/v1/check-in", &body);
    assert_eq!((answer.status, answer.problem().as_str()), (401, "session-unknown"));

    let mut third = TestHost::new("h", &key);
    assert_eq!(third.session_at(&platform, now()).status, 403);
    platform.post("/api/v1/assets/h/identity/reject", json!({"fingerprint": third.fingerprint()}));
    let answer = third.session_at(&platform, now());
    assert_eq!((answer.status, answer.problem().as_str()), (403, "identity-rejected"));
    assert_eq!(platform.get("/api/v1/assets?status=identity-changed")["items"], json!([]));
    new.check_in(&platform);
}

#[test]
fn a_changed_identity_that_has_registered_elsewhere_is_not_pinned() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    TestHost::new("h", &key).sign_in(&platform);
    let mut new = TestHost::new("h", &key);
    assert_eq!(new.session_at(&platform, now()).status, 403);
    new.name = "other".to_owned();
    new.sign_in(&platform);
    let approve = "/api/v1/assets/h/identity/approve";
    let approval = json!({"fingerprint": new.fingerprint()});
    let (status, answer) = platform.call("POST", approve, Some(&platform.admin), Some(approval));
    assert_eq!((status, answer["type"].as_str()), (409, Some("/problems/identity-in-use")));
}

#[test]
fn a_peer_s_new_address_changes_the_digest_and_not_the_revision() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let (mut web, mut db) = (TestHost::new("web-1", &key), TestHost::new("db-1", &key));
    for host in [&mut web, &mut db] {
        host.sign_in(&platform);
        host.check_in(&platform);
    }
    for (name, role) in [("web-1", "web"), ("db-1", "db")] {
        let (status, _) = platform.call(
            "PATCH",
            &format!("/api/v1/assets/{name}"),
            Some(&platform.admin),
            Some(json!({"tags": {"role": role}})),
        );
        assert_eq!(status, 200);
    }
    platform.commit(WEB_AND_DB);
    let before = db.check_in(&platform).wanted.unwrap();
    web.addresses = vec!["10.255.255.99".parse().unwrap(), "127.0.0.1".parse().unwrap()];
    web.check_in(&platform);
    let after = eventually("the change of db-1's ruleset", || {
        db.check_in(&platform).wanted.filter(|wanted| *wanted != before)
    });
    assert_eq!(after.revision, before.revision);
    let ruleset = platform.get("/api/v1/assets/db-1/ruleset")["ruleset"].to_string();
    assert!(ruleset.contains("10.255.255.99") && !ruleset.contains("127.0.0.1/32"), "{ruleset}");
}

#[test]
fn a_deleted_asset_registers_again_and_a_revoked_key_ends_its_sessions() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let mut host = TestHost::new("h", &key);
    let first = host.sign_in(&platform).asset.clone();
    let (status, _) = platform.call("DELETE", "/api/v1/assets/h", Some(&platform.admin), None);
    assert_eq!(status, 204);
    let answer = host.send(&platform, "GET", "/host/v1/ruleset", b"");
    assert_eq!((answer.status, answer.problem().as_str()), (401, "asset-unknown"));
    assert_ne!(host.sign_in(&platform).asset, first);
    platform.post(&format!("/api/v1/enforcement-keys/{}/revoke", key.id()), json!({}));
    let answer = host.send(&platform, "GET", "/host/v1/ruleset", b"");
    assert_eq!((answer.status, answer.problem().as_str()), (401, "enforcement-key-revoked"));
}

#[test]
fn rotation_keeps_the_old_key_for_the_overlap() {
    let platform = TestPlatform::start();
    let old = platform.new_key();
    let rotated = platform.post(
        &format!("/api/v1/enforcement-keys/{}/rotate", old.id()),
        json!({"overlap_seconds": 3600}),
    );
    let new: EnforcementKey = rotated["key"].as_str().unwrap().parse().unwrap();
    TestHost::new("a", &old).sign_in(&platform);
    TestHost::new("b", &new).sign_in(&platform);
    let shown = platform.get(&format!("/api/v1/enforcement-keys/{}", old.id()));
    assert_eq!(shown["state"], "rotated");
    assert_eq!(shown["replaced_by"], json!(new.id().as_str()));
}

#[test]
fn a_command_is_heard_until_the_host_has_carried_it_out() {
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
fn one_host_s_flood_does_not_stop_another() {
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

#[test]
fn an_asset_that_can_t_be_compiled_keeps_its_ruleset_and_holds_nobody_up() {
    let platform = TestPlatform::start_with(|settings| {
        settings.public_urls = vec!["https://192.0.2.1:8443".parse().unwrap()];
    });
    let key = platform.new_key();
    let (mut one, mut two) = (TestHost::new("one", &key), TestHost::new("two", &key));
    for host in [&mut one, &mut two] {
        host.sign_in(&platform);
        host.check_in(&platform);
    }
    platform.commit(
        "
segment: { name: cut, criteria: role = 'cut', templates: [cut] }
---
template:
  name: cut
  action: block
  outbound: [{ name: everything, to: [any], services: [any] }]
---
segment:
  name: peers
  criteria: role = 'peer'
  templates: [peers]
  inbound: { level: secure-all-ports, mode: enforce }
---
template:
  name: peers
  action: allow
  inbound: [{ name: peers, from: ['segment:peers'], services: [tcp/1] }]
",
    );
    let before = one.check_in(&platform).wanted.unwrap();
    let other = two.check_in(&platform).wanted.unwrap();
    for (name, role) in [("one", "cut"), ("two", "peer")] {
        let tags = json!({"tags": {"role": role}});
        let path = format!("/api/v1/assets/{name}");
        assert_eq!(platform.call("PATCH", &path, Some(&platform.admin), Some(tags)).0, 200);
    }
    eventually("the change of the other's ruleset", || {
        two.check_in(&platform).wanted.filter(|wanted| *wanted != other)
    });
    let failure = eventually("the failure", || {
        platform.get("/api/v1/assets/one")["spark"]["compile_failure"].as_str().map(str::to_owned)
    });
    assert!(failure.contains("cut/everything"), "{failure}");
    assert_eq!(one.check_in(&platform).wanted, Some(before));
}

#[test]
fn many_hosts_at_once_are_all_served() {
    let platform = TestPlatform::start_with(|settings| settings.sessions_per_second = 1000);
    platform.commit(WEB_AND_DB);
    let key = platform.new_key();
    std::thread::scope(|scope| {
        for number in 0..48 {
            let (platform, key) = (&platform, &key);
            scope.spawn(move || {
                let mut host = TestHost::new(&format!("host-{number}"), key);
                host.addresses = vec![[10, 0, 0, number].into()];
                host.sign_in(platform);
                for _ in 0..3 {
                    assert!(host.check_in(platform).wanted.is_some(), "host-{number}");
                    let events = EventReport { events: vec![event(1)], lost: 0 };
                    let answer = host.report(platform, &report(ReportBody::Events(events)));
                    assert_eq!(answer.status, 200, "{}", answer.json());
                }
            });
        }
    });
    let events = platform.get("/api/v1/events?limit=1000");
    let events = events["items"].as_array().unwrap();
    assert_eq!(events.len(), 48);
    assert!(events.iter().all(|event| event["packets"] == 3));
}

#[test]
fn two_thousand_assets_are_compiled_in_seconds() {
    let platform = TestPlatform::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(fill(&platform.data_dir().join("xshield.db"), 2000));
    let started = std::time::Instant::now();
    platform.commit(WEB_AND_DB);
    let took = started.elapsed();
    let page = platform.get("/api/v1/assets?limit=1000&segment=web&name=host-19");
    assert_eq!(page["items"].as_array().unwrap().len(), 55);
    assert!(took.as_secs() < 60, "{took:?} for 2000 assets");
    println!("2000 assets: {took:?}");
}

/// Assets `host-0…`, half of them tagged `web`, half `db`.
async fn fill(database: &std::path::Path, count: u32) {
    use xshield_model::Timestamp;
    use xshield_store::{Store, addresses, assets, commit};
    let store = Store::open(database).await.unwrap();
    let mut tx = store.write().await.unwrap();
    for number in 0..count {
        let role = if number % 2 == 0 { "web" } else { "db" };
        let new = assets::NewAsset {
            id: &format!("as-{number:06}").parse().unwrap(),
            name: &format!("host-{number}").parse().unwrap(),
            source: xshield_policy::inventory::Source::Spark,
            identity: Bytes(random()),
            tags: &[("role".parse().unwrap(), role.parse().unwrap())].into(),
        };
        assets::insert(&mut tx, &new, Timestamp::now()).await.unwrap();
        let mut host = CheckIn {
            version: VERSION,
            sequence: 1,
            program: Program { kind: ProgramKind::Spark, version: "0.1.0".to_owned() },
            host: HostFacts {
                name: format!("host-{number}"),
                os: String::new(),
                kernel: String::new(),
                addresses: Vec::new(),
                boot_id: String::new(),
            },
            status: Status::NoPolicy,
            in_force: None,
            problems: Vec::new(),
            threat: None,
            routes: Vec::new(),
            interval: None,
            configuration: None,
            usage: None,
            previous: None,
            held: None,
            trust: None,
        };
        host.host.addresses.push(std::net::Ipv4Addr::from(0x0a00_0000 + number * 3).into());
        assets::check_in(&mut tx, new.id, &host, Timestamp::now()).await.unwrap();
        addresses::put(&mut tx, new.id, &[], &host.host.addresses, Timestamp::now()).await.unwrap();
    }
    commit(tx).await.unwrap();
    store.close().await;
}
