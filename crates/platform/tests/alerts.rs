//! Alerts from a host's report to the receivers: mail, webhook, syslog.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::matches::{found, host};
use support::receivers::{Identity, Syslog, Webhook};
use support::{PASSWORD, TestHost, TestPlatform, eventually, now, report};
use xshield_alerting::webhook::signature;
use xshield_lab::smtp::{Mail, OnMail, Options, Protection, SmtpServer};
use xshield_model::Timestamp;
use xshield_wire::message::*;
use xshield_wire::telemetry::LiveReport;
use xshield_wire::threat::{ThreatMatch, ThreatReport};

/// Longer than the interval at which the platform checks its own state.
const WITHIN: Duration = Duration::from_secs(45);

fn platform() -> TestPlatform {
    TestPlatform::start_with(|settings| settings.delivery_retry_first = 1)
}

fn tell(platform: &TestPlatform, host: &TestHost, matches: Vec<ThreatMatch>) {
    let batch = report(ReportBody::Threats(ThreatReport { matches, lost: 0 }));
    // A repeated batch counts once, so it alerts once.
    for _ in 0..2 {
        assert_eq!(host.report(platform, &batch).status, 200);
    }
}

fn put(platform: &TestPlatform, path: &str, body: Value) -> Value {
    let (status, answer) = platform.call("PUT", path, Some(&platform.admin), Some(body));
    assert_eq!(status, 200, "PUT {path}: {answer}");
    answer
}

fn rule(platform: &TestPlatform, name: &str, rule: Value) {
    put(platform, &format!("/api/v1/alert-rules/{name}"), rule);
}

fn smtp(options: Options) -> SmtpServer {
    SmtpServer::start(TcpListener::bind("127.0.0.1:0").unwrap(), options).unwrap()
}

fn mail_to(platform: &TestPlatform, port: u16) {
    put(
        platform,
        "/api/v1/alert-channels/ops",
        json!({"settings": {
            "kind": "mail", "host": "127.0.0.1", "port": port, "security": "plain",
            "allow_unencrypted": true, "from": "Xshield <x@example.com>", "to": ["ops@example.com"],
            "allow_private": true,
        }}),
    );
}

fn alerts(platform: &TestPlatform, query: &str) -> Vec<Value> {
    platform.get(&format!("/api/v1/alerts?{query}"))["items"].as_array().unwrap().clone()
}

fn judged(platform: &TestPlatform) {
    let database = platform.data_dir().join("xshield.db");
    eventually("all matches are judged", || {
        (query(&database, "SELECT count(*) FROM threat_fresh") == 0).then_some(())
    });
}

/// Reads or damages the database while the platform runs.
fn query(database: &std::path::Path, sql: &'static str) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
        let pool = sqlx::sqlite::SqlitePoolOptions::new().connect_with(options).await.unwrap();
        let found = sqlx::query_scalar::<_, i64>(sql).fetch_optional(&pool).await.unwrap();
        pool.close().await;
        found.unwrap_or_default()
    })
}

