//! Program events, live events, and detailed logs of hosts: append-only lists with a limit for each asset.

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::live::Live;
use xshield_policy::{AssetId, Revision};
use xshield_wire::telemetry::{AgentEvent, AgentEventKind, DebugLine, DebugLog, LogEnd};

use super::events::bounded;
use super::rows::{Columns as _, unsigned};
use super::{Conn, Db, Doing as _, Row, StoreResult, from_json, from_word, rows, to_json, word};

/// Agent events kept per asset.
const EVENTS_KEPT: i64 = 5000;
/// Live events kept per asset.
const LIVE_KEPT: i64 = 1000;
/// Bytes of detailed logs kept per asset.
const LOG_KEPT: i64 = 8 << 20;

/// An agent event as stored.
#[derive(Debug, Clone)]
pub struct StoredAgentEvent {
    /// Increases with every event that arrives.
    pub number: i64,
    /// The asset's name.
    pub asset: String,
    /// What happened.
    pub event: AgentEvent,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// The filter.
#[derive(Debug, Default)]
pub struct AgentEventFilter {
    /// Of this asset.
    pub asset: Option<AssetId>,
    /// Of this kind.
    pub kind: Option<AgentEventKind>,
    /// Not before, by the host's clock.
    pub since: Option<Timestamp>,
}

/// Adds an event.
///
/// # Errors
/// When the database fails.
pub async fn add(
    conn: &mut Conn,
    asset: &AssetId,
    event: &AgentEvent,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO agent_event (asset_id, kind, text, revision, seconds, at, received_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(asset.as_str())
    .bind(word(&event.kind)?)
    .bind(&event.text)
    .bind(event.revision.map(|revision| bounded(revision.0)))
    .bind(event.seconds.map(bounded))
    .bind(Timestamp::from_unix(event.at).0)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("store an agent event")?;
    Ok(())
}

/// Deletes the oldest of an asset's agent events, live events and log chunks beyond their limits.
///
/// # Errors
/// When the database fails.
pub async fn trim(conn: &mut Conn, asset: &AssetId) -> StoreResult<()> {
    for (text, kept) in [
        (
            "DELETE FROM agent_event WHERE asset_id = $1 AND number <= (SELECT number \
             FROM agent_event WHERE asset_id = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)",
            EVENTS_KEPT,
        ),
        (
            "DELETE FROM live_event WHERE asset_id = $1 AND number <= (SELECT number \
             FROM live_event WHERE asset_id = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)",
            LIVE_KEPT,
        ),
        (
            "DELETE FROM debug_log WHERE asset_id = $1 AND number <= (SELECT max(number) FROM \
             (SELECT number, sum(bytes) OVER (ORDER BY number DESC) AS newer FROM debug_log \
             WHERE asset_id = $1) AS added WHERE newer > $2)",
            LOG_KEPT,
        ),
    ] {
        sqlx::query(text)
            .bind(asset.as_str())
            .bind(kept)
            .execute(&mut *conn)
            .await
            .doing("prune agent events")?;
    }
    Ok(())
}

/// Up to `limit` events before the number `before`, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &AgentEventFilter,
    before: Option<i64>,
    limit: u32,
) -> StoreResult<Vec<StoredAgentEvent>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT e.*, a.name FROM agent_event e JOIN asset a ON a.id = e.asset_id WHERE 1 = 1",
        );
        if let Some(asset) = &filter.asset {
            query.push(" AND e.asset_id = ").push_bind(asset.as_str().to_owned());
        }
        if let Some(kind) = &filter.kind {
            query.push(" AND e.kind = ").push_bind(word(kind)?);
        }
        if let Some(since) = filter.since {
            query.push(" AND e.at >= ").push_bind(since.0);
        }
        if let Some(before) = before {
            query.push(" AND e.number < ").push_bind(before);
        }
        query.push(" ORDER BY e.number DESC");
        Ok(query)
    };
    let stored = |row: &Row| {
        Ok(StoredAgentEvent {
            number: row.col("number")?,
            asset: row.col("name")?,
            event: AgentEvent {
                at: row.time("at")?.unix(),
                kind: from_word(row.col("kind")?)?,
                text: row.col("text")?,
                revision: row
                    .col::<Option<i64>>("revision")?
                    .map(|revision| Revision(unsigned(revision))),
                seconds: row.col::<Option<i64>>("seconds")?.map(unsigned),
            },
            received_at: row.time("received_at")?,
        })
    };
    rows::page(conn, "agent events", limit, query, stored).await
}

