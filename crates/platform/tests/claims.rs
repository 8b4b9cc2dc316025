//! Claims of hosts: what is accepted, what waits, and that no other host is affected.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use serde_json::{Value, json};
use support::{TestHost, TestPlatform, eventually, now};
use xshield_wire::message::{CheckInAnswer, ProgramKind};

/// A host that has registered and checked in with these addresses.
fn host(platform: &TestPlatform, name: &str, addresses: &[&str]) -> TestHost {
    let mut host = TestHost::new(name, &platform.new_key());
    host.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    host.sign_in(platform);
    host.check_in(platform);
    host
}

fn says(host: &mut TestHost, platform: &TestPlatform, addresses: &[&str]) -> CheckInAnswer {
    host.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    host.check_in(platform)
}

fn tag(platform: &TestPlatform, asset: &str, role: &str) {
    let tags = json!({"tags": {"role": role}});
    let path = format!("/api/v1/assets/{asset}");
    assert_eq!(platform.call("PATCH", &path, Some(&platform.admin), Some(tags)).0, 200);
}

fn addresses(platform: &TestPlatform, asset: &str) -> Value {
    platform.get(&format!("/api/v1/assets/{asset}"))["addresses"].clone()
}

/// `fact value reason` of each pending claim of an asset.
fn waiting(platform: &TestPlatform, asset: &str) -> Vec<String> {
    let shown = platform.get(&format!("/api/v1/assets/{asset}"));
    let claims = shown["claims"].as_array().unwrap();
    let waiting = claims.iter().filter(|claim| claim["standing"] == "waiting");
    waiting
        .map(|claim| {
            let word = |field: &str| claim[field].as_str().unwrap().to_owned();
            format!("{} {} {}", word("fact"), word("value"), word("reason"))
        })
        .collect()
}