#[test]
fn a_mail_goes_out_over_starttls_with_a_login_and_names_everything() {
    let platform = platform();
    let identity = Identity::new();
    let login = Some(("xshield".to_owned(), "pass word".to_owned()));
    let server = smtp(Options { tls: Some(identity.config.clone()), login });
    let settings = json!({
        "kind": "mail", "host": "localhost", "port": server.address().port(),
        "username": "xshield", "from": "Xshield <x@example.com>",
        "to": ["ops@example.com", "Second <two@example.com>"], "ca": identity.ca,
        "allow_private": true,
    });
    let channel = put(
        &platform,
        "/api/v1/alert-channels/ops",
        json!({"settings": settings, "secret": "pass word"}),
    );
    assert_eq!(channel["has_secret"], true);
    assert!(!channel.to_string().contains("pass word"));
    rule(
        &platform,
        "new",
        json!({
            "when": {"condition": "first-time", "scope": "asset"}, "channels": ["ops"],
        }),
    );
    let web = host(&platform, "web-1", json!({}));
    tell(&platform, &web, vec![found("198.51.100.7", 3)]);

    let mails = server.wait_for(1, WITHIN);
    let mail = &mails[0];
    assert_eq!(mail.protection, Protection::Tls);
    assert_eq!(mail.login, Some(("xshield".to_owned(), "pass word".to_owned())));
    assert_eq!(mail.to, ["ops@example.com", "two@example.com"]);
    assert_eq!(mail.header("Auto-Submitted").as_deref(), Some("auto-generated"));
    let text = mail.text();
    for part in [
        "Malicious IP Match",
        "web-1",
        "198.51.100.7",
        "nginx",
        "nginx.service",
        "tcp/443",
        "web/https",
        "blocked",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }

    // Known by now: no further alert.
    tell(&platform, &web, vec![found("198.51.100.7", 3)]);
    judged(&platform);
    assert_eq!(alerts(&platform, "").len(), 1);
    let delivery = eventually("it is recorded", || {
        let delivery = platform.get("/api/v1/deliveries")["items"][0].clone();
        (delivery["state"] == "delivered").then_some(delivery)
    });
    assert_eq!(delivery["attempts"], 1);
    assert!(delivery["answer"].as_str().unwrap().contains("kept"), "{delivery}");
    let id = delivery["id"].as_str().unwrap();
    assert_eq!(mail.header("Message-ID").unwrap(), format!("<{id}@example.com>"));

    // Another server must not get the password.
    let mut elsewhere = settings;
    elsewhere["host"] = json!("mail.example.net");
    let (status, problem) = platform.call(
        "PUT",
        "/api/v1/alert-channels/ops",
        Some(&platform.admin),
        Some(json!({"settings": elsewhere})),
    );
    assert_eq!((status, &problem["field"]), (422, &json!("/secret")));
}

#[test]
fn a_server_without_tls_or_with_a_foreign_certificate_gets_nothing() {
    let platform = platform();
    let identity = Identity::new();
    let plain = smtp(Options::default());
    let foreign = smtp(Options { tls: Some(Identity::new().config), login: None });
    for (name, server) in [("plain", &plain), ("foreign", &foreign)] {
        put(
            &platform,
            &format!("/api/v1/alert-channels/{name}"),
            json!({"settings": {
                "kind": "mail", "host": "localhost", "port": server.address().port(),
                "from": "x@example.com", "to": ["ops@example.com"], "ca": identity.ca,
                "allow_private": true,
            }}),
        );
        let tried = platform.post(&format!("/api/v1/alert-channels/{name}/test"), json!({}));
        assert_eq!(tried["state"], "given-up", "{tried}");
        assert!(server.mails().is_empty());
    }
}

#[test]
fn what_gathers_while_the_server_is_down_leaves_as_one_digest() {
    let platform = platform();
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
    let web = host(&platform, "web-1", json!({}));
    tell(&platform, &web, vec![found("198.51.100.250", 1)]);
    eventually("the first attempt fails", || {
        let channel = platform.get("/api/v1/alert-channels/ops");
        (channel["failures"].as_u64().unwrap() > 0).then_some(())
    });
    let channel = platform.get("/api/v1/alert-channels/ops");
    assert!(channel["last_answer"].as_str().unwrap().contains("not now"), "{channel}");
    assert_eq!(channel["waiting"], 1, "it is in a delivery that waits: {channel}");
    for batch in 0..10_u8 {
        let many = (0..20_u8).map(|last| found(&format!("198.51.{batch}.{last}"), 1)).collect();
        tell(&platform, &web, many);
    }
    judged(&platform);
    server.on_mail(OnMail::Accept);
    let digest = eventually("the digest arrives", || {
        server.mails().into_iter().find(|mail| mail.text().contains("200 alerts"))
    });
    assert!(digest.text().contains("and 100 more rows"), "{}", digest.text());
    assert_eq!(server.mails().len(), 2, "the one that was tried before, and the digest");
    eventually("nothing waits", || {
        (platform.get("/api/v1/alert-channels/ops")["waiting"] == 0).then_some(())
    });
}

