//! The audit log. An entry is added in the transaction of the change that it describes.

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::audit_entry::AuditEntry;

use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, Row, StoreResult, contains, rows};

/// An entry to be added.
#[derive(Debug)]
pub struct NewAuditEntry<'a> {
    /// The actor: `user:NAME` or `host:ASSET`.
    pub actor: &'a str,
    /// The action, e.g. `policy.synchronize`.
    pub action: &'static str,
    /// The target.
    pub target: &'a str,
    /// The state before.
    pub before: String,
    /// The state after.
    pub after: String,
}

/// The filter.
#[derive(Debug, Default)]
pub struct AuditFilter {
    /// The actor.
    pub actor: Option<String>,
    /// The action or its beginning.
    pub action: Option<String>,
    /// Part of the target.
    pub target: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
}

/// Adds an entry.
///
/// # Errors
/// When the database fails.
pub async fn record(
    conn: &mut Conn,
    new_entry: NewAuditEntry<'_>,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO audit (at, actor, action, target, before, after) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(now.0)
    .bind(new_entry.actor)
    .bind(new_entry.action)
    .bind(new_entry.target)
    .bind(new_entry.before)
    .bind(new_entry.after)
    .execute(conn)
    .await
    .doing("write the audit log")?;
    Ok(())
}

/// Up to `limit` entries older than `before`, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &AuditFilter,
    before: Option<i64>,
    limit: u32,
) -> StoreResult<Vec<AuditEntry>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new("SELECT * FROM audit WHERE 1 = 1");
        let part = |query: &mut QueryBuilder<Db>, column: &str, part: &str| {
            query.push(" AND lower(").push(column).push(") LIKE ").push_bind(contains(part));
            query.push(" ESCAPE '\\'");
        };
        if let Some(before) = before {
            query.push(" AND id < ").push_bind(before);
        }
        if let Some(actor) = &filter.actor {
            query.push(" AND actor = ").push_bind(actor.clone());
        }
        if let Some(action) = &filter.action {
            part(&mut query, "action", action);
        }
        if let Some(target) = &filter.target {
            part(&mut query, "target", target);
        }
        if let Some(since) = filter.since {
            query.push(" AND at >= ").push_bind(since.0);
        }
        query.push(" ORDER BY id DESC");
        Ok(query)
    };
    rows::page(conn, "audit log", limit, query, entry).await
}

fn entry(row: &Row) -> StoreResult<AuditEntry> {
    Ok(AuditEntry {
        id: row.col("id")?,
        at: row.time("at")?,
        actor: row.col("actor")?,
        action: row.col("action")?,
        target: row.col("target")?,
        before: row.col("before")?,
        after: row.col("after")?,
    })
}
