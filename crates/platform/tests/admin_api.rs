//! The admin API: permissions, refusals, and what is stored.

mod support;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use serde_json::{Value, json};
use support::{PASSWORD, TestHost, TestPlatform, settings};
use xshield_server::keys::KeyError;
use xshield_server::serve::{ServeError, start};

fn kind(answer: &Value) -> &str {
    answer["type"].as_str().unwrap_or_default().trim_start_matches("/problems/")
}

const FINGERPRINT: &str = "sha256:66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";

#[test]
fn roles_open_what_they_should_and_nothing_else() {
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
fn every_described_operation_refuses_strangers() {
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

/// Two types with one schema name would share one description.
#[test]
fn types_of_the_same_name_are_described_apart() {
    let platform = TestPlatform::start();
    let described = platform.raw("GET", "/api/v1/openapi.json", &[], b"").json();
    let schemas = &described["components"]["schemas"];
    for (schema, field) in [
        ("Delivery", "channel"),
        ("KeyHost", "last_session"),
        ("HostFacts", "booted_at"),
        ("HostSettings", "heartbeat"),
        ("ThreatSettings", "private_ranges"),
    ] {
        assert!(schemas[schema]["properties"][field].is_object(), "{schema}: {}", schemas[schema]);
    }
    for (schema, word) in [
        ("AssetStanding", "identity-changed"),
        ("ClaimStanding", "accepted"),
        ("FeedStanding", "stale"),
        ("JobStanding", "running"),
    ] {
        let words = schemas[schema]["enum"].as_array().unwrap();
        assert!(words.contains(&json!(word)), "{schema}: {words:?}");
    }
}

#[test]
fn bad_requests_name_the_field() {
    let platform = TestPlatform::start();
    platform.commit("segment: { name: web, criteria: role = 'web' }");
    TestHost::new("h", &platform.new_key()).sign_in(&platform);
    let keys = "/api/v1/enforcement-keys";
    for (method, path, body, status, problem, field) in [
        ("POST", keys, json!({"nam": "x"}), 400, "invalid-json", ""),
        ("POST", keys, json!({"name": 7}), 400, "invalid-json", "/name"),
        ("POST", keys, json!({"tags": {"role": ""}}), 400, "invalid-json", "/tags/role"),
        ("POST", keys, json!({"expires_at": "tomorrow"}), 400, "invalid-json", "/expires_at"),
        (
            "POST",
            keys,
            json!({"expires_at": "2020-01-01T00:00:00Z"}),
            422,
            "invalid-value",
            "/expires_at",
        ),
        ("POST", "/api/v1/enforcement-keys/no/revoke", json!({}), 404, "not-found", ""),
        ("GET", "/api/v1/assets/nobody", json!(null), 404, "not-found", ""),
        ("GET", "/api/v1/assets?limit=0", json!(null), 422, "invalid-value", "?limit"),
        ("GET", "/api/v1/assets?limit=x", json!(null), 422, "invalid-value", "?limit"),
        ("GET", "/api/v1/assets?cursor=x", json!(null), 422, "invalid-value", "?cursor"),
        ("GET", "/api/v1/assets?status=odd", json!(null), 422, "invalid-value", "?status"),
        ("GET", "/api/v1/assets?segment=odd", json!(null), 422, "invalid-value", "?segment"),
        ("GET", "/api/v1/assets?stauts=active", json!(null), 422, "invalid-value", "?stauts"),
        ("GET", "/api/v1/assets?tag=%20", json!(null), 422, "invalid-value", "?tag"),
        ("GET", "/api/v1/assets/h/events?port=99999", json!(null), 422, "invalid-value", "?port"),
        ("GET", "/api/v1/assets/h/events?peer=x", json!(null), 422, "invalid-value", "?peer"),
        ("GET", "/api/v1/assets/h/events?since=x", json!(null), 422, "invalid-value", "?since"),
        ("PATCH", "/api/v1/assets/h", json!({"tags": {"a b": "c"}}), 400, "invalid-json", "/tags"),
        (
            "POST",
            "/api/v1/assets/h/commands",
            json!({"kind": "dance"}),
            422,
            "invalid-value",
            "/kind",
        ),
        ("POST", "/api/v1/assets/h/identity/approve", json!({}), 400, "invalid-json", ""),
        (
            "POST",
            "/api/v1/assets/h/identity/approve",
            json!({"fingerprint": "sha256:12"}),
            400,
            "invalid-json",
            "/fingerprint",
        ),
        (
            "POST",
            "/api/v1/assets/h/identity/approve",
            json!({"fingerprint": FINGERPRINT}),
            409,
            "no-pending-identity",
            "",
        ),
        ("POST", keys, json!({"max_registrations": 0}), 422, "invalid-value", "/max_registrations"),
        (
            "POST",
            keys,
            json!({"kind": "token", "max_registrations": 2}),
            422,
            "invalid-value",
            "/max_registrations",
        ),
        ("POST", keys, json!({"allowed_networks": []}), 422, "invalid-value", "/allowed_networks"),
        (
            "POST",
            keys,
            json!({"allowed_networks": ["10.0.0.1/8"]}),
            422,
            "invalid-value",
            "/allowed_networks",
        ),
        ("POST", keys, json!({"bound_name": "not a name"}), 400, "invalid-json", "/bound_name"),
        (
            "POST",
            "/api/v1/users",
            json!({"name": "x", "password": "short", "role": "viewer"}),
            422,
            "invalid-value",
            "/password",
        ),
        (
            "POST",
            "/api/v1/users",
            json!({"name": "x", "password": "a long password", "role": "king"}),
            400,
            "invalid-json",
            "/role",
        ),
        ("PATCH", "/api/v1/users/admin", json!({"role": "viewer"}), 409, "last-admin", ""),
        ("DELETE", "/api/v1/users/admin", json!({}), 409, "last-admin", ""),
        (
            "PUT",
            "/api/v1/policy?expected_version=7",
            json!({"documents": []}),
            409,
            "candidate-changed",
            "?expected_version",
        ),
        (
            "POST",
            "/api/v1/policy/synchronize",
            json!({"expected_version": 7}),
            409,
            "candidate-changed",
            "/expected_version",
        ),
        ("GET", "/api/v1/policy/revisions/9", json!(null), 404, "not-found", ""),
        ("PUT", "/api/v1/policy", json!({}), 422, "invalid-policy", ""),
        (
            "PUT",
            "/api/v1/policy",
            json!({"documents": [{"segment": {"name": "a", "criteria": "role ="}}]}),
            422,
            "invalid-policy",
            "/documents/0",
        ),
        (
            "PUT",
            "/api/v1/policy",
            json!({"documents": [{"segment": {
                "name": "a", "criteria": "role = 'a'", "templates": ["missing"]
            }}]}),
            422,
            "invalid-policy",
            "/documents/0",
        ),
        ("GET", "/api/v1/nothing", json!(null), 404, "not-found", ""),
        ("PUT", "/api/v1/assets", json!({}), 405, "method-not-allowed", ""),
    ] {
        let sent = (!body.is_null()).then(|| body.clone());
        let (got, answer) = platform.call(method, path, Some(&platform.admin), sent);
        assert_eq!((got, kind(&answer)), (status, problem), "{method} {path} {body}: {answer}");
        let named = answer["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field), "{method} {path} {body}: {answer}");
    }
}

#[test]
fn bad_yaml_is_refused_with_its_place_and_changes_nothing() {
    let platform = TestPlatform::start();
    platform.commit("segment: { name: web, criteria: role = 'web' }");
    let before = platform.get("/api/v1/policy");
    for (yaml, place) in [
        ("segment:\n  name: web\n  criteria: role =\n", "policy.yaml:3:"),
        ("segment:\n  nam: web\n", "policy.yaml:2:"),
        ("a: &a [x]\nb: [*a, *a]\n", "policy.yaml:1:"),
        ("segment: [\n", "policy.yaml:"),
    ] {
        let (status, answer) = platform.put_yaml(yaml);
        assert_eq!((status, kind(&answer)), (422, "invalid-policy"), "{yaml}: {answer}");
        let found = answer["errors"][0]["place"].as_str().unwrap();
        assert!(found.starts_with(place), "{yaml}: {found}");
    }
    assert_eq!(platform.get("/api/v1/policy"), before);
}

#[test]
fn a_policy_that_cuts_the_platform_is_not_committed() {
    let platform = TestPlatform::start_with(|settings| {
        settings.public_urls = vec!["https://192.0.2.1:8443".parse().unwrap()];
    });
    TestHost::new("h", &platform.new_key()).sign_in(&platform);
    platform.commit("segment: { name: web, criteria: role = 'web' }");
    let (status, _) = platform.put_yaml(
        "
segment: { name: all, criteria: asset.name = 'h', templates: [cut] }
---
template:
  name: cut
  action: block
  outbound:
    - { name: everything, to: [any], services: [any] }
",
    );
    assert_eq!(status, 200);
    let wish = json!({"expected_version": platform.get("/api/v1/policy")["version"]});
    let (status, answer) =
        platform.call("POST", "/api/v1/policy/synchronize", Some(&platform.admin), Some(wish));
    assert_eq!((status, kind(&answer)), (422, "policy-does-not-compile"), "{answer}");
    let detail = answer["detail"].as_str().unwrap();
    assert!(detail.contains("cut/everything") && detail.contains("192.0.2.1:8443"), "{detail}");
    assert_eq!(platform.get("/api/v1/policy")["committed_revision"], 1);
    assert_eq!(platform.get("/api/v1/assets/h/ruleset")["ruleset"]["revision"], 1);
}

const CLOSED: &str = "segment: { name: web, criteria: asset.name = 'h', \
     inbound: { level: secure-all-ports, mode: enforce } }";
const EMPTY: &str = "settings: {}";

#[test]
fn a_candidate_that_nobody_wrote_is_not_committed() {
    let platform = TestPlatform::start();
    for impact in ["no-loss", "any"] {
        let wish = json!({"expected_version": 0, "expected_impact": impact});
        let (status, answer) =
            platform.call("POST", "/api/v1/policy/synchronize", Some(&platform.admin), Some(wish));
        assert_eq!((status, kind(&answer)), (409, "no-candidate"), "{answer}");
    }
    assert_eq!(platform.get("/api/v1/policy/revisions")["items"], json!([]));
}

#[test]
fn a_commit_that_takes_protection_away_is_one_that_expects_to() {
    let platform = TestPlatform::start();
    TestHost::new("h", &platform.new_key()).sign_in(&platform);
    platform.commit(CLOSED);
    let finding = platform.get("/api/v1/assets/h")["findings"].to_string();
    assert!(finding.contains("no-management-access"), "{finding}");
    assert_eq!(platform.put_yaml(EMPTY).0, 200);

    let prospect = platform.get("/api/v1/policy/impact");
    let digest = prospect["impact"]["digest"].as_str().unwrap();
    let version = &prospect["candidate_version"];
    assert_eq!(prospect["impact"]["inbound"]["lose_protection"]["first"], json!(["h"]));
    assert_eq!(prospect["impact"]["leave_all_segments"]["count"], 1);
    let synchronize = |wish: serde_json::Value| {
        platform.call("POST", "/api/v1/policy/synchronize", Some(&platform.admin), Some(wish))
    };
    let other = format!("sha256:{}", "0".repeat(64));
    for (wish, status, problem) in [
        (json!({"expected_version": version}), 409, "impact-is-loss"),
        (json!({"expected_version": version, "expected_impact": "no-loss"}), 409, "impact-is-loss"),
        (json!({"expected_version": version, "expected_impact": other}), 409, "impact-differs"),
        (json!({"expected_version": 99, "expected_impact": digest}), 409, "candidate-changed"),
        (json!({"expected_impact": digest}), 400, "invalid-json"),
        (json!({"expected_version": version, "expected_impact": "none"}), 400, "invalid-json"),
    ] {
        let (got, answer) = synchronize(wish.clone());
        assert_eq!((got, kind(&answer)), (status, problem), "{wish}: {answer}");
        if problem.starts_with("impact") {
            assert_eq!(answer["impact"], prospect["impact"], "{wish}");
        }
        assert_eq!(platform.get("/api/v1/policy")["committed_revision"], 1, "{wish}");
    }

    // A commit expects the impact that a dry run of the same documents prints.
    let documents = platform.get("/api/v1/policy")["documents"].clone();
    let validated = platform.post("/api/v1/policy/validate", json!({"documents": documents}));
    assert_eq!(validated["impact"], prospect["impact"]);
    let (status, done) =
        synchronize(json!({"expected_version": version, "expected_impact": digest}));
    assert_eq!((status, &done["impact"]), (200, &prospect["impact"]), "{done}");
    let audit = platform.get("/api/v1/audit?action=policy.synchronize")["items"][0].to_string();
    assert!(audit.contains("1 lose protection inbound, 1 leave all segments"), "{audit}");

    // A gain in protection needs no confirmation; reverting to a revision asks in the same way.
    let restore = |revision: u64, wish: serde_json::Value| {
        let path = format!("/api/v1/policy/revisions/{revision}/restore");
        platform.call("POST", &path, Some(&platform.admin), Some(wish))
    };
    let wish = json!({"synchronize": true, "expected_impact": "any"});
    assert_eq!(restore(1, wish).0, 200);
    let candidate = platform.get("/api/v1/policy");
    let (status, answer) = restore(2, json!({"synchronize": true}));
    assert_eq!((status, kind(&answer)), (409, "impact-is-loss"), "{answer}");
    assert_eq!(platform.get("/api/v1/policy"), candidate, "the candidate stays, too");
    let digest = platform.get("/api/v1/policy/impact?revision=2")["impact"]["digest"].clone();
    let (status, answer) = restore(2, json!({"synchronize": true, "expected_impact": digest}));
    assert_eq!((status, &answer["synchronized"]["revision"]), (200, &json!(4)), "{answer}");
}

#[test]
fn a_revision_is_restored_as_a_new_one() {
    let platform = TestPlatform::start();
    assert_eq!(platform.commit("segment: { name: one, criteria: role = 'a' }"), 1);
    assert_eq!(platform.commit("segment: { name: two, criteria: role = 'b' }"), 2);
    let restored =
        platform.post("/api/v1/policy/revisions/1/restore", json!({"synchronize": true}));
    assert_eq!(restored["synchronized"]["revision"], 3);
    let policy = platform.get("/api/v1/policy");
    assert_eq!(policy["documents"][0]["segment"]["name"], "one");
    assert_eq!(policy["differs_from_committed"], false);
    let platform = platform.restart();
    assert_eq!(platform.get("/api/v1/policy"), policy, "a restart changes nothing");
    let first = platform.get("/api/v1/policy/revisions?limit=2");
    assert_eq!(first["items"][0]["revision"], 3);
    let cursor = first["next"].as_str().unwrap();
    let second = platform.get(&format!("/api/v1/policy/revisions?limit=2&cursor={cursor}"));
    assert_eq!(second["items"][0]["revision"], 1);
    assert_eq!(second["next"], Value::Null);
}

#[test]
fn assets_are_listed_in_pages_and_by_filters() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    for number in 0..5 {
        let mut host = TestHost::new(&format!("host-{number}"), &key);
        host.sign_in(&platform);
        if number > 2 {
            host.check_in(&platform);
        }
    }
    let (status, _) = platform.call(
        "PATCH",
        "/api/v1/assets/host-1",
        Some(&platform.admin),
        Some(json!({"tags": {"role": "web", "location": "x"}})),
    );
    assert_eq!(status, 200);
    platform.commit("segment: { name: web, criteria: role = 'web' }");
    let mut seen = Vec::new();
    let mut path = "/api/v1/assets?limit=2".to_owned();
    loop {
        let page = platform.get(&path);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/assets?limit=2&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["host-0", "host-1", "host-2", "host-3", "host-4"]);
    for (filter, expected) in [
        ("name=Host-3", vec!["host-3"]),
        ("name=%25", vec![]),
        ("tag=role%3Dweb", vec!["host-1"]),
        ("tag=role,location%3Dx", vec!["host-1"]),
        ("tag=role%3Ddb", vec![]),
        ("segment=web", vec!["host-1"]),
        ("status=active", vec!["host-3", "host-4"]),
        ("status=never", vec!["host-0", "host-1", "host-2"]),
        ("status=never&segment=web", vec!["host-1"]),
        ("status=outdated&name=host-4", vec!["host-4"]),
        ("status=inactive", vec![]),
        ("where=role+%3D+%27web%27", vec!["host-1"]),
        ("where=role+%3D+%27web%27&segment=web&status=never", vec!["host-1"]),
        ("where=role+%3D+%27web%27&name=host-2", vec![]),
        ("status=unprotected", vec!["host-0", "host-1", "host-2", "host-3", "host-4"]),
        ("status=enforcing", vec![]),
    ] {
        let page = platform.get(&format!("/api/v1/assets?{filter}"));
        let names: Vec<_> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{filter}");
    }
}

#[test]
fn tokens_end_when_they_should() {
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
fn the_audit_log_tells_deeds_and_no_secrets() {
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

#[test]
fn a_second_platform_on_the_same_data_is_refused() {
    let platform = TestPlatform::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let second = runtime.block_on(start(settings(&platform.data_dir())));
    assert!(matches!(second, Err(ServeError::Keys(KeyError::Locked { .. }))), "{second:?}");
}

#[test]
fn a_request_in_flight_is_finished_at_the_end() {
    let mut platform = TestPlatform::start();
    let mut roots = rustls::RootCertStore::empty();
    let pem = platform.ca_pem();
    let ca = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(pem.as_bytes());
    roots.add(ca.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "127.0.0.1".try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = std::net::TcpStream::connect(platform.address).unwrap();
    let mut tls = rustls::StreamOwned::new(connection, tcp);
    let body = json!({"user": "admin", "password": PASSWORD}).to_string();
    let (head, tail) = body.split_at(10);
    write!(
        tls,
        "POST /api/v1/login HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    tls.flush().unwrap();
    // Status 100 shows that the request has reached its handler.
    let mut first = [0; 25];
    tls.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&first));
    tls.write_all(head.as_bytes()).unwrap();
    tls.flush().unwrap();
    platform.begin_stop();
    support::eventually("the end of listening", || {
        std::net::TcpStream::connect(platform.address).is_err().then_some(())
    });
    tls.write_all(tail.as_bytes()).unwrap();
    tls.flush().unwrap();
    let mut answer = String::new();
    drop(tls.read_to_string(&mut answer));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    platform.end();
}

#[test]
fn health_readiness_and_metrics_answer_anyone() {
    let platform = TestPlatform::start();
    for (path, holds) in
        [("/healthz", "ok"), ("/readyz", "ready"), ("/metrics", "xshield_http_requests_total")]
    {
        let answer = platform.raw("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        assert!(String::from_utf8_lossy(&answer.body).contains(holds), "{path}");
    }
}
