//! Threat events that no alert rule has evaluated, and matches that hosts could not record.

use xshield_model::Timestamp;
use xshield_policy::AssetId;

use super::super::events::bounded;
use super::super::rows::Columns as _;
use super::super::{Conn, Doing as _, Row, StoreResult, from_word, rows};
use super::{Novelty, StoredThreatEvent, stored};

/// Counts matched packets that a host could not record.
///
/// # Errors
/// When the database fails.
pub async fn add_lost(
    conn: &mut Conn,
    asset: &AssetId,
    lost: u64,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(concat!(
        "INSERT INTO threat_loss (asset_id, lost, lost_at) VALUES ($1, $2, $3) \
         ON CONFLICT (asset_id) DO UPDATE SET ",
        added!("threat_loss", "lost"),
        ", lost_at = excluded.lost_at",
    ))
    .bind(asset.as_str())
    .bind(bounded(lost))
    .bind(now.0)
    .execute(conn)
    .await
    .doing("count lost threat events")?;
    Ok(())
}

/// Matches that a host could not record.
#[derive(Debug, Clone)]
pub struct Loss {
    /// The asset's name.
    pub asset: String,
    /// Matched packets, in total.
    pub lost: u64,
    /// The last time that some were lost.
    pub lost_at: Timestamp,
}

/// Matches that hosts could not record, the most recent first.
///
/// # Errors
/// When the database fails.
pub async fn losses(conn: &mut Conn, since: Timestamp) -> StoreResult<Vec<Loss>> {
    let rows = sqlx::query(
        "SELECT a.name AS asset, l.lost, l.lost_at FROM threat_loss l \
         JOIN asset a ON a.id = l.asset_id WHERE l.lost_at >= $1 \
         ORDER BY l.lost_at DESC, a.name LIMIT 10000",
    )
    .bind(since.0)
    .fetch_all(conn)
    .await
    .doing("read lost threat events")?;
    let loss = |row: &Row| {
        Ok(Loss {
            asset: row.col("asset")?,
            lost: row.count("lost")?,
            lost_at: row.time("lost_at")?,
        })
    };
    Ok(rows::readable("lost threat events", &rows, loss))
}

/// A match that no alert rule has evaluated yet.
#[derive(Debug, Clone)]
pub struct UnevaluatedMatch {
    /// Its position in the queue.
    pub id: i64,
    /// The aggregated flow.
    pub flow: StoredThreatEvent,
    /// Whether the peer was new when the match arrived.
    pub novelty: Novelty,
    /// The packets of this match.
    pub packets: u64,
    /// When it arrived.
    pub at: Timestamp,
}

/// The next matches that no alert rule has evaluated, oldest first. An unreadable row is left out and only
/// counts by its position, so that it does not hold up the others.
///
/// # Errors
/// When the database fails.
pub async fn unevaluated(
    conn: &mut Conn,
    limit: u32,
) -> StoreResult<(Vec<UnevaluatedMatch>, Option<i64>)> {
    let rows = sqlx::query(
        "SELECT f.id AS fresh_id, f.novelty, f.packets AS fresh_packets, f.at, e.*, \
         a.name AS asset_name FROM threat_fresh f JOIN threat_event e ON e.id = f.event_id \
         JOIN asset a ON a.id = e.asset_id ORDER BY f.id LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    .doing("read threat events that no alert rule has evaluated")?;
    let last = rows.last().map(|row| row.col("fresh_id")).transpose()?;
    let read = |row: &Row| {
        Ok(UnevaluatedMatch {
            id: row.col("fresh_id")?,
            flow: stored(row)?,
            novelty: from_word(row.col("novelty")?)?,
            packets: row.count("fresh_packets")?,
            at: row.time("at")?,
        })
    };
    Ok((rows::readable("fresh threat events", &rows, read), last))
}

/// Removes the matches up to this position from the queue.
///
/// # Errors
/// When the database fails.
pub async fn looked_at(conn: &mut Conn, last: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM threat_fresh WHERE id <= $1")
        .bind(last)
        .execute(conn)
        .await
        .doing("take threat events from the queue")?;
    Ok(())
}
