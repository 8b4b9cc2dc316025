//! Hosts with much data: what exceeds a limit is cut and reported, and a check-in that is refused
//! nevertheless is shown to operators.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use support::{TestHost, TestPlatform, eventually, now, report};
use xshield_wire::bounds;
use xshield_wire::message::{
    EventReport, Problem, ReportBody, RouteStanding, SessionRequest, Status,
};

/// Addresses from `first` on.
fn addresses(first: [u8; 4], count: usize) -> Vec<IpAddr> {
    let first = u32::from(Ipv4Addr::from(first));
    (0..u32::try_from(count).unwrap()).map(|at| Ipv4Addr::from(first + at).into()).collect()
}

fn asset(platform: &TestPlatform, name: &str) -> Value {
    platform.get(&format!("/api/v1/assets/{name}"))
}

fn problems(platform: &TestPlatform, name: &str) -> Vec<String> {
    let shown = asset(platform, name);
    let all = shown["spark"]["problems"].as_array().unwrap().iter();
    all.map(|one| format!("{}: {}", one["code"], one["text"]).replace('"', "")).collect()
}

fn count(value: &Value) -> usize {
    value.as_array().unwrap().len()
}

const ITSELF: &str = "
segment:
  name: all
  criteria: asset.os = 'debian 12'
  templates: [t]
  inbound: { level: secure-all-ports, mode: enforce }
---
template:
  name: t
  action: allow
  ports: [{ name: ssh, from: ['segment:all'], services: [tcp/22] }]
";

#[test]
fn a_host_with_thousands_of_addresses_is_served_like_any_other() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let (mut many, mut peer) = (TestHost::new("many", &key), TestHost::new("peer", &key));
    many.addresses = addresses([10, 1, 0, 0], 5_000);
    many.sign_in(&platform);
    peer.sign_in(&platform);
    many.check_in(&platform);
    peer.check_in(&platform);
    platform.commit(ITSELF);
    assert_eq!(count(&asset(&platform, "many")["addresses"]), 5_000);
    assert_eq!(problems(&platform, "many"), Vec::<String>::new());
    let ruleset = || platform.get("/api/v1/assets/peer/ruleset")["ruleset"].to_string();
    eventually("the last address is in its peer's rules", || {
        ruleset().contains("10.1.19.135").then_some(())
    });

    // Most of them are removed and others are added.
    many.addresses = addresses([10, 1, 16, 0], 5_000);
    many.check_in(&platform);
    assert_eq!(count(&asset(&platform, "many")["addresses"]), 5_000);
    eventually("its peers' rules follow", || ruleset().contains("10.1.35.135").then_some(()));
    let audited = platform.get("/api/v1/audit?action=asset.addresses")["items"][0].clone();
    let after = audited["after"].as_str().unwrap();
    assert!(after.starts_with("5000 addresses, new: 10.1."), "{audited}");
    assert!(after.len() < 2_000, "{audited}");
}

#[test]
fn two_hosts_that_claim_the_same_thousands_of_addresses_are_served() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let mut hosts = ["first", "second"].map(|name| TestHost::new(name, &key));
    for host in &mut hosts {
        host.addresses = addresses([10, 1, 0, 0], 8_000);
        host.sign_in(&platform);
        host.check_in(&platform);
        host.check_in(&platform);
    }
    assert_eq!(count(&asset(&platform, "first")["addresses"]), 8_000);
    let second = asset(&platform, "second");
    assert_eq!((count(&second["addresses"]), count(&second["claims"])), (0, 100));
    let told = problems(&platform, "second");
    assert!(told[0].starts_with("addresses-wait: 7900 more addresses"), "{told:?}");
}

#[test]
fn pending_addresses_are_limited_and_counted() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    host.addresses = addresses([198, 18, 0, 0], 3_000);
    host.sign_in(&platform);
    let answer = host.check_in(&platform);
    assert_eq!(answer.problems.len(), 100, "each of those that wait is told");
    let told = problems(&platform, "h");
    assert!(told[0].starts_with("addresses-wait: 2900 more addresses of this host"), "{told:?}");
    assert!(told[0].contains("settings"), "says what to do: {told:?}");
    platform.commit("settings: { addresses: ['198.18.0.0/15'] }");
    host.check_in(&platform);
    assert_eq!(count(&asset(&platform, "h")["addresses"]), 3_000);
    assert_eq!(problems(&platform, "h"), Vec::<String>::new());
}

#[test]
fn data_beyond_a_limit_is_cut_and_reported_and_the_rest_is_accepted() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    host.addresses = addresses([10, 1, 0, 0], 20_000);
    host.sign_in(&platform);
    let mut message = host.check_in_message();
    message.status = Status::Failed { reason: "x".repeat(50_000) };
    let problem = |at| Problem { code: "many".to_owned(), text: format!("problem {at}") };
    message.problems = (0..2_000).map(problem).chain([problem(0)]).collect();
    let route = RouteStanding {
        route: "proxy 10.0.0.1:3128".to_owned(),
        in_use: false,
        last_failure: None,
        last_worked: None,
    };
    message.routes = vec![route; 300];
    host.check_in_with(&platform, &message);
    let shown = asset(&platform, "h");
    assert_eq!(count(&shown["addresses"]), bounds::ADDRESSES);
    assert_eq!(count(&shown["spark"]["routes"]), bounds::ROUTES);
    let told = problems(&platform, "h");
    assert_eq!(told.len(), bounds::PROBLEMS);
    let cut: Vec<_> = told.iter().filter(|text| text.starts_with("left-out")).collect();
    assert_eq!(cut.len(), 3, "{cut:?}");
    assert!(cut[0].contains("of 20000 addresses only 8192"), "{cut:?}");
    assert_eq!(shown["spark"]["refused"], Value::Null);
}

