//! Matches of listed peers: counted once, stored with their feeds, found by filters.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::path::Path;

use serde_json::json;
use support::matches::{found, host};
use support::{TestPlatform, report};
use xshield_policy::Direction;
use xshield_threat::ThreatMode;
use xshield_wire::message::*;
use xshield_wire::threat::{ListName, ThreatAction, ThreatMatch, ThreatReport, ThreatStanding};

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
fn matches_count_once_and_can_be_filtered() {
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
fn texts_of_hosts_are_limited_and_old_flows_are_evicted() {
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
fn an_event_keeps_its_feeds_and_access_logs_show_clients_behind_proxies() {
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
            // Claimed by the client, not seen by a proxy.
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

/// A feed from a file under `dir`, whose listings need no approval.
fn add_feed(platform: &TestPlatform, dir: &Path, name: &str, confidence: u8, addresses: &str) {
    write_feed(dir, name, addresses);
    platform.post(
        "/api/v1/threat/feeds",
        json!({
            "name": name,
            "settings": {
                "source": {"file": dir.join(name)}, "format": {"plain": {"levels": null}},
                "confidence": confidence, "growth_percent": 1000, "shrink_percent": 100,
            },
        }),
    );
    run_feed(platform, name);
}

fn write_feed(dir: &Path, name: &str, addresses: &str) {
    std::fs::write(dir.join(name), addresses).unwrap();
}

/// The list's revision after the feed has run.
fn run_feed(platform: &TestPlatform, name: &str) -> u64 {
    platform.post(&format!("/api/v1/threat/feeds/{name}/run"), json!({}));
    platform.get("/api/v1/threat/status")["revision"].as_u64().unwrap()
}

fn at(remote: &str, revision: u64) -> ThreatMatch {
    ThreatMatch { revision, ..found(remote, 1) }
}

#[test]
fn a_match_is_attributed_to_the_feeds_of_the_reported_revision() {
    let platform = TestPlatform::start();
    let files = tempfile::tempdir().unwrap();
    let dir = files.path();
    for (rule, least) in [("sure", 80), ("surer", 95)] {
        let body = json!({"when": {"condition": "any-match"}, "least_confidence": least,
            "channels": ["soc"], "throttle_seconds": 0});
        let channel = json!({"settings": {"kind": "webhook", "url": "https://soc.example.com/x"}});
        let (status, answer) = platform.call(
            "PUT",
            "/api/v1/alert-channels/soc",
            Some(&platform.admin),
            Some(channel),
        );
        assert_eq!(status, 200, "{answer}");
        let path = format!("/api/v1/alert-rules/{rule}");
        let (status, answer) = platform.call("PUT", &path, Some(&platform.admin), Some(body));
        assert_eq!(status, 200, "{answer}");
    }
    // Revision 1: one feed lists the address. Then another one lists it, too, with more confidence: the same
    // addresses.
    add_feed(&platform, dir, "first", 60, "203.0.113.7\n203.0.113.200\n");
    add_feed(&platform, dir, "second", 90, "203.0.113.0/29\n");
    write_feed(dir, "first", "203.0.113.0/29\n203.0.113.200\n");
    let both = run_feed(&platform, "first");
    // Then both remove it, and a third one lists what neither did.
    write_feed(dir, "second", "203.0.113.201\n");
    let without = run_feed(&platform, "second");
    write_feed(dir, "first", "203.0.113.200\n");
    run_feed(&platform, "first");
    add_feed(&platform, dir, "third", 99, "198.51.100.9\n");
    let web = host(&platform, "web-1", json!({}));
    let tell = |found: ThreatMatch| {
        assert_eq!(web.report(&platform, &threats(vec![found], 0)).status, 200);
    };
    let feeds = |remote: &str| {
        let events = platform.get(&format!("/api/v1/threat/events?address={remote}"));
        let event = events["items"][0].clone();
        let named = event["feeds"].as_array().unwrap().iter();
        let named: Vec<String> = named
            .map(|by| format!("{} {} {}", by["feed"], by["entry"], by["confidence"]))
            .map(|text| text.replace('"', ""))
            .collect();
        (named, event["entry"].clone(), event["confidence"].clone())
    };

    tell(at("203.0.113.7", both));
    let of_then = vec!["second 203.0.113.0/29 90".to_owned(), "first 203.0.113.0/29 60".to_owned()];
    let expected = (of_then, json!("203.0.113.0/29"), json!(90));
    assert_eq!(feeds("203.0.113.7"), expected, "neither lists it now");
    // A report of an older list by a lagging host does not hide what is known of a newer one.
    tell(at("203.0.113.7", 1));
    assert_eq!(feeds("203.0.113.7"), expected);

    // An address that is listed now, but was not then.
    tell(at("198.51.100.9", both));
    assert_eq!(feeds("198.51.100.9"), (vec![], json!(null), json!(null)));
    tell(at("203.0.113.201", without));
    assert_eq!(feeds("203.0.113.201").0, ["second 203.0.113.201 90"]);

    // For a revision that is not kept: what is listed now, and was when the peer was seen.
    let mut long_ago = at("203.0.113.200", 4_000);
    (long_ago.first_seen, long_ago.last_seen) = (1_000_000, 1_000_000);
    tell(long_ago);
    assert_eq!(feeds("203.0.113.200").0, Vec::<String>::new());
    tell(at("203.0.113.200", 4_000));
    assert_eq!(feeds("203.0.113.200").0, ["first 203.0.113.200 60"]);

    // The same after a restart, from disk.
    let platform = platform.restart();
    let mut web = web;
    web.sign_in(&platform);
    let told = threats(vec![ThreatMatch { port: 80, ..at("203.0.113.7", both) }], 0);
    assert_eq!(web.report(&platform, &told).status, 200);
    let events = platform.get("/api/v1/threat/events?address=203.0.113.7&feed=second");
    assert_eq!(events["items"].as_array().unwrap().len(), 2, "{events}");

    support::eventually("rules that ask for a confidence fire", || {
        let of = |rule: &str| {
            let alerts = platform.get(&format!("/api/v1/alerts?rule={rule}"));
            let alerts = alerts["items"].as_array().unwrap().clone();
            let remotes = alerts.iter().map(|one| one["alert"]["event"]["remote"].to_string());
            let mut remotes: Vec<_> = remotes.map(|text| text.replace('"', "")).collect();
            remotes.sort();
            remotes.dedup();
            remotes
        };
        // If the confidence is not known any more, all rules match.
        let unknown = ["198.51.100.9", "203.0.113.200"];
        let sure = ["198.51.100.9", "203.0.113.200", "203.0.113.201", "203.0.113.7"];
        (of("sure") == sure && of("surer") == unknown).then_some(())
    });
}

#[test]
fn a_revision_in_use_by_a_host_is_kept() {
    let platform = TestPlatform::start();
    let files = tempfile::tempdir().unwrap();
    add_feed(&platform, files.path(), "drop", 90, "203.0.113.7\n");
    let mut web = host(&platform, "web-1", json!({}));
    // It reports that it has revision 1, and is silent for a long time.
    let revision = platform.get("/api/v1/threat/revisions")["items"][0].clone();
    let first = revision["revision"].as_u64().unwrap();
    let digest: xshield_threat::Digest = revision["digest"].as_str().unwrap().parse().unwrap();
    let mut message = web.check_in_message();
    message.threat = Some(ThreatStanding {
        order: None,
        list: Some(ListName {
            revision: first,
            digest: xshield_wire::Bytes(digest.0),
            entries: 1,
            least_confidence: 0,
            whole_entries: 1,
        }),
        inbound: ThreatMode::Block,
        outbound: ThreatMode::Block,
        elements: 1,
        verified_at: None,
        memory: 8 << 30,
        budget: None,
        failure: None,
    });
    web.check_in_with(&platform, &message);
    for last in 0..60 {
        write_feed(files.path(), "drop", &format!("198.51.100.{last}\n"));
        run_feed(&platform, "drop");
    }
    let platform = platform.restart();
    support::eventually("old revisions are forgotten", || {
        let revisions = platform.get("/api/v1/threat/revisions?limit=100");
        (revisions["items"].as_array().unwrap().len() < 60).then_some(())
    });
    web.sign_in(&platform);
    assert_eq!(web.report(&platform, &threats(vec![at("203.0.113.7", first)], 0)).status, 200);
    let events = platform.get("/api/v1/threat/events?feed=drop&confidence=90");
    assert_eq!(events["items"][0]["remote"], "203.0.113.7", "{events}");
}
