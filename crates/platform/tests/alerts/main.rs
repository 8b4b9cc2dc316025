//! Alerts from a host's report to the receivers: mail, webhook, syslog.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod mail;
mod rules;
mod servers;
#[path = "../support/mod.rs"]
mod support;

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use support::{TestHost, TestPlatform, eventually, report};
use xshield_lab::smtp::{Options, SmtpServer};
use xshield_wire::message::*;
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
