//! The state of a host over time: lifecycle, problems, configuration.

use serde_json::{Value, json};
use xshield_wire::control::Switch;
use xshield_wire::message::*;
use xshield_wire::telemetry::*;

use crate::support::{TestHost, TestPlatform, now, report};
use crate::{agent_check_in, host};

#[test]
fn a_decommissioned_asset_is_refused_and_keeps_its_history() {
    let platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    agent_check_in(&mut host, &platform);
    let events = vec![AgentEvent {
        at: now(),
        kind: AgentEventKind::Started,
        text: "started".to_owned(),
        revision: None,
        seconds: None,
    }];
    assert_eq!(host.report(&platform, &report(ReportBody::Agent { events })).status, 200);
    platform.post("/api/v1/assets/h/decommission", json!({}));
    let body = serde_json::to_vec(&host.check_in_message()).unwrap();
    let answer = host.send(&platform, "POST", "/host/v1/check-in", &body);
    assert_eq!((answer.status, answer.problem().as_str()), (403, "asset-decommissioned"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("reinstate h"));
    for mut other in [TestHost::new("h", &platform.new_key()), TestHost::new("h", &host.key)] {
        let answer = other.session_at(&platform, now());
        assert_eq!((answer.status, answer.problem().as_str()), (403, "asset-decommissioned"));
    }
    assert_eq!(platform.get("/api/v1/assets/h")["spark"]["activity"], "decommissioned");
    assert_eq!(platform.get("/api/v1/assets?status=decommissioned")["items"][0]["name"], "h");
    assert_eq!(platform.get("/api/v1/agent-events")["items"][0]["kind"], "started");
    let (status, _) = platform.call(
        "POST",
        "/api/v1/commands",
        Some(&platform.admin),
        Some(json!({"kind": "run-now", "target": {"all": true}})),
    );
    assert_eq!(status, 422, "there is nobody in service");
    platform.post("/api/v1/assets/h/reinstate", json!({}));
    agent_check_in(&mut host, &platform);
    assert_eq!(platform.get("/api/v1/assets/h")["spark"]["activity"], "online");
    assert_eq!(platform.get("/api/v1/assets?status=online")["items"][0]["name"], "h");
    assert_eq!(platform.get("/api/v1/assets?status=late")["items"], json!([]));
}

#[test]
fn past_problems_are_kept() {
    let platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    let mut told = |codes: &[&str]| {
        let mut message = host.check_in_message();
        message.problems = codes
            .iter()
            .map(|code| Problem { code: (*code).to_owned(), text: "text".to_owned() })
            .collect();
        message.routes = vec![RouteStanding {
            route: "proxy 10.0.0.1:3128".to_owned(),
            in_use: false,
            last_failure: Some(RouteFailure {
                at: now(),
                reason: "refused".to_owned(),
                kind: RouteFailureKind::Refused,
            }),
            last_worked: None,
        }];
        host.check_in_with(&platform, &message);
    };
    told(&["ruleset-reverted"]);
    told(&["ruleset-reverted", "dns-stale"]);
    told(&[]);
    told(&["dns-stale"]);
    let problems = platform.get("/api/v1/assets/h/problems");
    let mut seen: Vec<_> = problems
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (one["code"].as_str().unwrap(), one["times"].as_u64().unwrap(), one["current"] == true)
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [("dns-stale", 2, true), ("ruleset-reverted", 1, false)]);
    let routes = platform.get("/api/v1/assets/h")["spark"]["routes"].clone();
    assert_eq!(routes[0]["last_failure"]["reason"], "refused");
}

#[test]
fn a_configuration_is_sent_until_the_host_uses_it() {
    let platform = TestPlatform::start();
    let (mut a, mut b) = (host(&platform, "a"), host(&platform, "b"));
    assert_eq!(a.check_in(&platform).configuration, None);
    b.check_in(&platform);
    let put = |path: &str, body: Value| {
        let (status, answer) = platform.call("PUT", path, Some(&platform.admin), Some(body));
        (status, answer["field"].as_str().unwrap_or_default().to_owned())
    };
    let everywhere = "/api/v1/host-configuration";
    for (body, field) in [
        (json!({"heartbeat": 9}), "/heartbeat"),
        (json!({"inventory": 59}), "/inventory"),
        (json!({"cpu_budget_percent": 100.1}), "/cpu_budget_percent"),
        (json!({"cpu_budget_percent": 0}), "/cpu_budget_percent"),
        (json!({"memory_budget": 15}), "/memory_budget"),
    ] {
        assert_eq!(put(everywhere, body), (422, field.to_owned()));
    }
    assert_eq!(put(everywhere, json!({"hartbeat": 60})).0, 400);
    assert_eq!(put("/api/v1/host-configuration/segments/none", json!({"heartbeat": 60})).0, 404);
    assert_eq!(put(everywhere, json!({"heartbeat": 60, "live_events": "off"})).0, 200);
    assert_eq!(put("/api/v1/assets/a/host-configuration", json!({"heartbeat": 20})).0, 200);

    for _ in 0..2 {
        let told = a.check_in(&platform).configuration.unwrap();
        assert_eq!((told.heartbeat, told.live_events), (Some(20), Some(Switch::Off)));
    }
    let told = a.check_in(&platform).configuration.unwrap();
    let mut message = a.check_in_message();
    message.configuration = Some(told.version);
    assert_eq!(a.check_in_with(&platform, &message).configuration, None, "in use");
    assert_eq!(b.check_in(&platform).configuration.unwrap().heartbeat, Some(60));
    assert_eq!(put("/api/v1/assets/a/host-configuration", json!({})).0, 200);
    let next = a.check_in(&platform).configuration.unwrap();
    assert_eq!(next.heartbeat, Some(60));
    assert!(next.version > told.version);
    assert_eq!(platform.get("/api/v1/assets/a/host-configuration")["settings"]["heartbeat"], 60);
    assert_eq!(platform.get(everywhere).as_array().unwrap().len(), 1);
}