#[test]
fn a_report_with_too_many_items_is_cut_and_the_rest_counts_as_lost() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    host.check_in(&platform);
    let event: xshield_wire::message::FirewallEvent = serde_json::from_value(json!({
        "kind": "denied", "direction": "inbound", "source": "10.0.0.9",
        "destination": "10.0.0.5", "protocol": "tcp", "port": 1, "rule": null, "packets": 1,
        "bytes": 1, "first_seen": 1, "last_seen": 2, "from": "recorder", "process": null,
    }))
    .unwrap();
    // All different, or they would compress better than real data.
    let varied = |at: u64| xshield_wire::message::FirewallEvent {
        bytes: at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40,
        ..event.clone()
    };
    let events = (0..bounds::ITEMS as u64 + 3).map(varied).collect();
    let answer =
        host.report(&platform, &report(ReportBody::Events(EventReport { events, lost: 4 })));
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(asset(&platform, "h")["events_lost"], 7);
    let told = platform.get("/api/v1/assets/h/problems");
    assert_eq!(told[0]["code"], "left-out", "{told}");
    assert_eq!(
        told[0]["text"],
        "of 100003 events only 100000 are reported to the platform: the message has no room for more"
    );
}

fn refused(platform: &TestPlatform, name: &str) -> Value {
    asset(platform, name)["spark"]["refused"].clone()
}

fn metric(platform: &TestPlatform, line: &str) -> Option<String> {
    let page = platform.raw("GET", "/metrics", &[], b"");
    let page = String::from_utf8(page.body).unwrap();
    page.lines().find_map(|one| one.strip_prefix(line).map(|rest| rest.trim().to_owned()))
}

#[test]
fn refused_check_ins_are_shown_until_one_is_accepted() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    let mut message = host.check_in_message();
    message.status = Status::Enforcing;
    host.check_in_with(&platform, &message);
    assert_eq!(refused(&platform, "h"), Value::Null);

    let path = "/host/v1/check-in";
    let body = serde_json::to_vec(&message).unwrap();
    for _ in 0..3 {
        assert_eq!(host.send(&platform, "POST", path, &body).status, 409);
    }
    let shown = refused(&platform, "h");
    assert_eq!((&shown["reason"], &shown["times"]), (&json!("replayed"), &json!(3)), "{shown}");
    let headers = host.headers("POST", path, &body, now());
    assert_eq!(platform.raw("POST", path, &headers, b"{}").problem(), "signature-wrong");
    let shown = refused(&platform, "h");
    assert_eq!((&shown["reason"], &shown["times"]), (&json!("signature-wrong"), &json!(4)));
    let broken = host.send(&platform, "POST", path, br#"{"version":1,"sequence":"x"}"#);
    assert_eq!(broken.problem(), "invalid-json");
    assert_eq!(refused(&platform, "h")["reason"], "invalid-json");

    let listed = platform.get("/api/v1/assets?status=refused");
    assert_eq!(listed["items"][0]["name"], "h", "{listed}");
    let series = "xshield_check_ins_refused_total{reason=\"replayed\"}";
    assert_eq!(metric(&platform, series).as_deref(), Some("3"));
    let gauge = "xshield_assets{standing=\"refused\"}";
    assert_eq!(metric(&platform, gauge).as_deref(), Some("1"));
    let told = platform.get("/api/v1/assets/h/problems").to_string();
    assert!(told.contains("the platform refused a check-in"), "{told}");

    host.check_in(&platform);
    assert_eq!(refused(&platform, "h"), Value::Null, "one that is taken ends it");
    assert_eq!(platform.get("/api/v1/assets?status=refused")["items"], json!([]));
    assert_eq!(metric(&platform, gauge).as_deref(), Some("0"));
}

#[test]
fn a_host_that_is_refused_a_session_is_shown_and_others_cannot_cause_it() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let mut host = TestHost::new("h", &key);
    host.sign_in(&platform);
    host.check_in(&platform);
    // Anyone with the enforcement key knows the public identity at most.
    let mut forged: SessionRequest =
        serde_json::from_slice(&host.session_request(now() - 3600)).unwrap();
    forged.signature.0[0] ^= 1;
    let forged = serde_json::to_vec(&forged).unwrap();
    platform.raw("POST", "/host/v1/session", &[], &forged);
    assert_eq!(refused(&platform, "h"), Value::Null);

    assert_eq!(host.session_at(&platform, now() - 3600).problem(), "clock-skew");
    assert_eq!(refused(&platform, "h")["reason"], "clock-skew");
    let id = key.id().to_string();
    platform.post(&format!("/api/v1/enforcement-keys/{id}/revoke"), json!({}));
    assert_eq!(host.session_at(&platform, now()).problem(), "enforcement-key-revoked");
    assert_eq!(refused(&platform, "h")["reason"], "enforcement-key-revoked");
}

#[test]
fn a_registered_host_with_an_invalid_name_is_accepted() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    host.check_in(&platform);
    for name in ["", "a b", &"x".repeat(2_000)] {
        host.name = name.to_owned();
        host.sign_in(&platform);
        host.check_in(&platform);
        let told = problems(&platform, "h");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("name-unusable"), "{told:?}");
        assert_eq!(asset(&platform, "h")["claims"], json!([]), "nothing waits");
    }
    host.name = "h".to_owned();
    host.check_in(&platform);
    assert_eq!(problems(&platform, "h"), Vec::<String>::new());
}
