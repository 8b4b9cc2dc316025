//! Alerts to webhooks and syslog servers, and which servers may be reached.

use std::net::TcpListener;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use xshield_alerting::webhook::signature;
use xshield_model::Timestamp;

use crate::support::matches::{found, host};
use crate::support::receivers::{Identity, Syslog, Webhook};
use crate::support::{PASSWORD, eventually};
use crate::{platform, put, rule, tell};

#[test]
fn webhooks_are_signed_and_retried_with_the_same_id_until_accepted() {
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
fn a_webhooks_retry_after_is_respected_and_its_digest_counts_as_waiting() {
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
fn operators_cannot_create_channels_into_the_platforms_network() {
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
fn syslog_is_sent_over_tls_as_cef_and_ocsf() {
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
