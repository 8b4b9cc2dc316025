//! Data of one host, and damage to it, affect only this host: lists, jobs and deletion continue to work.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};
use support::matches::{found, host};
use support::reports::{event, every_kind};
use support::{TestHost, TestPlatform, eventually, report};
use xshield_wire::message::*;
use xshield_wire::threat::ThreatReport;

/// The greatest stored count.
const MOST: u64 = 1 << 53;
/// The sum of so many exceeds 64 bits.
const TOO_MANY: usize = 1025;

fn tell(platform: &TestPlatform, host: &TestHost, bodies: Vec<ReportBody>) {
    for body in bodies {
        // Not compressed: so many equal items would be taken for a decompression bomb.
        let body = serde_json::to_vec(&report(body)).unwrap();
        let answer = host.send(platform, "POST", "/host/v1/reports", &body);
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
}

fn put(platform: &TestPlatform, path: &str, body: Value) {
    let (status, answer) = platform.call("PUT", path, Some(&platform.admin), Some(body));
    assert_eq!(status, 200, "{answer}");
}

/// A rule that raises an alert for every match, with a channel whose receiver does not exist.
fn every_match_alerts(platform: &TestPlatform) {
    let settings = json!({
        "kind": "mail", "host": "127.0.0.1", "port": 1, "security": "plain",
        "allow_unencrypted": true, "allow_private": true, "from": "x@example.com", "to": ["ops@example.com"],
    });
    put(platform, "/api/v1/alert-channels/ops", json!({ "settings": settings }));
    let rule = json!({"when": {"condition": "any-match"}, "channels": ["ops"]});
    put(platform, "/api/v1/alert-rules/any", rule);
}

fn alerts_of(platform: &TestPlatform, asset: &str) -> usize {
    let listed = platform.get(&format!("/api/v1/alerts?asset={asset}"));
    listed["items"].as_array().unwrap().len()
}

#[test]
fn counters_saturate_without_errors() {
    let platform = TestPlatform::start();
    every_match_alerts(&platform);
    let hostile = host(&platform, "hostile", json!({}));
    tell(&platform, &hostile, every_kind(u64::MAX, TOO_MANY));
    eventually("matches are judged", || (alerts_of(&platform, "hostile") > 0).then_some(()));

    let count = json!(MOST);
    for (path, field) in [
        ("/api/v1/events", "packets"),
        ("/api/v1/paths", "connections"),
        ("/api/v1/threat/events", "packets"),
    ] {
        assert_eq!(platform.get(path)["items"][0][field], count, "{path}");
    }
    let met = platform.get("/api/v1/threat/addresses/203.0.113.7");
    assert!(met.to_string().contains(&MOST.to_string()), "{met}");
    assert_eq!(platform.get("/api/v1/assets/hostile/programmed")["hits"][0]["packets"], count);
    for asset in ["/api/v1/assets/hostile", "/api/v1/assets"] {
        platform.get(asset);
    }
    platform.get("/api/v1/threat/losses");
    platform.get("/api/v1/alert-rules");

    let platform = platform.restart();
    let other = host(&platform, "other", json!({}));
    let matches = vec![found("203.0.113.8", 1)];
    tell(&platform, &other, vec![ReportBody::Threats(ThreatReport { matches, lost: 0 })]);
    eventually("alerts go on", || (alerts_of(&platform, "other") > 0).then_some(()));
    let health = platform.get("/api/v1/health");
    assert_eq!(health["not_ready"], Value::Null);
    let jobs = health["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 8, "{health}");
    assert!(jobs.iter().all(|job| job["restarts"] == 0 && job["standing"] == "running"));
    let (status, answer) =
        platform.call("DELETE", "/api/v1/assets/hostile", Some(&platform.admin), None);
    assert!(status < 300, "{status} {answer}");
    assert_eq!(platform.get("/api/v1/assets")["items"].as_array().unwrap().len(), 1);
}

/// Counters at and near the limits of everything that stores or adds them.
fn counter() -> impl Strategy<Value = u64> {
    let edges = [0, 1, 1 << 31, 1 << 32, MOST - 1, MOST, MOST + 1, 1 << 62, 1 << 63, u64::MAX];
    (prop::sample::select(edges.to_vec()), -1_i64..=1)
        .prop_map(|(edge, off)| edge.saturating_add_signed(off))
}

#[test]
fn extreme_counters_do_not_break_lists_alerts_or_deletion() {
    let platform = TestPlatform::start_with(|settings| settings.sessions_per_second = 1000);
    every_match_alerts(&platform);
    let lists = lists(&platform);
    let number = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 16,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&prop::collection::vec((counter(), 1_usize..40), 1..5), |told| {
        number.set(number.get() + 1);
        let name = format!("h{}", number.get());
        let teller = host(&platform, &name, json!({}));
        let mut sum = 0_u64;
        for (count, times) in told {
            tell(&platform, &teller, every_kind(count, times));
            for _ in 0..times {
                sum = sum.saturating_add(count.min(MOST)).min(MOST);
            }
        }
        for path in lists.iter().filter(|path| !path.contains("/assets/b")) {
            let headers = [("authorization".to_owned(), format!("Bearer {}", platform.admin))];
            let answer = platform.raw("GET", path, &headers, b"");
            prop_assert!(answer.status < 500, "{}: {}", path, answer.json());
        }
        let events = platform.get(&format!("/api/v1/assets/{name}/events"));
        prop_assert_eq!(&events["items"][0]["packets"], &json!(sum));
        eventually("it alerts", || (alerts_of(&platform, &name) > 0).then_some(()));
        let path = format!("/api/v1/assets/{name}");
        let (status, answer) = platform.call("DELETE", &path, Some(&platform.admin), None);
        prop_assert!(status < 300, "{}", answer);
        Ok(())
    });
    outcome.unwrap();
    let health = platform.get("/api/v1/health");
    assert_eq!(health["damaged"], json!([]), "{health}");
}

/// Tables whose rows come from hosts or are created for them.
const TABLES: [&str; 28] = [
    "active_path",
    "agent_event",
    "alert",
    "alert_memory",
    "asset",
    "asset_address",
    "asset_claim",
    "asset_configuration",
    "asset_tag",
    "audit",
    "command_job",
    "command_target",
    "debug_log",
    "firewall_event",
    "host_telemetry",
    "listening",
    "live_event",
    "other_identity",
    "problem_history",
    "programmed",
    "refused_check_in",
    "rule_hits",
    "ruleset",
    "software",
    "software_change",
    "threat_asset",
    "threat_event",
    "threat_loss",
];

/// Reads and damages the database while the platform runs.
struct DirectDatabase {
    runtime: tokio::runtime::Runtime,
    conn: SqliteConnection,
}

impl DirectDatabase {
    fn of(platform: &TestPlatform) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(platform.data_dir().join("xshield.db"))
            .foreign_keys(false)
            .busy_timeout(std::time::Duration::from_secs(20));
        let conn = runtime.block_on(SqliteConnection::connect_with(&options)).unwrap();
        Self { runtime, conn }
    }

    fn run(&mut self, sql: String) -> Result<(), sqlx::Error> {
        let query = sqlx::query(AssertSqlSafe(sql)).execute(&mut self.conn);
        self.runtime.block_on(query).map(drop)
    }

    fn columns(&mut self, table: &str) -> Vec<String> {
        let sql = format!("SELECT name FROM pragma_table_info('{table}')");
        let query = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.conn);
        let rows = self.runtime.block_on(query).unwrap();
        rows.iter().map(|row| row.try_get("name").unwrap()).collect()
    }
}

