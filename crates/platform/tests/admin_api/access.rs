//! Who may do what: roles, tokens, passwords, and the audit log.

use std::collections::BTreeSet;

use serde_json::json;

use crate::kind;
use crate::support::{PASSWORD, TestHost, TestPlatform};

#[test]
fn roles_grant_exactly_their_permissions() {
    let platform = TestPlatform::start();
    for role in ["viewer", "operator"] {
        platform.post(
            "/api/v1/users",
            json!({"name": role, "password": "a long password", "role": role}),
        );
    }
    let viewer = platform.login("viewer", "a long password");
    let operator = platform.login("operator", "a long password");
    let admin = platform.admin.clone();
    let yes = 200..300;
    for (method, path, body, least) in [
        ("GET", "/api/v1/me", json!(null), "viewer"),
        ("GET", "/api/v1/platform", json!(null), "viewer"),
        ("GET", "/api/v1/assets", json!(null), "viewer"),
        ("GET", "/api/v1/policy", json!(null), "viewer"),
        ("GET", "/api/v1/policy/revisions", json!(null), "viewer"),
        ("GET", "/api/v1/audit", json!(null), "viewer"),
        ("GET", "/api/v1/tokens", json!(null), "viewer"),
        ("GET", "/api/v1/enforcement-keys", json!(null), "viewer"),
        ("POST", "/api/v1/policy/validate", json!({"documents": []}), "viewer"),
        ("PUT", "/api/v1/policy", json!({"documents": []}), "operator"),
        ("POST", "/api/v1/policy/synchronize", json!({"expected_version": 1}), "operator"),
        ("POST", "/api/v1/policy/revisions/1/restore", json!({}), "operator"),
        ("POST", "/api/v1/enforcement-keys", json!({}), "operator"),
        ("GET", "/api/v1/users", json!(null), "admin"),
    ] {
        let roles = [("viewer", &viewer), ("operator", &operator), ("admin", &admin)];
        let mut may = false;
        // The admin goes first, since later requests depend on its changes.
        for (role, token) in roles {
            may |= role == least;
            let body = (!body.is_null()).then(|| body.clone());
            let (status, answer) = platform.call(method, path, Some(token), body);
            if may {
                assert!(yes.contains(&status), "{role} {method} {path}: {status} {answer}");
            } else {
                assert_eq!((status, kind(&answer)), (403, "forbidden"), "{role} {method} {path}");
            }
        }
        let (status, answer) = platform.call(method, path, None, Some(body));
        assert_eq!((status, kind(&answer)), (401, "unauthenticated"), "nobody {method} {path}");
    }
}

#[test]
fn every_described_operation_refuses_unauthenticated_requests() {
    let platform = TestPlatform::start();
    let answer = platform.raw("GET", "/api/v1/openapi.json", &[], b"");
    let described = answer.json();
    assert!(described["components"]["schemas"]["Problem"].is_object());
    let mut ids = BTreeSet::new();
    let mut operations = 0;
    for (path, item) in described["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let refusal = &operation["responses"]["default"]["content"];
            assert!(refusal["application/problem+json"].is_object(), "{method} {path}");
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id.clone()), "{id} is there twice");
            if ["/api/v1/login", "/host/v1/trust"].contains(&path.as_str()) {
                continue;
            }
            let filled = path.replace("{asset}", "a").replace("{id}", "a").replace("{name}", "a");
            let filled = filled.replace("{revision}", "1");
            for token in [None, Some("xat1_abc_def"), Some("nonsense")] {
                let (status, _) =
                    platform.call(&method.to_uppercase(), &filled, token, Some(json!({})));
                assert_eq!(status, 401, "{method} {path} with {token:?}");
            }
        }
    }
    assert!(operations >= 30, "{operations} operations are described");
}

