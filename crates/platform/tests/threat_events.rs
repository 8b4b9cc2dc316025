//! Matches of listed peers: counted once, kept with what the list said, found again.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::path::Path;

use serde_json::json;
use support::matches::{found, host};
use support::{TestPlatform, report};
use xshield_policy::Direction;
use xshield_wire::message::*;
use xshield_wire::threat::{ThreatAction, ThreatMatch, ThreatReport};

fn threats(matches: Vec<ThreatMatch>, lost: u64) -> Report {
    report(ReportBody::Threats(ThreatReport { matches, lost }))
}

fn remotes(platform: &TestPlatform, query: &str) -> Vec<String> {
    let found = platform.get(&format!("/api/v1/threat/events?{query}"));
    let items = found["items"].as_array().unwrap();
    let mut remotes: Vec<String> =
        items.iter().map(|item| item["remote"].as_str().unwrap().to_owned()).collect();
    remotes.sort();
    remotes
}

#[test]
fn matches_count_once_and_are_found_by_what_they_say() {
    let platform = TestPlatform::start();
    let web = host(&platform, "web-1", json!({"role": "web"}));
    let db = host(&platform, "db-1", json!({"role": "db"}));

    let batch = threats(vec![found("198.51.100.7", 3), found("2001:db8::7", 1)], 2);
    for _ in 0..3 {
        assert_eq!(web.report(&platform, &batch).status, 200);
    }
    assert_eq!(web.report(&platform, &threats(vec![found("198.51.100.7", 4)], 0)).status, 200);
    let mut other = found("198.51.100.9", 1);
    other.action = ThreatAction::Recorded;
    other.direction = Direction::Outbound;
    assert_eq!(db.report(&platform, &threats(vec![other], 0)).status, 200);

    let events = platform.get("/api/v1/assets/web-1/threat-events?address=198.51.100.7");
    let event = &events["items"][0];
    for (field, expected) in [
        ("name", json!("Malicious IP Match")),
        ("asset", json!("web-1")),
        ("action", json!("blocked")),
        ("blockable_at_host", json!(true)),
        ("packets", json!(7)),
        ("reports", json!(2)),
        ("process", json!("nginx")),
        ("service", json!("nginx.service")),
        ("rule", json!("web/https")),
        ("policy", json!("allowed")),
        ("revision", json!(7)),
        ("feeds", json!([])),
    ] {
        assert_eq!(event[field], expected, "{field}");
    }

    for (query, expected) in [
        ("", vec!["198.51.100.7", "198.51.100.9", "2001:db8::7"]),
        ("asset=db-1", vec!["198.51.100.9"]),
        ("where=role+%3D+%27web%27", vec!["198.51.100.7", "2001:db8::7"]),
        ("where=role+%3D+%27web%27&asset=db-1", vec![]),
        ("address=198.51.100.0/29", vec!["198.51.100.7"]),
        ("address=2001:db8::/32", vec!["2001:db8::7"]),
        ("address=128.0.0.0/1", vec!["198.51.100.7", "198.51.100.9"]),
        ("action=recorded", vec!["198.51.100.9"]),
        ("direction=inbound", vec!["198.51.100.7", "2001:db8::7"]),
        ("via_proxy=only", vec![]),
        ("feed=none", vec![]),
        ("confidence=1", vec![]),
        ("since=2100-01-01T00:00:00Z", vec![]),
        ("until=2020-01-01T00:00:00Z", vec![]),
    ] {
        assert_eq!(remotes(&platform, query), expected, "{query}");
    }
    for query in ["adress=1", "address=1.2.3.256", "where=role", "action=passed", "confidence=101"]
    {
        let (status, problem) = platform.call(
            "GET",
            &format!("/api/v1/threat/events?{query}"),
            Some(&platform.admin),
            None,
        );
        assert_eq!(status, 422, "{query}: {problem}");
    }

    let first = platform.get("/api/v1/threat/events?limit=2");
    let next = first["next"].as_str().unwrap();
    let second = platform.get(&format!("/api/v1/threat/events?limit=2&cursor={next}"));
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    assert_eq!(second["items"].as_array().unwrap().len(), 1);

    let address = platform.get("/api/v1/threat/addresses/198.51.100.7");
    assert_eq!(address["assets"][0]["asset"], "web-1");
    assert_eq!((&address["packets"], &address["blocked"]), (&json!(7), &json!(7)));
    let losses = platform.get("/api/v1/threat/losses");
    assert_eq!(losses["items"][0]["lost"], 2);
}