/// Everything that can be listed, and everything about the asset `b`.
fn lists(platform: &TestPlatform) -> Vec<String> {
    let described = platform.get("/api/v1/openapi.json");
    let paths = described["paths"].as_object().unwrap().iter();
    let paths = paths.filter(|(_, item)| item.get("get").is_some()).map(|(path, _)| path);
    let mut lists: Vec<String> = paths
        .map(|path| path.replace("{asset}", "b"))
        .filter(|path| !path.contains('{') && path.starts_with("/api/"))
        // Parameters without a default.
        .filter(|path| !matches!(path.as_str(), "/api/v1/threat/why" | "/api/v1/threat/diff"))
        .collect();
    lists.push("/api/v1/threat/addresses/203.0.113.7".to_owned());
    lists.push("/metrics".to_owned());
    lists
}

#[test]
fn a_damaged_column_affects_no_list_and_no_other_host() {
    let platform = TestPlatform::start_with(|settings| settings.sessions_per_second = 1000);
    every_match_alerts(&platform);
    platform.commit("segment:\n  name: all\n  criteria: role = 'x'\n");
    let mut hosts = ["a", "b"].map(|name| host(&platform, name, json!({"role": "x"})));
    for host in &mut hosts {
        tell(&platform, host, every_kind(3, 1));
        let mut message = host.check_in_message();
        message.problems = vec![Problem { code: "c".to_owned(), text: "t".to_owned() }];
        host.check_in_with(&platform, &message);
    }
    let target = json!({"where": "role = 'x'"});
    platform.post("/api/v1/commands", json!({"kind": "diagnostics", "target": target}));
    eventually("matches are judged", || (alerts_of(&platform, "b") > 0).then_some(()));
    let mut database = DirectDatabase::of(&platform);
    let lists = lists(&platform);
    let status = |path: &str| {
        let headers = [("authorization".to_owned(), format!("Bearer {}", platform.admin))];
        platform.raw("GET", path, &headers, b"").status
    };
    let before: Vec<_> = lists.iter().map(|path| status(path)).collect();
    let (mut wrong, mut damaged) = (Vec::new(), 0);
    for table in TABLES {
        for column in database.columns(table) {
            for value in ["x'ff'", "9.3e18"] {
                let first = format!("rowid = (SELECT min(rowid) FROM {table})");
                let keep = format!(
                    "CREATE TEMP TABLE kept AS SELECT {column} AS value FROM {table} WHERE {first}"
                );
                database.run(keep).unwrap();
                let damage = format!("UPDATE {table} SET {column} = {value} WHERE {first}");
                // Some columns reject the value: then it can't occur in them either.
                if database.run(damage).is_ok() {
                    damaged += 1;
                    for (path, before) in lists.iter().zip(&before) {
                        let after = status(path);
                        if after != *before && after >= 500 {
                            wrong.push(format!("{table}.{column} = {value}: {path} {after}"));
                        }
                    }
                    let b = &mut hosts[1];
                    let message = serde_json::to_vec(&b.check_in_message()).unwrap();
                    let answer = b.send(&platform, "POST", "/host/v1/check-in", &message);
                    if answer.status != 200 {
                        let told = answer.json();
                        wrong.push(format!("{table}.{column} = {value}: check-in {told}"));
                    }
                }
                let mend = if column == "id" || column == "number" {
                    // A row whose key was lost is not found again.
                    format!(
                        "UPDATE {table} SET {column} = (SELECT value FROM kept) \
                             WHERE {column} = {value}"
                    )
                } else {
                    format!("UPDATE {table} SET {column} = (SELECT value FROM kept) WHERE {first}")
                };
                database.run(mend).unwrap();
                database.run("DROP TABLE kept".to_owned()).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {damaged}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(damaged > 200, "{damaged}");
    let met = platform.get("/api/v1/health")["damaged"].to_string();
    assert!(met.contains("\"events\"") && met.contains("asset_name a"), "{met}");
}

#[test]
fn a_page_is_filled_despite_damaged_rows() {
    let platform = TestPlatform::start();
    let told = host(&platform, "h", json!({}));
    let events = (0..9).map(|port| event(port, 1)).collect();
    tell(&platform, &told, vec![ReportBody::Events(EventReport { events, lost: 0 })]);
    let mut database = DirectDatabase::of(&platform);
    database
        .run("UPDATE firewall_event SET bytes = 1e300 WHERE port BETWEEN 3 AND 7".into())
        .unwrap();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = platform.get(&format!("/api/v1/events?limit=2{cursor}"));
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|event| event["port"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(items.len(), 2, "{page}");
        cursor = format!("&cursor={next}");
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 8], "all that can be read");
}
