//! Intake of reports: counted once although stored in parts, within budgets, after interactive requests.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sqlx::AssertSqlSafe;
use support::reports::{event, hits, programmed};
use support::{TestHost, TestPlatform, eventually, report};
use xshield_server::intake::budget::Grant;
use xshield_wire::message::*;

/// Reads the database while the platform runs.
fn count(data: &Path, sql: &str) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("xshield.db"));
        let pool = sqlx::sqlite::SqlitePoolOptions::new().connect_with(options).await.unwrap();
        let query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql.to_owned()));
        let found = query.fetch_one(&pool).await.unwrap();
        pool.close().await;
        found
    })
}

fn begun(data: &Path) -> bool {
    count(data, "SELECT count(*) FROM batch WHERE stored > 0") > 0
}

/// This many events on a few flows.
fn events(number: usize) -> ReportBody {
    let events = (0..number).map(|at| {
        let mut event = event(u16::try_from(at % 4).unwrap(), 1);
        // Too many equal values would be taken for a decompression bomb.
        event.bytes = (at as u64).wrapping_mul(0x9e37_79b9) % 1_000_003;
        event
    });
    ReportBody::Events(EventReport { events: events.collect(), lost: 3 })
}

fn packed(report: &Report) -> Vec<u8> {
    zstd::bulk::compress(&serde_json::to_vec(report).unwrap(), 1).unwrap()
}

/// A signed report, and a thread that sends it concurrently.
fn send_beside(
    platform: &TestPlatform,
    host: &TestHost,
    report: &Report,
) -> std::thread::JoinHandle<Option<u16>> {
    let body = packed(report);
    let path = "/host/v1/reports";
    let headers = host.headers("POST", path, &body, support::now());
    let client = platform.client();
    std::thread::spawn(move || {
        // The platform may be stopped in between.
        let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            client.raw("POST", path, &headers, &body).status
        }));
        sent.ok()
    })
}

#[test]
fn a_report_interrupted_by_a_kill_is_counted_once() {
    const EVENTS: usize = 40_000;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let (platform, child) = TestPlatform::start_process(dir.clone());
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    let batch = report(events(EVENTS));
    let sent = send_beside(&platform, &host, &batch);
    eventually("a part of it is stored", || begun(&platform.data_dir()).then_some(()));
    drop(child);
    assert_eq!(sent.join().unwrap(), None, "it was not acknowledged");
    let data = platform.data_dir();
    let stored = count(&data, "SELECT COALESCE(sum(packets), 0) FROM firewall_event");
    let noted = count(&data, "SELECT stored FROM batch");
    assert_eq!(stored, noted, "rows and progress are one");
    assert!(stored < i64::try_from(EVENTS).unwrap(), "{stored}: it was cut in two");

    let (platform, _child) = TestPlatform::start_process(dir);
    for _ in 0..2 {
        let answer = host.send(&platform, "POST", "/host/v1/reports", &packed(&batch));
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
    let listed = platform.get("/api/v1/assets/h/events");
    let packets = listed["items"].as_array().unwrap().iter();
    let packets: u64 = packets.map(|event| event["packets"].as_u64().unwrap()).sum();
    assert_eq!(packets, EVENTS as u64);
    assert_eq!(platform.get("/api/v1/assets/h")["events_lost"], 3);
}

#[test]
fn check_ins_and_sign_ins_take_priority_over_reports() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let [mut busy, mut other] = ["busy", "other"].map(|name| TestHost::new(name, &key));
    busy.sign_in(&platform);
    other.sign_in(&platform);
    let sent = send_beside(&platform, &busy, &report(events(100_000)));
    eventually("a part of it is stored", || begun(&platform.data_dir()).then_some(()));
    for round in 0..3 {
        other.check_in(&platform);
        platform.login("admin", support::PASSWORD);
        TestHost::new(&format!("new-{round}"), &key).sign_in(&platform);
        let small = report(ReportBody::Events(EventReport { events: vec![event(1, 1)], lost: 0 }));
        assert_eq!(other.report(&platform, &small).status, 200);
        assert!(begun(&platform.data_dir()), "all of that was done before the end of the report");
    }
    assert_eq!(sent.join().unwrap(), Some(200));
}

