//! Which hosts may register with which key, and decisions of operators about the others.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

mod support;

use serde_json::{Value, json};
use support::*;
use xshield_wire::EnforcementKey;

const KEYS: &str = "/api/v1/enforcement-keys";

fn key(platform: &TestPlatform, body: Value) -> EnforcementKey {
    platform.post(KEYS, body)["key"].as_str().unwrap().parse().unwrap()
}

/// The key as the API shows it.
fn seen(platform: &TestPlatform, key: &EnforcementKey) -> Value {
    platform.get(&format!("{KEYS}/{}", key.id()))
}

fn refused(host: &mut TestHost, platform: &TestPlatform) -> (u16, String) {
    let answer = host.session_at(platform, now());
    (answer.status, answer.problem())
}

fn decide(platform: &TestPlatform, what: &str, body: Value) -> (u16, String) {
    let path = format!("/api/v1/assets/h/identity/{what}");
    let (status, answer) = platform.call("POST", &path, Some(&platform.admin), Some(body));
    (status, answer["type"].as_str().unwrap_or_default().replace("/problems/", ""))
}

fn approve(platform: &TestPlatform, fingerprint: &str) -> (u16, String) {
    decide(platform, "approve", json!({ "fingerprint": fingerprint }))
}

fn waiting(platform: &TestPlatform) -> Vec<String> {
    let asset = platform.get("/api/v1/assets/h");
    let all = asset["waiting_identities"].as_array().unwrap();
    all.iter().map(|one| one["fingerprint"].as_str().unwrap().to_owned()).collect()
}

/// Lets a key expire: no host can register with it any more.
fn expire(platform: &TestPlatform, key: &EnforcementKey) {
    platform.post(&format!("{KEYS}/{}/rotate", key.id()), json!({"overlap_seconds": 0}));
}

#[test]
fn an_approval_pins_exactly_the_named_key() {
    for attacker_is_first in [true, false] {
        let platform = TestPlatform::start();
        let key = platform.new_key();
        let mut old = TestHost::new("h", &key);
        old.sign_in(&platform);
        old.check_in(&platform);
        let (mut right, mut attacker) = (TestHost::new("h", &key), TestHost::new("h", &key));
        let mut order = [&mut right, &mut attacker];
        if attacker_is_first {
            order.reverse();
        }
        for host in &mut order {
            assert_eq!(refused(host, &platform), (403, "identity-changed".to_owned()));
        }
        let expected: Vec<_> = order.iter().map(|host| host.fingerprint()).collect();
        // A later request does not replace the first one.
        attacker.session_at(&platform, now());
        assert_eq!(waiting(&platform), expected);
        let shown = platform.get("/api/v1/assets/h");
        assert_eq!(shown["pending_identity"]["fingerprint"], json!(expected[0]));
        let entry = &shown["waiting_identities"][0];
        assert_eq!(
            (&entry["from"], &entry["key"]),
            (&json!("127.0.0.1"), &json!(key.id().as_str()))
        );

        let nobody = TestHost::new("h", &key).fingerprint();
        assert_eq!(approve(&platform, &nobody), (409, "identity-not-waiting".to_owned()));
        assert_eq!(approve(&platform, &right.fingerprint()).0, 200);
        right.sign_in(&platform);
        right.check_in(&platform);
        assert_eq!(refused(&mut attacker, &platform), (403, "identity-changed".to_owned()));
        assert_eq!(waiting(&platform), [attacker.fingerprint()], "it is seen further on");
        let reject = json!({"fingerprint": attacker.fingerprint()});
        assert_eq!(decide(&platform, "reject", reject).0, 200);
        assert_eq!(refused(&mut attacker, &platform), (403, "identity-rejected".to_owned()));
        assert_eq!(waiting(&platform), Vec::<String>::new());
    }
}

#[test]
fn pending_identities_are_limited_and_revoking_their_key_removes_them() {
    let platform = TestPlatform::start_with(|settings| settings.sessions_per_second = 1000);
    let (key, stolen) = (platform.new_key(), platform.new_key());
    TestHost::new("h", &key).sign_in(&platform);
    let mut right = TestHost::new("h", &key);
    assert_eq!(refused(&mut right, &platform).0, 403);
    for _ in 0..20 {
        assert_eq!(refused(&mut TestHost::new("h", &stolen), &platform).0, 403);
    }
    let waits = waiting(&platform);
    assert_eq!((waits.len(), &waits[0]), (8, &right.fingerprint()));
    let answer = TestHost::new("h", &stolen).session_at(&platform, now());
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("Too many identity keys are pending"), "{detail}");
    platform.post(&format!("{KEYS}/{}/revoke", stolen.id()), json!({}));
    assert_eq!(waiting(&platform), [right.fingerprint()]);
    assert_eq!(approve(&platform, &right.fingerprint()).0, 200);
}