#[test]
fn a_kill_between_sending_and_recording_repeats_the_same_mail() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let server = smtp(Options::default());
    server.on_mail(OnMail::AcceptSilently);
    let first: Vec<Mail> = {
        let (platform, _process) = TestPlatform::start_process(dir.clone());
        mail_to(&platform, server.address().port());
        rule(
            &platform,
            "all",
            json!({
                "when": {"condition": "any-match"}, "channels": ["ops"],
            }),
        );
        let web = host(&platform, "web-1", json!({}));
        tell(&platform, &web, vec![found("198.51.100.7", 3)]);
        server.wait_for(1, WITHIN)
    };
    assert_eq!(first.len(), 1);
    server.on_mail(OnMail::Accept);
    let (platform, _process) = TestPlatform::start_process(dir);
    let mails = server.wait_for(2, WITHIN);
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].data, mails[1].data, "the same mail under the same Message-ID");
    let delivery = eventually("it is recorded", || {
        let delivery = platform.get("/api/v1/deliveries")["items"][0].clone();
        (delivery["state"] == "delivered").then_some(delivery)
    });
    assert_eq!(delivery["attempts"], 2);
    assert_eq!(alerts(&platform, "").len(), 1);
}

#[test]
fn webhooks_are_signed_and_repeated_under_the_same_id_until_they_are_taken() {
    let platform = platform();
    let identity = Identity::new();
    let webhook = Webhook::start(&identity);
    "503 Busy".clone_into(&mut webhook.answer.lock().unwrap());
    let url = format!("https://localhost:{}/hook", webhook.address.port());
    let settings = json!({"kind": "webhook", "url": url, "ca": identity.ca});
    put(&platform, "/api/v1/alert-channels/hook", json!({"settings": settings}));
    let tried = platform.post("/api/v1/alert-channels/hook/test", json!({}));
    assert!(tried["answer"].as_str().unwrap().contains("this machine itself"), "{tried}");
    assert!(webhook.posted().is_empty(), "private addresses are not asked unless allowed");

    let mut settings = settings;
    settings["allow_private"] = json!(true);
    let secret = STANDARD.encode([7; 32]);
    put(
        &platform,
        "/api/v1/alert-channels/hook",
        json!({"settings": settings, "secret": format!("whsec_{secret}")}),
    );
    rule(&platform, "all", json!({"when": {"condition": "any-match"}, "channels": ["hook"]}));
    let web = host(&platform, "web-1", json!({}));
    tell(&platform, &web, vec![found("198.51.100.7", 3)]);
    eventually("it is tried", || (!webhook.posted().is_empty()).then_some(()));
    "200 OK".clone_into(&mut webhook.answer.lock().unwrap());
    eventually("it is delivered", || {
        let deliveries = platform.get("/api/v1/deliveries?state=delivered");
        (!deliveries["items"].as_array().unwrap().is_empty()).then_some(())
    });
    let posted = webhook.posted();
    assert!(posted.len() >= 2);
    for one in &posted {
        assert_eq!(one.header("webhook-id"), posted[0].header("webhook-id"));
        assert_eq!(one.body, posted[0].body);
        let timestamp = one.header("webhook-timestamp").parse().unwrap();
        let expected = signature(&[7; 32], &one.header("webhook-id"), timestamp, &one.body);
        assert_eq!(one.header("webhook-signature"), expected);
    }
    let body: Value = serde_json::from_str(&posted[0].body).unwrap();
    assert_eq!(body["type"], "alert.given");
    assert_eq!(body["data"]["alerts"][0]["alert"]["event"]["remote"], "198.51.100.7");
}

#[test]
fn a_webhook_that_asks_to_wait_is_left_alone_and_its_digest_counts_as_waiting() {
    let platform = platform();
    let identity = Identity::new();
    let webhook = Webhook::start(&identity);
    "503 Busy\r\nretry-after: 3000".clone_into(&mut webhook.answer.lock().unwrap());
    let url = format!("https://localhost:{}/hook", webhook.address.port());
    let settings = json!({"kind": "webhook", "url": url, "ca": identity.ca, "allow_private": true});
    put(&platform, "/api/v1/alert-channels/hook", json!({"settings": settings}));
    let every = json!({"when": {"condition": "any-match"}, "channels": ["hook"],
        "throttle_seconds": 0, "delivery": {"mode": "digest", "every_seconds": 1}});
    rule(&platform, "all", every);
    let web = host(&platform, "web-1", json!({}));
    tell(&platform, &web, vec![found("198.51.100.7", 3), found("198.51.100.8", 3)]);
    let channel = eventually("the attempt fails", || {
        let channel = platform.get("/api/v1/alert-channels/hook");
        (channel["failures"].as_u64().unwrap() > 0).then_some(channel)
    });
    let time = |value: &Value| serde_json::from_value::<Timestamp>(value.clone()).unwrap().0;
    let pause = time(&channel["next_attempt"]) - time(&channel["last_failure"]);
    assert_eq!(pause, 3000, "{channel}");
    let said = channel["last_answer"].as_str().unwrap();
    assert!(said.contains("503") && said.contains("wait for 3000 s"), "{said}");
    assert!(!said.contains("feed"), "{said}");
    assert_eq!(channel["waiting"], 2, "{channel}");

    "200 OK".clone_into(&mut webhook.answer.lock().unwrap());
    platform.post("/api/v1/alert-channels/hook/test", json!({}));
    eventually("the digest is delivered", || {
        (platform.get("/api/v1/alert-channels/hook")["waiting"] == 0).then_some(())
    });
}