#[test]
fn tokens_end_at_expiry_and_revocation() {
    let platform = TestPlatform::start();
    let me = |token: &str| platform.call("GET", "/api/v1/me", Some(token), None).0;
    let made = platform.post("/api/v1/tokens", json!({"name": "ci", "role": "viewer"}));
    let token = made["token"].as_str().unwrap();
    assert_eq!(me(token), 200);
    let (status, answer) = platform.call(
        "POST",
        "/api/v1/tokens",
        Some(token),
        Some(json!({"name": "x", "role": "admin"})),
    );
    assert_eq!((status, answer["field"].as_str()), (422, Some("/role")));
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(platform.call("DELETE", &path, Some(&platform.admin), None).0, 204);
    assert_eq!(me(token), 401);

    platform.post(
        "/api/v1/users",
        json!({"name": "ann", "password": "a long password", "role": "operator"}),
    );
    let ann = platform.login("ann", "a long password");
    let users = "/api/v1/users/ann";
    platform.call("PATCH", users, Some(&platform.admin), Some(json!({"role": "viewer"})));
    let (_, who) = platform.call("GET", "/api/v1/me", Some(&ann), None);
    assert_eq!(who["role"], "viewer", "a token is never more than its account");
    platform.call("PATCH", users, Some(&platform.admin), Some(json!({"password": "another one"})));
    assert_eq!(me(&ann), 401, "a new password ends tokens");
    let ann = platform.login("ann", "another one");
    assert_eq!(platform.call("DELETE", users, Some(&platform.admin), None).0, 204);
    assert_eq!(me(&ann), 401);
    let gone = platform.login("admin", PASSWORD);
    assert_eq!(platform.call("POST", "/api/v1/logout", Some(&gone), None).0, 204);
    assert_eq!(me(&gone), 401);
}

#[test]
fn wrong_passwords_are_refused_and_then_slowed_down() {
    let platform = TestPlatform::start();
    let try_it = |user: &str| {
        let body = json!({"user": user, "password": "wrong password"});
        platform.call("POST", "/api/v1/login", None, Some(body))
    };
    for user in ["admin", "nobody"] {
        let (status, answer) = try_it(user);
        assert_eq!((status, kind(&answer)), (401, "wrong-password"), "{user}");
    }
    let slowed = (0..40).any(|_| try_it("admin").0 == 429);
    assert!(slowed, "guessing is slowed down");
}

#[test]
fn the_audit_log_contains_actions_and_no_secrets() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let token = platform.post("/api/v1/tokens", json!({"name": "ci"}));
    platform.commit("segment: { name: web, criteria: role = 'web' }");
    TestHost::new("h", &key).sign_in(&platform);
    let log = platform.get("/api/v1/audit?limit=1000");
    let text = log.to_string();
    for action in [
        "user.create",
        "user.login",
        "enforcement-key.create",
        "token.create",
        "policy.edit",
        "policy.synchronize",
        "asset.register",
    ] {
        assert!(text.contains(action), "{action} is missing");
    }
    let key = key.to_text().to_string();
    let token = token["token"].as_str().unwrap();
    // Both have the form `kind_id_secret`; the secret is base64url and may contain more `_`.
    let key_secret = key.splitn(3, '_').nth(2).unwrap();
    let token_secret = token.splitn(3, '_').nth(2).unwrap();
    let secrets = [PASSWORD, key_secret, token_secret];
    for secret in secrets {
        assert!(!text.contains(secret));
        let listed = platform.get("/api/v1/enforcement-keys").to_string()
            + &platform.get("/api/v1/tokens").to_string();
        assert!(!listed.contains(secret));
    }
    let database: Vec<u8> = ["xshield.db", "xshield.db-wal"]
        .iter()
        .filter_map(|name| std::fs::read(platform.data_dir().join(name)).ok())
        .flatten()
        .collect();
    let holds = |needle: &[u8]| database.windows(needle.len()).any(|window| window == needle);
    assert!(holds(b"enforcement-key.create"), "the look at the file finds what is there");
    assert!(!secrets.iter().any(|secret| holds(secret.as_bytes())));
}
