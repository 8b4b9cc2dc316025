//! Channels, alert rules, alerts, deliveries and access logs on the command line.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use support::matches::{found, host};
use support::{TestHost, TestPlatform, eventually, report};
use xshield_lab::smtp::{Options, SmtpServer};
use xshield_wire::message::*;
use xshield_wire::threat::ThreatReport;

struct Operator<'a> {
    platform: &'a TestPlatform,
    home: tempfile::TempDir,
}

impl Operator<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        let ca = self.home.path().join("ca.pem");
        fs::write(&ca, self.platform.ca_pem()).unwrap();
        Command::new(env!("CARGO_BIN_EXE_xshield"))
            .args(arguments)
            .env_clear()
            .env("XSHIELD_URL", format!("https://{}", self.platform.address))
            .env("XSHIELD_TOKEN", &self.platform.admin)
            .env("XSHIELD_CA", ca)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn good(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        let err = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{arguments:?}: {err}");
        println!(
            "$ xshield {}\n{}{err}",
            arguments.join(" "),
            String::from_utf8_lossy(&done.stdout)
        );
        String::from_utf8(done.stdout).unwrap()
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], reason: &str) {
        let done = self.run(arguments);
        let err = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {err}");
        assert!(err.contains(reason), "{reason:?} is not in: {err}");
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

fn listed_host(platform: &TestPlatform, operator: &Operator<'_>) -> TestHost {
    let feed = operator.file("feed.txt", b"203.0.113.0/25\n");
    platform.post(
        "/api/v1/threat/feeds",
        json!({"name": "drop", "settings": {
            "source": {"file": feed}, "format": {"plain": {"levels": null}}, "confidence": 90,
        }}),
    );
    eventually("the feed is in force", || {
        let found = platform.post("/api/v1/threat/look-up", json!({"addresses": ["203.0.113.7"]}));
        (!found["items"].as_array().unwrap().is_empty()).then_some(())
    });
    host(platform, "web-1", json!({"business_value": "high"}))
}

#[test]
fn a_channel_is_created_and_delivers_an_alert() {
    let platform = TestPlatform::start();
    let operator = Operator { platform: &platform, home: tempfile::tempdir().unwrap() };
    let host = listed_host(&platform, &operator);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = SmtpServer::start(listener, Options::default()).unwrap();
    let port = server.address().port().to_string();
    let mail = [
        "channel",
        "mail",
        "ops",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
        "--security",
        "plain",
        "--from",
        "xshield@example.com",
        "--to",
        "ops@example.com",
    ];
    operator.refused(&mail, "allow_unencrypted");
    operator.good(&[&mail[..], &["--allow-unencrypted", "--allow-private"]].concat());
    assert!(operator.good(&["channel", "test", "ops"]).contains("kept"));
    assert_eq!(server.mails().len(), 1);
    let shown = operator.good(&["channel", "webhook", "soc", "--url", "https://soc.example.com/x"]);
    assert!(shown.starts_with("whsec_"), "{shown}");
    assert!(!operator.good(&["channel", "show", "soc"]).contains("whsec_"));
    operator.refused(&["channel", "webhook", "x", "--url", "http://soc.example.com/"], "https URL");
    operator.good(&["channel", "syslog", "siem", "--host", "siem.example.com"]);
    operator.good(&["channel", "delete", "siem"]);

    operator.refused(
        &["alert", "rule", "set", "x", "--when", "any-match", "--channel", "nobody"],
        "there is no channel",
    );
    operator.good(&[
        "alert",
        "rule",
        "set",
        "critical",
        "--when",
        "first-time-for-asset",
        "--where",
        "business_value = 'high'",
        "--channel",
        "ops",
    ]);
    operator.good(&[
        "alert",
        "rule",
        "set",
        "flood",
        "--when",
        "threshold",
        "--at-least",
        "1000",
        "--within",
        "10min",
        "--per",
        "asset",
        "--channel",
        "ops",
        "--digest",
        "1h",
    ]);
    operator.good(&["alert", "rule", "list"]);
    let batch = report(ReportBody::Threats(ThreatReport {
        matches: vec![found("203.0.113.7", 12)],
        lost: 0,
    }));
    assert_eq!(host.report(&platform, &batch).status, 200);
    let mails = server.wait_for(2, Duration::from_secs(30));
    println!("{}", mails[1].text());
    assert!(mails[1].text().contains("drop: 203.0.113.0/25 (90 %)"));
    assert!(operator.good(&["alert", "list"]).contains("203.0.113.7"));
    eventually("it is recorded", || {
        let listed = operator.good(&["delivery", "list", "--state", "delivered", "--json"]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        (listed["items"].as_array().unwrap().len() == 2).then_some(())
    });
    operator.good(&["delivery", "list"]);
    operator.good(&["channel", "list"]);
    operator.good(&["threat", "events"]);
    operator.good(&["threat", "address", "203.0.113.7"]);
    operator.refused(&["channel", "delete", "ops"], "uses it");
}

fn line(client: &str) -> String {
    format!(
        "10.0.0.1 - - [21/Nov/2026:05:00:00 +0000] \"GET /login HTTP/1.1\" 200 5 \"-\" \"curl\" \
         \"{client}\"\n"
    )
}

#[test]
fn repeated_scans_of_a_log_count_each_line_once() {
    let platform = TestPlatform::start();
    let operator = Operator { platform: &platform, home: tempfile::tempdir().unwrap() };
    listed_host(&platform, &operator);
    let (bad, good) = (line("1.1.1.1, 203.0.113.9"), line("198.51.100.1"));
    let log = operator.file("access.log", format!("{bad}{good}{bad}nonsense\n").as_bytes());
    let state = operator.home.path().join("state").display().to_string();
    let scan = ["threat", "scan-log", &log, "--trusted-proxy", "10.0.0.0/8"];
    let shown = operator.good(&scan);
    assert!(shown.contains("203.0.113.9") && shown.contains("drop"), "{shown}");
    let requests = || {
        let events = platform.get("/api/v1/threat/events?via_proxy=only");
        events["items"].as_array().unwrap().iter().map(|one| one["packets"].as_u64().unwrap()).sum()
    };
    let none: u64 = requests();
    assert_eq!(none, 0, "nothing is reported unless asked");

    let report = [&scan[..], &["--report", "--asset", "web-1", "--state", &state]].concat();
    for _ in 0..2 {
        operator.good(&report);
        assert_eq!(requests(), 2_u64);
    }
    let append = |text: &str| {
        let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append(bad.trim_end());
    operator.good(&report);
    assert_eq!(requests(), 2_u64, "the line has no end yet");
    append("\n");
    operator.good(&report);
    assert_eq!(requests(), 3_u64);

    // Killed after the platform had counted the batch, before the state was saved.
    let before = fs::read_to_string(&state).unwrap();
    let mut pending: Value = serde_json::from_str(&before).unwrap();
    append(&bad);
    let to = fs::metadata(&log).unwrap().len();
    pending["pending"] = json!({"to": to, "batch": "AAECAwQFBgcICQoLDA0ODw=="});
    for _ in 0..2 {
        fs::write(&state, pending.to_string()).unwrap();
        operator.good(&report);
        assert_eq!(requests(), 4_u64);
    }
    // Rotated: another file with the same name.
    fs::write(&log, line("203.0.113.10").repeat(5)).unwrap();
    operator.good(&report);
    assert_eq!(requests(), 9_u64);

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bad.as_bytes()).unwrap();
    packed.write_all(&vec![b'x'; 1 << 20]).unwrap();
    packed.write_all(format!("\n{bad}").as_bytes()).unwrap();
    let packed = operator.file("access.log.1.gz", &packed.finish().unwrap());
    let scan = ["threat", "scan-log", &packed, "--trusted-proxy", "10.0.0.0/8", "--json"];
    let found: Value = serde_json::from_str(&operator.good(&scan)).unwrap();
    assert_eq!((&found["lines"], &found["refused"]), (&json!(3), &json!(1)));
    assert_eq!(found["matches"][0]["requests"], 2);
    operator.refused(&[&scan[..], &["--state", &state]].concat(), "plain file");
    operator.file("state", b"{");
    operator.refused(&report, "not a state file of a scan");
}