#[test]
fn no_channel_leads_into_the_platforms_own_network_by_an_operators_word() {
    let platform = platform();
    let user = json!({"name": "op", "password": PASSWORD, "role": "operator"});
    platform.post("/api/v1/users", user);
    let user = json!({"name": "eve", "password": PASSWORD, "role": "viewer"});
    platform.post("/api/v1/users", user);
    let (operator, viewer) = (platform.login("op", PASSWORD), platform.login("eve", PASSWORD));
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = inside.local_addr().unwrap().port();
    let mail = |host: &str, private: bool| {
        json!({"settings": {
            "kind": "mail", "host": host, "port": port, "security": "plain",
            "allow_unencrypted": true, "from": "x@example.com", "to": ["ops@example.com"],
            "allow_private": private,
        }})
    };
    let syslog = |host: &str, transport: &str, private: bool| {
        json!({"settings": {
            "kind": "syslog", "host": host, "port": port, "transport": transport,
            "allow_unencrypted": true, "allow_private": private,
        }})
    };
    let path = "/api/v1/alert-channels/x";
    for (channel, token, told) in [
        (mail("localhost", false), &operator, "this machine itself"),
        (mail("127.0.0.1", false), &operator, "this machine itself"),
        (mail("10.0.0.1", false), &operator, "a private address"),
        (mail("169.254.169.254", false), &operator, "a cloud metadata service"),
        (mail("169.254.169.254", true), &platform.admin, "a cloud metadata service"),
        (syslog("127.0.0.1", "tcp", false), &operator, "this machine itself"),
        (syslog("localhost", "udp", false), &operator, "this machine itself"),
        (syslog("::ffff:127.0.0.1", "tls", false), &operator, "this machine itself"),
        (syslog("169.254.169.254", "tcp", true), &platform.admin, "a cloud metadata service"),
        (syslog("fe80::1", "udp", true), &platform.admin, "a link-local address"),
    ] {
        let (status, answer) = platform.call("PUT", path, Some(token), Some(channel.clone()));
        assert_eq!(status, 200, "{channel}: {answer}");
        let tried = platform.post(&format!("{path}/test"), json!({}));
        assert_eq!(tried["state"], "given-up", "{channel}: {tried}");
        assert!(tried["answer"].as_str().unwrap().contains(told), "{channel}: {tried}");
    }
    inside.set_nonblocking(true).unwrap();
    assert!(inside.accept().is_err(), "nobody has come to the inside");

    for channel in [mail("127.0.0.1", true), syslog("127.0.0.1", "tcp", true)] {
        let (status, answer) = platform.call("PUT", path, Some(&operator), Some(channel));
        assert_eq!((status, &answer["field"]), (403, &json!("/settings/allow_private")));
    }
    let webhook = json!({"settings": {
        "kind": "webhook", "url": "https://127.0.0.1/", "allow_private": true,
    }});
    assert_eq!(platform.call("PUT", path, Some(&operator), Some(webhook)).0, 403);

    // An admin may set such a receiver; only admins see its answers.
    inside.set_nonblocking(false).unwrap();
    let banner = std::thread::spawn(move || {
        let (mut stream, _) = inside.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"554 SECRET-BANNER of an inner service\r\n")
            .unwrap();
    });
    put(&platform, path, mail("127.0.0.1", true));
    // An operator may change its other settings and test it.
    let mut changed = mail("127.0.0.1", true);
    changed["settings"]["to"] = json!(["two@example.com"]);
    assert_eq!(platform.call("PUT", path, Some(&operator), Some(changed)).0, 200);
    let tried = platform.call("POST", &format!("{path}/test"), Some(&operator), Some(json!({})));
    banner.join().unwrap();
    assert_eq!(tried.0, 200, "{}", tried.1);
    let delivery = format!("/api/v1/deliveries/{}", tried.1["id"].as_str().unwrap());
    let seen = platform.get(&delivery).to_string();
    assert!(seen.contains("SECRET-BANNER"), "an admin sees it: {seen}");
    for token in [&operator, &viewer] {
        for page in
            [path, "/api/v1/alert-channels", "/api/v1/deliveries", &delivery, "/api/v1/audit"]
        {
            let (status, seen) = platform.call("GET", page, Some(token), None);
            assert_eq!(status, 200, "{page}");
            assert!(!seen.to_string().contains("SECRET-BANNER"), "{page}: {seen}");
        }
    }
    assert!(!tried.1.to_string().contains("SECRET-BANNER"), "{}", tried.1);
}

