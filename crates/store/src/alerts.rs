//! Alert rules, their state, and the alerts that they raised.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::alert::Alert;
use xshield_model::alert_memory::Memory;
use xshield_model::alert_rule::AlertRule;

use super::events::bounded;
use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, Row, StoreResult, from_json, rows, to_json};

/// Subjects kept per rule.
const MOST_SUBJECTS: i64 = 50_000;
/// Alerts kept, besides those that wait for a channel.
const MOST_ALERTS: i64 = 200_000;

/// A rule with its name.
#[derive(Debug, Clone)]
pub struct StoredRule {
    /// Its name.
    pub name: String,
    /// Its definition.
    pub rule: AlertRule,
    /// When it was created or replaced.
    pub created_at: Timestamp,
    /// The creator.
    pub created_by: String,
}

/// All rules, by name. One that is unreadable is skipped and logged.
///
/// # Errors
/// When the database fails.
pub async fn rules(conn: &mut Conn) -> StoreResult<Vec<StoredRule>> {
    let rows = sqlx::query("SELECT * FROM alert_rule ORDER BY name")
        .fetch_all(conn)
        .await
        .doing("read alert rules")?;
    Ok(rows::readable("alert rules", &rows, stored_rule))
}

/// One rule.
///
/// # Errors
/// When the database fails.
pub async fn rule(conn: &mut Conn, name: &str) -> StoreResult<Option<StoredRule>> {
    let row = sqlx::query("SELECT * FROM alert_rule WHERE name = $1")
        .bind(name)
        .fetch_optional(conn)
        .await
        .doing("read an alert rule")?;
    row.as_ref().map(stored_rule).transpose()
}

/// Creates or replaces a rule. Its state is deleted.
///
/// # Errors
/// When the database fails.
pub async fn put_rule(conn: &mut Conn, stored: &StoredRule) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO alert_rule (name, document, created_at, created_by) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (name) DO UPDATE SET document = excluded.document, \
         created_at = excluded.created_at, created_by = excluded.created_by",
    )
    .bind(&stored.name)
    .bind(to_json(&stored.rule)?)
    .bind(stored.created_at.0)
    .bind(&stored.created_by)
    .execute(&mut *conn)
    .await
    .doing("write an alert rule")?;
    sqlx::query("DELETE FROM alert_memory WHERE rule = $1")
        .bind(&stored.name)
        .execute(conn)
        .await
        .doing("delete the state of an alert rule")?;
    Ok(())
}

/// Deletes a rule; `false` when there is none.
///
/// # Errors
/// When the database fails.
pub async fn delete_rule(conn: &mut Conn, name: &str) -> StoreResult<bool> {
    let done = sqlx::query("DELETE FROM alert_rule WHERE name = $1")
        .bind(name)
        .execute(conn)
        .await
        .doing("delete an alert rule")?;
    Ok(done.rows_affected() > 0)
}

/// The state of a rule for a subject.
///
/// # Errors
/// When the database fails. Unreadable state counts as none.
pub async fn memory(conn: &mut Conn, rule: &str, subject: &str) -> StoreResult<Memory> {
    let row = sqlx::query("SELECT * FROM alert_memory WHERE rule = $1 AND subject = $2")
        .bind(rule)
        .bind(subject)
        .fetch_optional(conn)
        .await
        .doing("read the state of an alert rule")?;
    let memory = |row: &Row| {
        Ok(Memory {
            counts: from_json(row.col("counts")?)?,
            last_alert: row.maybe_time("last_alert")?,
            withheld: row.count("withheld")?,
        })
    };
    Ok(rows::readable("memory of alert rules", row.as_slice(), memory).pop().unwrap_or_default())
}

/// Stores the state of a rule for a subject.
///
/// # Errors
/// When the database fails.
pub async fn remember(
    conn: &mut Conn,
    rule: &str,
    subject: &str,
    memory: &Memory,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO alert_memory (rule, subject, counts, last_alert, withheld, touched_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (rule, subject) DO UPDATE SET \
         counts = excluded.counts, last_alert = excluded.last_alert, \
         withheld = excluded.withheld, touched_at = excluded.touched_at",
    )
    .bind(rule)
    .bind(subject)
    .bind(to_json(&memory.counts)?)
    .bind(memory.last_alert.map(|at| at.0))
    .bind(bounded(memory.withheld))
    .bind(now.0)
    .execute(conn)
    .await
    .doing("store the state of an alert rule")?;
    Ok(())
}

/// Deletes the state of a rule for a subject.
///
/// # Errors
/// When the database fails.
pub async fn forget_subject(conn: &mut Conn, rule: &str, subject: &str) -> StoreResult<()> {
    sqlx::query("DELETE FROM alert_memory WHERE rule = $1 AND subject = $2")
        .bind(rule)
        .bind(subject)
        .execute(conn)
        .await
        .doing("delete the state of an alert rule")?;
    Ok(())
}