#[test]
fn a_report_is_stored_completely_even_if_its_host_disconnects() {
    let platform = TestPlatform::start_with(|settings| settings.flows_per_asset = 100);
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    let events = (0..20_000).map(|port| event(port, 1)).collect();
    let batch = report(ReportBody::Events(EventReport { events, lost: 0 }));
    let body = serde_json::to_vec(&batch).unwrap();
    let headers = host.headers("POST", "/host/v1/reports", &body, support::now());
    platform.client().send_and_leave("/host/v1/reports", &headers, &body, || {
        eventually("a part of it is stored", || begun(&platform.data_dir()).then_some(()));
    });
    let flows = "SELECT count(*) FROM firewall_event";
    eventually("only what is kept is left", || {
        let whole = "SELECT count(*) FROM batch WHERE stored IS NULL";
        let data = platform.data_dir();
        (count(&data, whole) == 1 && count(&data, flows) == 100).then_some(())
    });
}

#[test]
fn each_host_has_its_own_budget() {
    let platform = TestPlatform::start_with(|settings| {
        settings.report_items = Grant { per_second: 500, most: 100 };
    });
    let key = platform.new_key();
    let [mut busy, mut other] = ["busy", "other"].map(|name| TestHost::new(name, &key));
    busy.sign_in(&platform);
    other.sign_in(&platform);
    let small = || report(ReportBody::Events(EventReport { events: vec![event(1, 1)], lost: 0 }));
    let body = serde_json::to_vec(&report(events(1_600))).unwrap();
    assert_eq!(busy.send(&platform, "POST", "/host/v1/reports", &body).status, 200, "any fits");
    let kept = small();
    let refused = busy.report(&platform, &kept);
    assert_eq!((refused.status, refused.problem().as_str()), (429, "too-many-requests"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&wait), "{wait}");
    assert_eq!(other.report(&platform, &small()).status, 200);
    busy.check_in(&platform);
    eventually("what was kept is taken later", || {
        (busy.report(&platform, &kept).status == 200).then_some(())
    });
}

#[test]
fn stored_data_of_a_host_is_limited_and_long_texts_are_truncated_and_marked() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    host.check_in(&platform);
    let many = |from: usize| (from..from + 15_000).map(|at| hits(&format!("a/r{at}"), 1)).collect();
    let text = "add rule inet xshield in accept\n".repeat(80_000);
    // All at one time: rank decides, not time.
    let mut bodies = [programmed(many(0), Some(text)), programmed(many(15_000), None)].map(report);
    bodies.iter_mut().for_each(|report| report.created = support::now());
    for report in &bodies {
        let body = serde_json::to_vec(report).unwrap();
        let answer = host.send(&platform, "POST", "/host/v1/reports", &body);
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
    assert_eq!(count(&platform.data_dir(), "SELECT count(*) FROM rule_hits"), 20_000);
    let shown = platform.get("/api/v1/assets/h/programmed")["report"]["text"].clone();
    let shown = shown.as_str().unwrap();
    assert!(shown.len() <= (1 << 20) + 100, "{}", shown.len());
    assert!(shown.ends_with(" more bytes\n") && shown.contains("\n# cut here: "));
    let told = platform.get("/api/v1/assets/h/problems").to_string();
    assert!(told.contains("left-out") && told.contains("table"), "{told}");

    let mut long = event(9, 1);
    long.process = Some("p".repeat(5_000));
    let batch = report(ReportBody::Events(EventReport { events: vec![long], lost: 0 }));
    let body = serde_json::to_vec(&batch).unwrap();
    assert_eq!(host.send(&platform, "POST", "/host/v1/reports", &body).status, 200);
    let process = platform.get("/api/v1/events")["items"][0]["process"].clone();
    let process = process.as_str().unwrap();
    assert!(process.len() <= 512 && process.ends_with('…'), "{process}");
    let (status, answer) = platform.call("DELETE", "/api/v1/assets/h", Some(&platform.admin), None);
    assert!(status < 300, "{answer}");
    for table in ["rule_hits", "firewall_event", "batch", "programmed"] {
        let left = count(&platform.data_dir(), &format!("SELECT count(*) FROM {table}"));
        assert_eq!(left, 0, "{table}");
    }
    assert_eq!(platform.get("/api/v1/assets")["items"], json!([]));
}