/// Adds a live event.
///
/// # Errors
/// When the database fails.
pub async fn add_live(
    conn: &mut Conn,
    asset: &AssetId,
    event: &Live,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query("INSERT INTO live_event (asset_id, event, received_at) VALUES ($1, $2, $3)")
        .bind(asset.as_str())
        .bind(to_json(event)?)
        .bind(now.0)
        .execute(conn)
        .await
        .doing("store a live event")?;
    Ok(())
}

/// A denial or match in real time.
#[derive(Debug, Clone)]
pub struct StoredLiveEvent {
    /// Increases with every event that arrives.
    pub number: i64,
    /// The asset's name.
    pub asset: String,
    /// What happened.
    pub event: Live,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// Up to `limit` live events after the number `after`, in order; without one, the last ones.
///
/// # Errors
/// When the database fails.
pub async fn live(
    conn: &mut Conn,
    asset: Option<&AssetId>,
    after: Option<i64>,
    limit: u32,
) -> StoreResult<Vec<StoredLiveEvent>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT e.number, e.event, e.received_at, a.name FROM live_event e \
             JOIN asset a ON a.id = e.asset_id WHERE e.number > ",
        );
        query.push_bind(after.unwrap_or(0));
        if let Some(asset) = asset {
            query.push(" AND e.asset_id = ").push_bind(asset.as_str().to_owned());
        }
        let order = if after.is_some() { "ASC" } else { "DESC" };
        query.push(" ORDER BY e.number ").push(order);
        Ok(query)
    };
    let stored = |row: &Row| {
        Ok(StoredLiveEvent {
            number: row.col("number")?,
            asset: row.col("name")?,
            event: from_json(row.col("event")?)?,
            received_at: row.time("received_at")?,
        })
    };
    let mut found = rows::page(conn, "live events", limit, query, stored).await?;
    if after.is_none() {
        found.reverse();
    }
    Ok(found)
}

/// Adds a chunk of a detailed log.
///
/// # Errors
/// When the database fails.
pub async fn add_log(
    conn: &mut Conn,
    asset: &AssetId,
    log: &DebugLog,
    now: Timestamp,
) -> StoreResult<()> {
    let lines = to_json(&log.lines)?;
    sqlx::query(
        "INSERT INTO debug_log (asset_id, job_id, received_at, first, dropped, ends, bytes, lines) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(asset.as_str())
    .bind(&log.command)
    .bind(now.0)
    .bind(bounded(log.first))
    .bind(bounded(log.dropped))
    .bind(i64::from(log.end == LogEnd::Closed))
    .bind(i64::try_from(lines.len()).unwrap_or(i64::MAX))
    .bind(lines)
    .execute(conn)
    .await
    .doing("store a piece of a log")?;
    Ok(())
}

/// A chunk of a detailed log.
#[derive(Debug, Clone)]
pub struct StoredLog {
    /// Increases with every chunk that arrives.
    pub number: i64,
    /// The command that requested it.
    pub command: String,
    /// The number of the first line.
    pub first: u64,
    /// Lines before these that the host had to drop.
    pub dropped: u64,
    /// Whether it was the last chunk.
    pub end: LogEnd,
    /// The lines.
    pub lines: Vec<DebugLine>,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// Up to `limit` chunks of an asset's detailed logs after the number `after`, in order.
///
/// # Errors
/// When the database fails.
pub async fn logs(
    conn: &mut Conn,
    asset: &AssetId,
    after: i64,
    limit: u32,
) -> StoreResult<Vec<StoredLog>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new("SELECT * FROM debug_log WHERE asset_id = ");
        query.push_bind(asset.as_str().to_owned()).push(" AND number > ").push_bind(after);
        query.push(" ORDER BY number");
        Ok(query)
    };
    let stored = |row: &Row| {
        Ok(StoredLog {
            number: row.col("number")?,
            command: row.col("job_id")?,
            first: row.count("first")?,
            dropped: row.count("dropped")?,
            end: if row.col::<i64>("ends")? == 0 { LogEnd::Open } else { LogEnd::Closed },
            lines: from_json(row.col("lines")?)?,
            received_at: row.time("received_at")?,
        })
    };
    rows::page(conn, "detailed logs", limit, query, stored).await
}