#[test]
fn texts_of_hosts_are_bounded_and_old_flows_make_room() {
    let platform = TestPlatform::start_with(|settings| settings.threat_flows_per_asset = 3);
    let web = host(&platform, "web-1", json!({}));
    let mut long = found("198.51.100.1", u64::MAX);
    long.process = Some("ä".repeat(5000));
    long.last_seen = u64::MAX;
    assert_eq!(web.report(&platform, &threats(vec![long], u64::MAX)).status, 200);
    let events = platform.get("/api/v1/threat/events");
    let process = events["items"][0]["process"].as_str().unwrap();
    assert!(process.len() <= 512 && process.ends_with('…'), "{process}");
    support::eventually("old flows make room", || {
        let many = (0..9).map(|last| found(&format!("198.51.100.{last}"), 1)).collect();
        assert_eq!(web.report(&platform, &threats(many, 0)).status, 200);
        (remotes(&platform, "").len() == 3).then_some(())
    });
}

/// A feed from a file, run at once.
fn listed(platform: &TestPlatform, operator: &Path, addresses: &str) {
    let file = operator.join("feed.txt");
    std::fs::write(&file, addresses).unwrap();
    platform.post(
        "/api/v1/threat/feeds",
        json!({
            "name": "drop",
            "settings": {
                "source": {"file": file}, "format": {"plain": {"levels": null}}, "confidence": 90,
            },
        }),
    );
    support::eventually("the feed is in force", || {
        let found = platform.post("/api/v1/threat/look-up", json!({"addresses": ["203.0.113.7"]}));
        (!found["items"].as_array().unwrap().is_empty()).then_some(())
    });
}

#[test]
fn an_event_keeps_what_the_list_said_and_a_log_tells_of_clients_behind_proxies() {
    let platform = TestPlatform::start();
    let files = tempfile::tempdir().unwrap();
    listed(&platform, files.path(), "203.0.113.0/25\n");
    let web = host(&platform, "web-1", json!({}));
    assert_eq!(web.report(&platform, &threats(vec![found("203.0.113.7", 3)], 0)).status, 200);
    let events = platform.get("/api/v1/threat/events?feed=drop&confidence=90");
    let event = &events["items"][0];
    assert_eq!(
        event["feeds"],
        json!([{"feed": "drop", "entry": "203.0.113.0/25", "confidence": 90}])
    );
    assert_eq!(event["entry"], "203.0.113.0/25");
    assert_eq!(platform.get("/api/v1/threat/addresses/203.0.113.7")["entry"], "203.0.113.0/25");

    let line = |peer: &str, forwarded: &str| {
        format!(
            "{peer} - - [21/Nov/2026:05:00:00 +0000] \"GET /login HTTP/1.1\" 200 5 \"-\" \"-\" \
             \"{forwarded}\""
        )
    };
    let batch = json!({
        "asset": "web-1", "batch": "AAECAwQFBgcICQoLDA0ODw==", "port": 443,
        "lines": {"format": "combined", "trusted": ["10.0.0.0/8"], "text": [
            line("10.0.0.1", "203.0.113.9"), line("10.0.0.1", "203.0.113.9"),
            // Claimed, not seen by a proxy.
            line("10.0.0.1", "203.0.113.10, 198.51.100.1"), line("203.0.113.11", "-"), "nonsense",
        ]},
    });
    let taken = platform.post("/api/v1/threat/access-log", batch.clone());
    for (field, expected) in [
        ("counted", json!(true)),
        ("requests", json!(4)),
        ("matched", json!(2)),
        ("direct", json!(1)),
        ("refused", json!(1)),
    ] {
        assert_eq!(taken[field], expected, "{field}: {taken}");
    }
    assert_eq!(platform.post("/api/v1/threat/access-log", batch)["counted"], false);
    let events = platform.get("/api/v1/threat/events?via_proxy=only");
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    let event = &events["items"][0];
    for (field, expected) in [
        ("name", json!("Malicious IP Match (via proxy)")),
        ("remote", json!("203.0.113.9")),
        ("via", json!("10.0.0.1")),
        ("blockable_at_host", json!(false)),
        ("action", json!("recorded")),
        ("packets", json!(2)),
        ("request", json!("GET /login HTTP/1.1")),
        ("last_seen", json!("2026-11-21T05:00:00Z")),
    ] {
        assert_eq!(event[field], expected, "{field}");
    }
}