fn findings(platform: &TestPlatform, asset: &str) -> Vec<String> {
    let shown = platform.get(&format!("/api/v1/assets/{asset}"));
    let codes = shown["findings"].as_array().unwrap().iter();
    codes.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

fn codes(answer: &CheckInAnswer) -> Vec<&str> {
    answer.problems.iter().map(|problem| problem.code.as_str()).collect()
}

fn decide(platform: &TestPlatform, asset: &str, what: &str, about: &str) {
    platform.post(&format!("/api/v1/assets/{asset}/claims/{what}"), json!({ "what": about }));
}

fn inbound(platform: &TestPlatform, asset: &str) -> Value {
    platform.get(&format!("/api/v1/assets/{asset}/ruleset"))["ruleset"]["inbound"].clone()
}

const NAMED: &str = "
asset: { name: db-1, inbound: { level: secure-all-ports, mode: enforce } }
---
segment: { name: named, criteria: \"asset.name in ('web-7', 'db-1')\", templates: [t] }
---
template:
  name: t
  action: allow
  ports: [{ name: ssh, from: ['asset:bastion'], services: [tcp/22] }]
";

#[test]
fn a_renamed_host_stays_protected_and_both_sides_are_informed() {
    let platform = TestPlatform::start();
    let mut db = host(&platform, "db-1", &["10.0.0.1"]);
    platform.commit(NAMED);
    db.check_in(&platform);
    let before = inbound(&platform, "db-1");
    assert_eq!(before["subject"], "everything", "{before}");
    for (name, reason) in
        [("localhost", "renamed"), ("db-1.example.com", "renamed"), ("bastion", "name-in-policy")]
    {
        db.name = name.to_owned();
        let answer = db.check_in(&platform);
        assert_eq!(codes(&answer), ["name-waits"], "{answer:?}");
        assert!(answer.problems[0].text.contains("xshield asset accept db-1 name"));
        assert_eq!(waiting(&platform, "db-1"), [format!("name {name} {reason}")]);
        assert_eq!(findings(&platform, "db-1"), ["name-waits", "no-management-access"]);
        assert_eq!(inbound(&platform, "db-1"), before, "{name}");
    }
    // A session is found by the identity key, whatever the name.
    let asset = db.session.as_ref().unwrap().asset.clone();
    assert_eq!(db.sign_in(&platform).asset, asset);
    let audited = platform.get("/api/v1/audit?action=asset.claim");
    assert_eq!(audited["items"].as_array().unwrap().len(), 3, "{audited}");
    let (status, _) = platform.call("GET", "/api/v1/assets/localhost", Some(&platform.admin), None);
    assert_eq!(status, 404);

    decide(&platform, "db-1", "refuse", "name");
    assert_eq!(codes(&db.check_in(&platform)), Vec::<&str>::new(), "it is decided");
    db.name = "db-1.example.com".to_owned();
    db.check_in(&platform);
    decide(&platform, "db-1", "accept", "name");
    assert_eq!(codes(&db.check_in(&platform)), Vec::<&str>::new());
    let renamed = platform.get("/api/v1/assets/db-1.example.com");
    assert_eq!(renamed["id"], json!(asset.as_str()));
    let audited = platform.get("/api/v1/audit?action=asset.rename");
    assert_eq!(audited["items"][0]["before"], "db-1");
}

#[test]
fn a_name_used_in_policy_is_not_given_to_a_host_that_claims_it() {
    let platform = TestPlatform::start();
    platform.commit(NAMED);
    let (status, answer) = platform.put_yaml(&format!(
        "{NAMED}\n---\nsegment: {{ name: next, criteria: \"asset.name = 'candidate-1'\" }}\n"
    ));
    assert_eq!(status, 200, "{answer}");
    for name in ["db-1", "bastion", "web-7", "candidate-1"] {
        let mut host = host(&platform, name, &[]);
        let held = format!("{name}-2");
        let answer = host.check_in(&platform);
        assert_eq!(codes(&answer), ["name-waits"], "{answer:?}");
        assert_eq!(waiting(&platform, &held), [format!("name {name} name-in-policy")]);
        assert_eq!(inbound(&platform, &held)["subject"], "nothing", "{name}: no override of it");
    }
    let warned = platform.synchronize()["warnings"].to_string();
    for name in ["db-1", "bastion", "web-7", "candidate-1"] {
        assert!(warned.contains(&format!("xshield asset accept {name}-2 name")), "{warned}");
    }
    decide(&platform, "db-1-2", "accept", "name");
    eventually("the override counts", || {
        (inbound(&platform, "db-1")["subject"] == "everything").then_some(())
    });
    // A name that no policy uses is accepted at once.
    host(&platform, "other-1", &[]);
    assert_eq!(waiting(&platform, "other-1"), Vec::<String>::new());
}

const BLOCKED: &str = "
segment: { name: quarantine, criteria: role = 'bad' }
---
segment: { name: all, criteria: role = 'good', templates: [t] }
---
template:
  name: t
  action: block
  inbound: [{ name: no-bad, from: ['segment:quarantine'], services: [any] }]
---
settings: { management: [{ from: [10.9.9.9], services: [tcp/22] }] }
";

#[test]
fn conflicting_addresses_wait_and_block_nobody() {
    let platform = TestPlatform::start_with(|settings| {
        settings.public_urls = vec!["https://10.0.0.77:8443".parse().unwrap()];
    });
    let mut good = host(&platform, "good", &["10.1.0.2"]);
    let mut bad = host(&platform, "bad", &["10.1.0.1"]);
    tag(&platform, "good", "good");
    tag(&platform, "bad", "bad");
    platform.commit(BLOCKED);
    let answer = says(
        &mut bad,
        &platform,
        &["10.1.0.1", "10.1.0.2", "8.8.8.8", "2001:db8::8", "10.0.0.77", "10.9.9.9", "10.1.0.3"],
    );
    assert_eq!(addresses(&platform, "bad"), json!(["10.1.0.1", "10.1.0.3"]), "private and free");
    assert_eq!(
        waiting(&platform, "bad"),
        [
            "address 10.0.0.77 platform",
            "address 10.1.0.2 shared",
            "address 10.9.9.9 management",
            "address 2001:db8::8 outside",
            "address 8.8.8.8 outside",
        ]
    );
    assert_eq!(codes(&answer), ["address-waits"; 4], "what many hosts say is nobody's trouble");
    let block = eventually("good's block rule follows", || {
        let rules = inbound(&platform, "good")["blocks"].to_string();
        rules.contains("10.1.0.3").then_some(rules)
    });
    for other in ["10.1.0.2", "8.8.8.8", "2001:db8::8", "10.0.0.77", "10.9.9.9"] {
        assert!(!block.contains(other), "{other}: {block}");
    }
    assert!(platform.commit(BLOCKED) > 1, "one bad host stops no commit");
    assert_eq!(addresses(&platform, "good"), json!(["10.1.0.2"]));
    good.check_in(&platform);
    assert_eq!(platform.get("/api/v1/assets?status=waiting")["items"][0]["name"], "bad");
    let waits = platform.get("/api/v1/claims");
    assert_eq!(waits.as_array().unwrap().len(), 5, "{waits}");

    decide(&platform, "bad", "accept", "8.8.8.8");
    decide(&platform, "bad", "refuse", "10.9.9.9");
    decide(&platform, "bad", "refuse", "10.1.0.3");
    let answer = bad.check_in(&platform);
    assert_eq!(addresses(&platform, "bad"), json!(["8.8.8.8", "10.1.0.1"]));
    assert_eq!(codes(&answer), ["address-waits"; 2], "{answer:?}");
    says(&mut bad, &platform, &["10.1.0.1"]);
    assert_eq!(addresses(&platform, "bad"), json!(["10.1.0.1"]), "given up, whoever accepted it");
    let deeds = platform.get("/api/v1/audit?action=asset.addresses");
    assert!(deeds["items"].as_array().unwrap().len() >= 3, "{deeds}");
    for deed in ["asset.accept", "asset.refuse"] {
        let deeds = platform.get(&format!("/api/v1/audit?action={deed}"));
        assert!(deeds["items"][0]["actor"].as_str().unwrap().starts_with("user:"), "{deeds}");
    }
}

#[test]
fn a_dhcp_lease_moves_between_hosts_without_approval() {
    let platform = TestPlatform::start();
    let mut one = host(&platform, "one", &["10.0.0.5"]);
    let mut two = host(&platform, "two", &["10.0.0.6"]);
    // Host one has a new lease; host two has the old one, and reports it first.
    says(&mut two, &platform, &["10.0.0.5"]);
    assert_eq!(addresses(&platform, "one"), json!(["10.0.0.5"]));
    assert_eq!(addresses(&platform, "two"), json!([]), "what it gave up is not held");
    says(&mut one, &platform, &["10.0.0.9"]);
    assert_eq!(addresses(&platform, "one"), json!(["10.0.0.9"]));
    two.check_in(&platform);
    assert_eq!(addresses(&platform, "two"), json!(["10.0.0.5"]));
    assert_eq!(waiting(&platform, "two"), Vec::<String>::new());
}

#[test]
fn addresses_of_container_bridges_cause_no_conflict() {
    let platform = TestPlatform::start();
    for number in 1..=4 {
        let own = format!("10.0.0.{number}");
        let mut host = host(&platform, &format!("docker-{number}"), &[&own, "172.17.0.1"]);
        assert_eq!(codes(&host.check_in(&platform)), Vec::<&str>::new(), "{number}");
        assert_eq!(findings(&platform, &format!("docker-{number}")), Vec::<String>::new());
    }
    assert_eq!(platform.get("/api/v1/assets?status=waiting")["items"], json!([]));
}

const BY_FACTS: &str = "
segment: { name: quarantine, criteria: \"asset.address in ('10.66.0.0/16')\",
           inbound: { level: secure-all-ports, mode: enforce } }
---
segment: { name: old, criteria: \"asset.os = 'debian 12' and asset.source = 'spark'\",
           inbound: { level: secure-all-ports, mode: enforce } }
";

#[test]
fn a_claim_that_would_change_segments_waits_for_approval() {
    let platform = TestPlatform::start();
    platform.commit(BY_FACTS);
    let mut host = host(&platform, "h", &["10.66.0.5"]);
    let answer = says(&mut host, &platform, &["10.66.0.6"]);
    assert_eq!(codes(&answer), Vec::<&str>::new(), "the same segments");
    assert_eq!(addresses(&platform, "h"), json!(["10.66.0.6"]));

    let answer = says(&mut host, &platform, &["10.1.0.9"]);
    assert_eq!(codes(&answer), ["address-gone-waits"]);
    assert_eq!(addresses(&platform, "h"), json!(["10.1.0.9", "10.66.0.6"]));
    decide(&platform, "h", "accept", "10.66.0.6");
    assert_eq!(addresses(&platform, "h"), json!(["10.1.0.9"]));
    let answer = says(&mut host, &platform, &["10.1.0.9", "10.66.0.7"]);
    assert_eq!(codes(&answer), ["address-waits"]);
    says(&mut host, &platform, &["10.1.0.9"]);

    let mut message = host.check_in_message();
    message.host.os = "debian 13".to_owned();
    message.program.kind = ProgramKind::Agent;
    let answer = host.check_in_with(&platform, &message);
    assert_eq!(codes(&answer), ["os-waits", "source-waits"]);
    let shown = platform.get("/api/v1/assets/h");
    assert_eq!((&shown["os"], &shown["source"]), (&json!("debian 12"), &json!("spark")));
    decide(&platform, "h", "accept", "os");
    let mut message = host.check_in_message();
    message.host.os = "debian 13".to_owned();
    message.program.kind = ProgramKind::Agent;
    let answer = host.check_in_with(&platform, &message);
    assert_eq!(codes(&answer), Vec::<&str>::new(), "nothing reads its source by now");
    assert_eq!(platform.get("/api/v1/assets/h")["source"], "agent");
}

#[test]
fn two_machines_with_one_identity_are_distinguished() {
    let platform = TestPlatform::start();
    let mut first = host(&platform, "h", &["10.0.0.1"]);
    let mut answered = first.sequence;
    let check_in = |host: &mut TestHost, sequence: u64, previous: u64, address: &str| {
        host.addresses = vec![address.parse().unwrap()];
        let mut message = host.check_in_message();
        (message.sequence, message.previous) = (sequence, Some(previous));
        let body = serde_json::to_vec(&message).unwrap();
        host.send(&platform, "POST", "/host/v1/check-in", &body)
    };
    let copied = answered;
    assert_eq!(check_in(&mut first, 10, answered, "10.0.0.1").status, 200);
    answered = 10;
    // The copy has the identity, the session and an earlier state.
    assert_eq!(check_in(&mut first, 11, copied, "10.0.0.2").status, 200, "it may have been killed");
    assert_eq!(addresses(&platform, "h"), json!(["10.0.0.1"]), "and does not flip the asset");
    for sequence in [20, 30, 40] {
        let answer = check_in(&mut first, sequence, answered, "10.0.0.1");
        assert_eq!(answer.status, 200);
        let answer: CheckInAnswer = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(codes(&answer), ["identity-copied"]);
        answered = sequence;
        let refused = check_in(&mut first, sequence + 1, 11, "10.0.0.2");
        assert_eq!((refused.status, refused.problem().as_str()), (403, "identity-copied"));
        assert!(refused.json()["detail"].as_str().unwrap().contains("ctspark remove"));
        assert_eq!(addresses(&platform, "h"), json!(["10.0.0.1"]));
    }
    assert_eq!(findings(&platform, "h"), ["identity-copied"]);
    let audited = platform.get("/api/v1/audit?action=asset.copied");
    assert_eq!(audited["items"].as_array().unwrap().len(), 1, "told once: {audited}");
    assert!(now() > 0);
}

#[test]
fn decommissioned_assets_do_not_hold_addresses() {
    let platform = TestPlatform::start();
    host(&platform, "old", &["10.0.0.5"]);
    platform.post("/api/v1/assets/old/decommission", json!({}));
    let mut new = host(&platform, "new", &["10.0.0.5"]);
    assert_eq!(addresses(&platform, "new"), json!(["10.0.0.5"]));
    platform.post("/api/v1/assets/old/reinstate", json!({}));
    new.check_in(&platform);
    assert_eq!(addresses(&platform, "new"), json!(["10.0.0.5"]));
    assert_eq!(addresses(&platform, "old"), json!([]));
}
