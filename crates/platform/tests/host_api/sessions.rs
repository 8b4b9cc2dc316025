//! Sessions, keys and identities of hosts.

use serde_json::json;
use xshield_wire::message::*;
use xshield_wire::trust::PublicTrust;
use xshield_wire::{DeploymentKey, EnforcementKey};

use crate::support::{TestHost, TestPlatform, now, random};

#[test]
fn trust_information_is_public_and_verified_by_a_deployment_key() {
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
