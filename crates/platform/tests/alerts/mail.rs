//! Alerts by mail.

use std::sync::Arc;

use serde_json::json;
use xshield_lab::smtp::{Mail, OnMail, Options, Protection};

use crate::support::matches::{found, host};
use crate::support::receivers::Identity;
use crate::support::{TestPlatform, eventually};
use crate::{WITHIN, alerts, judged, mail_to, platform, put, rule, smtp, tell};

#[test]
fn a_mail_is_sent_over_starttls_with_a_login_and_all_details() {
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
fn alerts_collected_during_an_outage_are_sent_as_one_digest() {
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
fn names_from_hosts_cannot_add_headers_or_lines() {
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