/// The subjects of each rule, the time of the last alert, and the number of withheld matches of all subjects
/// since then.
///
/// # Errors
/// When the database fails.
pub async fn withheld(conn: &mut Conn) -> StoreResult<BTreeMap<String, u64>> {
    let rows = sqlx::query(concat!(
        "SELECT rule, ",
        total!("withheld"),
        " AS withheld FROM alert_memory GROUP BY rule"
    ))
    .fetch_all(conn)
    .await
    .doing("count withheld alerts")?;
    let of_rule = |row: &Row| Ok((row.col("rule")?, row.count("withheld")?));
    Ok(rows::readable("withheld alerts", &rows, of_rule).into_iter().collect())
}

/// An alert with its number.
#[derive(Debug, Clone)]
pub struct StoredAlert {
    /// Increases with every alert.
    pub id: i64,
    /// Its content.
    pub alert: Alert,
}

/// Stores an alert; returns its number.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, alert: &Alert, subject: &str) -> StoreResult<i64> {
    let event = alert.event.as_ref();
    let row = sqlx::query(
        "INSERT INTO alert (at, rule, kind, subject, asset, remote, withheld, body) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id",
    )
    .bind(alert.at.0)
    .bind(&alert.rule)
    .bind(alert.kind.as_str())
    .bind(subject)
    .bind(event.map_or("", |event| event.asset.as_str()))
    .bind(event.map(|event| event.remote.to_string()).unwrap_or_default())
    .bind(bounded(alert.withheld))
    .bind(to_json(alert)?)
    .fetch_one(conn)
    .await
    .doing("record an alert")?;
    row.col("id")
}

/// The filter.
#[derive(Debug, Default)]
pub struct AlertFilter {
    /// Of this rule.
    pub rule: Option<String>,
    /// About this asset, by name.
    pub asset: Option<String>,
    /// About this peer.
    pub remote: Option<std::net::IpAddr>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
}

/// Up to `limit` alerts before the number `before`, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &AlertFilter,
    before: Option<i64>,
    limit: u32,
) -> StoreResult<Vec<StoredAlert>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new("SELECT id, body FROM alert WHERE 1 = 1");
        if let Some(before) = before {
            query.push(" AND id < ").push_bind(before);
        }
        for (column, value) in [
            ("rule", filter.rule.clone()),
            ("asset", filter.asset.clone()),
            ("kind", filter.kind.clone()),
            ("remote", filter.remote.map(|remote| remote.to_canonical().to_string())),
        ] {
            if let Some(value) = value {
                query.push(" AND ").push(column).push(" = ").push_bind(value);
            }
        }
        if let Some(since) = filter.since {
            query.push(" AND at >= ").push_bind(since.0);
        }
        query.push(" ORDER BY id DESC");
        Ok(query)
    };
    rows::page(conn, "alerts", limit, query, stored_alert).await
}

/// The alert of a row.
pub(super) fn stored_alert(row: &Row) -> StoreResult<StoredAlert> {
    Ok(StoredAlert { id: row.col("id")?, alert: from_json(row.col("body")?)? })
}

/// Deletes the state of rules for subjects without a match since `quiet`, and of more subjects than are kept
/// per rule, of those without a match for longest.
///
/// # Errors
/// When the database fails.
pub async fn forget(conn: &mut Conn, quiet: Timestamp) -> StoreResult<()> {
    sqlx::query("DELETE FROM alert_memory WHERE touched_at < $1")
        .bind(quiet.0)
        .execute(&mut *conn)
        .await
        .doing("delete the state of alert rules of quiet subjects")?;
    let many: Vec<String> =
        sqlx::query_scalar("SELECT rule FROM alert_memory GROUP BY rule HAVING count(*) > $1")
            .bind(MOST_SUBJECTS)
            .fetch_all(&mut *conn)
            .await
            .doing("find alert rules that remember many subjects")?;
    for rule in many {
        sqlx::query(
            "DELETE FROM alert_memory WHERE rule = $1 AND subject IN (SELECT subject \
             FROM alert_memory WHERE rule = $1 ORDER BY touched_at DESC, subject \
             LIMIT 1000000000 OFFSET $2)",
        )
        .bind(rule)
        .bind(MOST_SUBJECTS)
        .execute(&mut *conn)
        .await
        .doing("delete the state of alert rules of quiet subjects")?;
    }
    // One rule raises a thousand an hour at most.
    sqlx::query(
        "DELETE FROM alert WHERE id IN (SELECT id FROM alert ORDER BY id DESC \
         LIMIT 5000 OFFSET $1) \
         AND NOT EXISTS (SELECT 1 FROM alert_notice n WHERE n.alert_id = alert.id)",
    )
    .bind(MOST_ALERTS)
    .execute(conn)
    .await
    .doing("delete old alerts")?;
    Ok(())
}

fn stored_rule(row: &Row) -> StoreResult<StoredRule> {
    Ok(StoredRule {
        name: row.col("name")?,
        rule: from_json(row.col("document")?)?,
        created_at: row.time("created_at")?,
        created_by: row.col("created_by")?,
    })
}