#[test]
fn syslog_goes_over_tls_as_cef_and_ocsf() {
    let platform = platform();
    let identity = Identity::new();
    let syslog = Syslog::start(&identity);
    for format in ["cef", "ocsf"] {
        put(
            &platform,
            &format!("/api/v1/alert-channels/{format}"),
            json!({"settings": {
                "kind": "syslog", "host": "localhost", "port": syslog.address.port(),
                "format": format, "ca": identity.ca, "allow_private": true,
            }}),
        );
    }
    rule(
        &platform,
        "all",
        json!({"when": {"condition": "any-match"}, "channels": ["cef", "ocsf"]}),
    );
    let web = host(&platform, "web-1", json!({}));
    let mut nasty = found("198.51.100.7", 3);
    nasty.process = Some("a=b|c\\d\nCEF:0|x".to_owned());
    tell(&platform, &web, vec![nasty]);
    let messages = eventually("both arrive", || {
        let messages = syslog.messages();
        (messages.len() == 2).then_some(messages)
    });
    let cef = messages.iter().find(|message| message.contains("] CEF:0|")).unwrap();
    assert!(cef.starts_with("<132>1 20"), "{cef}");
    assert!(cef.contains("|threat-match|Malicious IP Match|5|rt="), "{cef}");
    assert!(cef.contains("src=198.51.100.7") && cef.contains("dst=192.0.2.10"), "{cef}");
    assert!(cef.contains(r"dproc=a\=b|c\\d\nCEF:0|x"), "{cef}");
    assert_eq!(cef.lines().count(), 1);
    let ocsf = messages.iter().find(|message| message.contains("class_uid")).unwrap();
    let finding: Value = serde_json::from_str(&ocsf[ocsf.find('{').unwrap()..]).unwrap();
    assert_eq!(finding["class_uid"], 2004);
    assert_eq!(finding["evidences"][0]["src_endpoint"]["ip"], "198.51.100.7");
    assert_eq!(finding["disposition"], "Blocked");
}

#[test]
fn rules_narrow_throttle_count_and_gather() {
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
fn a_digest_gathers_until_its_time() {
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
fn names_from_hosts_add_no_header_and_no_line() {
    let platform = platform();
    let server = smtp(Options::default());
    mail_to(&platform, server.address().port());
    rule(&platform, "all", json!({"when": {"condition": "any-match"}, "channels": ["ops"]}));
    let web = host(&platform, "web-1", json!({}));
    let mut nasty = found("198.51.100.7", 1);
    nasty.process = Some("x\r\nBcc: evil@example.net\r\n\r\n.\r\nDATA\u{202e}".to_owned());
    tell(&platform, &web, vec![nasty]);
    let mails = server.wait_for(1, WITHIN);
    assert_eq!(mails[0].to, ["ops@example.com"]);
    assert_eq!(mails[0].header("Bcc"), None);
    assert!(!mails[0].text().lines().any(|line| line.starts_with("Bcc:")));
    assert_eq!(mails.len(), 1);
}

#[test]
fn losses_alarm_once_a_loss() {
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
fn damaged_rows_hold_nothing_up() {
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
fn what_was_told_as_it_happened_is_alerted_once_and_counted_once() {
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
