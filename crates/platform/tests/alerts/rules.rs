//! What raises an alert, and how often.

use serde_json::{Value, json};
use xshield_lab::smtp::{OnMail, Options};
use xshield_wire::message::*;
use xshield_wire::telemetry::LiveReport;
use xshield_wire::threat::{ThreatMatch, ThreatReport};

use crate::support::matches::{found, host};
use crate::support::{eventually, now, report};
use crate::{WITHIN, alerts, judged, mail_to, platform, query, rule, smtp, tell};

#[test]
fn rules_filter_throttle_count_and_collect() {
    let platform = platform();
    let server = smtp(Options::default());
    mail_to(&platform, server.address().port());
    let with = |more: Value| {
        let mut rule = json!({"when": {"condition": "any-match"}, "channels": ["ops"]});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    let threshold = json!({"condition": "threshold", "count": "packets", "at_least": 10,
                           "window_seconds": 600});
    for (name, more) in [
        ("critical", json!({"where": "business_value = 'high'"})),
        ("recorded", json!({"action": "recorded"})),
        ("outbound", json!({"direction": "outbound"})),
        ("sure", json!({"least_confidence": 90})),
        ("fed", json!({"feeds": ["drop"]})),
        ("proxied", json!({"via_proxy": "only"})),
        ("off", json!({"state": "disabled"})),
        ("platform", json!({"when": {"condition": "first-time", "scope": "platform"}})),
        ("many", json!({"when": threshold, "per": "asset"})),
        ("throttled", json!({"per": "rule", "throttle_seconds": 600})),
        ("later", json!({"delivery": {"mode": "digest", "every_seconds": 604_800}})),
    ] {
        rule(&platform, name, with(more));
    }
    let web = host(&platform, "web-1", json!({"business_value": "high"}));
    let db = host(&platform, "db-1", json!({}));
    tell(&platform, &web, vec![found("198.51.100.7", 6)]);
    tell(&platform, &db, vec![found("198.51.100.7", 6)]);
    tell(&platform, &web, vec![found("198.51.100.7", 6)]);
    judged(&platform);
    for (name, count) in [
        ("critical", 1),
        ("recorded", 0),
        ("outbound", 0),
        // Matches without a confidence.
        ("sure", 2),
        ("fed", 0),
        ("proxied", 0),
        ("off", 0),
        ("platform", 1),
        ("many", 1),
        ("throttled", 1),
        ("later", 2),
    ] {
        assert_eq!(alerts(&platform, &format!("rule={name}")).len(), count, "{name}");
    }
    let many = &alerts(&platform, "rule=many")[0]["alert"];
    assert_eq!((&many["counted"], &many["event"]["asset"]), (&json!(12), &json!("web-1")));
    assert_eq!(platform.get("/api/v1/alert-rules/throttled")["withheld"], 2);
    eventually("what is due is delivered, the digest waits", || {
        (platform.get("/api/v1/alert-channels/ops")["waiting"] == 2).then_some(())
    });
    assert!(!server.mails().iter().any(|mail| mail.text().contains("later")));

    let deleted = |path: &str| platform.call("DELETE", path, Some(&platform.admin), None).0;
    assert_eq!(deleted("/api/v1/alert-channels/ops"), 409, "rules use it");
    assert_eq!(deleted("/api/v1/alert-rules/later"), 204);
    assert_eq!(deleted("/api/v1/alert-rules/later"), 404);
}

#[test]
fn a_digest_collects_alerts_until_its_interval_ends() {
    let platform = platform();
    let server = smtp(Options::default());
    mail_to(&platform, server.address().port());
    rule(
        &platform,
        "digest",
        json!({
            "when": {"condition": "any-match"}, "channels": ["ops"],
            "delivery": {"mode": "digest", "every_seconds": 2},
        }),
    );
    let web = host(&platform, "web-1", json!({}));
    tell(&platform, &web, vec![found("198.51.100.7", 6), found("198.51.100.8", 1)]);
    let mails = server.wait_for(1, WITHIN);
    let subject = mails[0].header("Subject").unwrap();
    assert_eq!(subject, "[Xshield] 2 alerts on 1 asset about 2 addresses");
    assert_eq!(mails.len(), 1);
}

#[test]
fn each_loss_raises_one_alert() {
    let platform = platform();
    let server = smtp(Options::default());
    mail_to(&platform, server.address().port());
    rule(
        &platform,
        "lost",
        json!({
            "when": {"condition": "recorder-losses"}, "channels": ["ops"], "throttle_seconds": 0,
        }),
    );
    let web = host(&platform, "web-1", json!({}));
    let batch = report(ReportBody::Threats(ThreatReport { matches: Vec::new(), lost: 5 }));
    assert_eq!(web.report(&platform, &batch).status, 200);
    let mails = server.wait_for(1, WITHIN);
    assert!(mails[0].text().contains("5 packets of listed peers"), "{}", mails[0].text());
    assert_eq!(alerts(&platform, "kind=recorder-losses").len(), 1);
}

#[test]
fn damaged_rows_do_not_delay_alerts() {
    let mut platform = platform();
    let server = smtp(Options::default());
    server.on_mail(OnMail::Refuse);
    mail_to(&platform, server.address().port());
    rule(
        &platform,
        "all",
        json!({
            "when": {"condition": "any-match"}, "channels": ["ops"], "throttle_seconds": 0,
        }),
    );
    rule(&platform, "broken", json!({"when": {"condition": "any-match"}, "channels": ["ops"]}));
    let web = host(&platform, "web-1", json!({}));
    tell(&platform, &web, vec![found("198.51.100.7", 1)]);
    judged(&platform);
    eventually("a delivery is made", || {
        (!platform.get("/api/v1/deliveries")["items"].as_array().unwrap().is_empty()).then_some(())
    });
    platform.end();
    let database = platform.data_dir().join("xshield.db");
    for blow in [
        "UPDATE delivery SET payload = '{' RETURNING number",
        "UPDATE alert SET body = 'x' WHERE id = 2 RETURNING id",
        "UPDATE alert_rule SET document = '[]' WHERE name = 'broken' RETURNING 1",
        "UPDATE alert_memory SET counts = '?' RETURNING 1",
        "INSERT INTO threat_event SELECT 1000, asset_id, 'odd', direction, remote, remote_key, \
         local, protocol, port, process, service, via, rule, policy, request, read_from, revision, \
         feeds, feed_names, entry, confidence, packets, bytes, batches, first_seen, last_seen, live_at \
         FROM threat_event LIMIT 1 RETURNING id",
        "INSERT INTO threat_fresh (event_id, novelty, packets, at) VALUES (1000, 'known', 1, 1) \
         RETURNING id",
    ] {
        query(&database, blow);
    }
    server.on_mail(OnMail::Accept);
    let platform = platform.restart();
    tell(&platform, &web, vec![found("198.51.100.8", 1)]);
    let mails = server.wait_for(1, WITHIN);
    assert!(mails.iter().any(|mail| mail.text().contains("198.51.100.8")));
    let given_up = platform.get("/api/v1/deliveries?state=given-up");
    assert_eq!(given_up["items"].as_array().unwrap().len(), 1);
}

/// An agent reports a match live, and counts it at its next heartbeat: one event, one alert.
#[test]
fn a_live_match_is_alerted_once_and_counted_once() {
    let platform = platform();
    mail_to(&platform, 9);
    let any =
        json!({"when": {"condition": "any-match"}, "channels": ["ops"], "throttle_seconds": 0});
    rule(&platform, "any", any);
    let often = json!({
        "when": {"condition": "threshold", "count": "matches", "at_least": 2, "window_seconds": 600},
        "channels": ["ops"], "throttle_seconds": 0,
    });
    rule(&platform, "often", often);
    let host = host(&platform, "web", json!({}));
    let seen = |from: u64, until: u64| ThreatMatch {
        first_seen: now() - from,
        last_seen: now() - until,
        ..found("203.0.113.7", 5)
    };
    let live = |process: Option<&str>| {
        let process = process.map(str::to_owned);
        let found = ThreatMatch { process, service: None, from: EventSource::Live, ..seen(40, 40) };
        let events = Vec::new();
        let live = LiveReport { events, threats: vec![found], lost: 0 };
        assert_eq!(host.report(&platform, &report(ReportBody::Live(live))).status, 200);
    };
    let check = |step: &str, any: usize, often: usize, packets: u64| {
        judged(&platform);
        let told = ["any", "often"].map(|rule| alerts(&platform, &format!("rule={rule}")).len());
        assert_eq!(told, [any, often], "{step}");
        let events = platform.get("/api/v1/threat/events")["items"].as_array().unwrap().clone();
        assert_eq!(events.len(), 1, "{step}: {events:?}");
        assert_eq!(events[0]["packets"], packets, "{step}");
        events[0].clone()
    };
    live(None);
    let event = check("as it happens", 1, 0, 0);
    assert_eq!((&event["process"], &event["from"]), (&Value::Null, &json!("live")));
    live(Some("nginx"));
    let event = check("its program is known later", 1, 0, 0);
    assert_eq!(event["process"], "nginx");
    tell(&platform, &host, vec![ThreatMatch { process: None, service: None, ..seen(60, 20) }]);
    let event = check("it is counted", 1, 0, 5);
    assert_eq!((&event["process"], &event["from"]), (&json!("nginx"), &json!("recorder")));
    live(Some("nginx"));
    check("a flow goes on", 1, 0, 5);
    tell(&platform, &host, vec![seen(19, 0)]);
    check("what no agent told as it happened", 2, 1, 10);
}