#[test]
fn a_second_machine_with_the_same_name_does_not_get_the_asset() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let mut first = TestHost::new("h", &key);
    first.sign_in(&platform);
    let mut second = TestHost::new("h", &key);
    let answer = second.session_at(&platform, now());
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    for part in [
        "another machine is registered as h",
        "set a name of its own with name: in",
        &second.fingerprint(),
    ] {
        assert!(detail.contains(part), "{detail}");
    }
    assert!(!detail.contains("approve-identity"), "{detail}");
    // The first one continues to check in: so it can't be the same machine, reinstalled.
    eventually("a check-in after the second one came", || {
        first.check_in(&platform);
        let asset = platform.get("/api/v1/assets/h");
        let last = asset["spark"]["last_check_in"].as_str().unwrap().to_owned();
        (last.as_str() > asset["pending_identity"]["since"].as_str().unwrap()).then_some(())
    });
    let refusal = approve(&platform, &second.fingerprint());
    assert_eq!(refusal, (409, "pinned-identity-in-use".to_owned()));
    second.name = "h-2".to_owned();
    second.sign_in(&platform);
    first.check_in(&platform);
    assert_eq!(platform.get("/api/v1/assets")["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_token_registers_one_host_once() {
    let platform = TestPlatform::start();
    let token =
        key(&platform, json!({"kind": "token", "bound_name": "db-2", "tags": {"role": "db"}}));
    let fresh = seen(&platform, &token);
    assert_eq!((&fresh["state"], &fresh["max_registrations"]), (&json!("active"), &json!(1)));
    assert!(fresh["expires_at"].is_string(), "a token has an end: {fresh}");

    let mut other = TestHost::new("db-3", &token);
    assert_eq!(refused(&mut other, &platform), (403, "name-not-allowed".to_owned()));
    assert_eq!(seen(&platform, &token)["registrations"], 0);
    let mut host = TestHost::new("db-2", &token);
    host.sign_in(&platform);
    host.check_in(&platform);
    let used = seen(&platform, &token);
    assert_eq!((&used["state"], &used["registrations"]), (&json!("used-up"), &json!(1)));
    let hosts = platform.get(&format!("{KEYS}/{}/hosts", token.id()));
    assert_eq!(hosts["items"][0]["name"], "db-2");
    assert_eq!(platform.get("/api/v1/assets/db-2")["registered_with"], json!(token.id().as_str()));

    let mut again = TestHost::new("db-2", &token);
    assert_eq!(refused(&mut again, &platform), (403, "enforcement-key-used-up".to_owned()));
    assert_eq!(waiting_of(&platform, "db-2"), 0, "nor does it wait for an operator");
    host.sign_in(&platform);
    host.check_in(&platform);

    let (status, _) = platform.call("DELETE", "/api/v1/assets/db-2", Some(&platform.admin), None);
    assert_eq!(status, 204);
    assert_eq!(refused(&mut host, &platform), (403, "enforcement-key-used-up".to_owned()));
    let registered = platform.get("/api/v1/audit?action=asset.register");
    let after = registered["items"][0]["after"].as_str().unwrap();
    let told = format!("with registration token {} from 127.0.0.1", token.id());
    assert!(after.contains(&told), "{after}");
}

fn waiting_of(platform: &TestPlatform, asset: &str) -> usize {
    let asset = platform.get(&format!("/api/v1/assets/{asset}"));
    asset["waiting_identities"].as_array().unwrap().len()
}

#[test]
fn of_two_hosts_with_one_token_one_is_refused() {
    let platform = TestPlatform::start_with(|settings| settings.sessions_per_second = 1000);
    let token = key(&platform, json!({"kind": "token"}));
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let tried: Vec<_> = (0..8)
            .map(|number| {
                let (platform, token) = (&platform, &token);
                scope.spawn(move || {
                    TestHost::new(&format!("h-{number}"), token).session_at(platform, now()).status
                })
            })
            .collect();
        tried.into_iter().map(|tried| tried.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
    assert_eq!(platform.get("/api/v1/assets")["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_key_is_limited_to_its_host_count_and_networks() {
    let platform = TestPlatform::start();
    let two = key(&platform, json!({"name": "two", "max_registrations": 2}));
    for name in ["a", "b"] {
        TestHost::new(name, &two).sign_in(&platform);
    }
    let mut third = TestHost::new("c", &two);
    assert_eq!(refused(&mut third, &platform), (403, "enforcement-key-used-up".to_owned()));

    let elsewhere = key(&platform, json!({"allowed_networks": ["10.0.0.0/8", "2001:db8::/32"]}));
    let here = key(&platform, json!({"allowed_networks": ["10.0.0.0/8", "127.0.0.1"]}));
    let mut host = TestHost::new("d", &elsewhere);
    assert_eq!(refused(&mut host, &platform), (403, "network-not-allowed".to_owned()));
    host.key = here.clone();
    host.sign_in(&platform);
    // A registered host is recognised by its identity key, from any address.
    host.key = elsewhere.clone();
    host.sign_in(&platform);
    host.check_in(&platform);
    let networks = &seen(&platform, &here)["allowed_networks"];
    assert_eq!(*networks, json!(["10.0.0.0/8", "127.0.0.1/32"]));
}

#[test]
fn an_expired_key_registers_no_host_and_keeps_the_registered() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let mut host = TestHost::new("h", &key);
    host.sign_in(&platform);
    host.check_in(&platform);
    expire(&platform, &key);
    assert_eq!(seen(&platform, &key)["state"], "expired");
    host.check_in(&platform);
    host.session = None;
    host.sign_in(&platform);
    host.check_in(&platform);
    for name in ["new", "h"] {
        let mut new = TestHost::new(name, &key);
        assert_eq!(
            refused(&mut new, &platform),
            (401, "enforcement-key-expired".to_owned()),
            "{name}"
        );
    }
    assert_eq!(waiting(&platform), Vec::<String>::new());

    platform.post(&format!("{KEYS}/{}/revoke", key.id()), json!({}));
    let answer = host.send(&platform, "GET", "/host/v1/ruleset", b"");
    assert_eq!((answer.status, answer.problem().as_str()), (401, "enforcement-key-revoked"));
    assert_eq!(refused(&mut host, &platform), (401, "enforcement-key-revoked".to_owned()));
    // With another key it is the same asset.
    let asset = host.session.as_ref().unwrap().asset.clone();
    host.key = platform.new_key();
    assert_eq!(host.sign_in(&platform).asset, asset);
    host.check_in(&platform);
}

#[test]
fn a_replayed_request_does_not_register_a_deleted_asset() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    let recorded = host.session_request(now());
    let first = platform.raw("POST", "/host/v1/session", &[], &recorded);
    assert_eq!(first.status, 200);
    let again = platform.raw("POST", "/host/v1/session", &[], &recorded);
    assert_eq!(again.status, 200, "sent twice, it is the same host");
    let (status, _) = platform.call("DELETE", "/api/v1/assets/h", Some(&platform.admin), None);
    assert_eq!(status, 204);
    let replayed = platform.raw("POST", "/host/v1/session", &[], &recorded);
    assert_eq!((replayed.status, replayed.problem().as_str()), (409, "registration-replayed"));
    let older = host.session_request(now() - 60);
    let older = platform.raw("POST", "/host/v1/session", &[], &older);
    assert_eq!((older.status, older.problem().as_str()), (409, "registration-replayed"));
    assert_eq!(platform.get("/api/v1/assets")["items"], json!([]));
    host.sign_in(&platform);
}

#[test]
fn expiring_keys_cause_warnings_everywhere() {
    use xshield_model::Timestamp;
    let platform = TestPlatform::start();
    let in_days = |days: i64| Timestamp::now().plus(days * 24 * 3600).to_rfc3339();
    let soon = key(&platform, json!({"name": "web hosts", "expires_at": in_days(10)}));
    let late = key(&platform, json!({"name": "later", "expires_at": in_days(20)}));
    let token = key(&platform, json!({"kind": "token"}));
    assert_eq!(seen(&platform, &soon)["state"], "expiring");
    assert_eq!(seen(&platform, &late)["state"], "active");
    assert_eq!(seen(&platform, &token)["state"], "active");
    let told = platform.get("/api/v1/platform")["expiring_keys"].clone();
    assert_eq!(told.as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told[0]["id"], json!(soon.id().as_str()));

    let seconds = |key: &EnforcementKey| {
        let page = String::from_utf8(platform.raw("GET", "/metrics", &[], b"").body).unwrap();
        let series = format!("xshield_enforcement_key_expires_seconds{{key=\"{}\"}} ", key.id());
        page.lines().find_map(|line| line.strip_prefix(&series)?.parse::<i64>().ok())
    };
    let day = 24 * 3600;
    assert!((9 * day..=10 * day).contains(&seconds(&soon).unwrap()));
    assert!((19 * day..=20 * day).contains(&seconds(&late).unwrap()));
    assert_eq!(seconds(&token), None);
    let later = json!({"expires_at": in_days(60)});
    platform.post(&format!("{KEYS}/{}/rotate", soon.id()), later);
    assert_eq!(platform.get("/api/v1/platform")["expiring_keys"], json!([]), "another one follows");
    assert_eq!(seconds(&soon), None);
}
