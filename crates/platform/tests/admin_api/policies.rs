//! Policies: checked, committed, restored.

use serde_json::{Value, json};

use crate::kind;
use crate::support::{TestHost, TestPlatform};

#[test]
fn bad_yaml_is_refused_with_its_position_and_changes_nothing() {
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
fn a_policy_that_blocks_the_platform_is_not_committed() {
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
fn a_missing_candidate_is_not_committed() {
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
fn a_commit_that_removes_protection_needs_the_expected_impact() {
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
