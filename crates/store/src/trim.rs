//! Deletes data beyond the limits per asset, by rank, in slices with a short transaction each.

use sqlx::SqlSafeStr as _;
use xshield_policy::AssetId;

use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, Store, StoreResult, commit};

/// Rows deleted in one transaction.
const SLICE: i64 = 1_000;

/// Data limited by rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flows {
    /// Firewall events.
    Events,
    /// Communication paths.
    Paths,
    /// Flows with listed peers that the alert rules have evaluated.
    Threats,
    /// Also those that they have not evaluated.
    ThreatsUnjudged,
}

impl Flows {
    /// Selects the first row beyond the limit, most recently seen first.
    fn first(self) -> &'static str {
        match self {
            Self::Events => {
                "SELECT last_seen, id FROM firewall_event WHERE asset_id = $1 \
                 ORDER BY last_seen DESC, id DESC LIMIT 1 OFFSET $2"
            }
            Self::Paths => {
                "SELECT last_seen, id FROM active_path WHERE asset_id = $1 \
                 ORDER BY last_seen DESC, id DESC LIMIT 1 OFFSET $2"
            }
            Self::Threats | Self::ThreatsUnjudged => {
                "SELECT last_seen, id FROM threat_event WHERE asset_id = $1 \
                 ORDER BY last_seen DESC, id DESC LIMIT 1 OFFSET $2"
            }
        }
    }

    /// Deletes a slice from this row on.
    fn forget(self) -> &'static str {
        match self {
            Self::Events => {
                "DELETE FROM firewall_event WHERE id IN (SELECT id FROM firewall_event \
                 WHERE asset_id = $1 AND (last_seen < $2 OR (last_seen = $2 AND id <= $3)) LIMIT $4)"
            }
            Self::Paths => {
                "DELETE FROM active_path WHERE id IN (SELECT id FROM active_path \
                 WHERE asset_id = $1 AND (last_seen < $2 OR (last_seen = $2 AND id <= $3)) LIMIT $4)"
            }
            Self::Threats => {
                "DELETE FROM threat_event WHERE id IN (SELECT id FROM threat_event \
                 WHERE asset_id = $1 AND (last_seen < $2 OR (last_seen = $2 AND id <= $3)) \
                 AND NOT EXISTS (SELECT 1 FROM threat_fresh f WHERE f.event_id = threat_event.id) \
                 LIMIT $4)"
            }
            Self::ThreatsUnjudged => {
                "DELETE FROM threat_event WHERE id IN (SELECT id FROM threat_event \
                 WHERE asset_id = $1 AND (last_seen < $2 OR (last_seen = $2 AND id <= $3)) LIMIT $4)"
            }
        }
    }
}

/// Deletes the flows of an asset that were seen longest ago, except `keep`; returns their number.
///
/// # Errors
/// When the database fails.
pub async fn flows(store: &Store, flows: Flows, asset: &AssetId, keep: i64) -> StoreResult<u64> {
    let first = first(&mut *store.read().await?, flows, asset, keep).await?;
    let Some((seen, id)) = first else { return Ok(0) };
    let mut forgotten = 0;
    loop {
        let mut tx = store.write_later().await?;
        let done = sqlx::query(flows.forget())
            .bind(asset.as_str())
            .bind(seen)
            .bind(id)
            .bind(SLICE)
            .execute(&mut *tx)
            .await
            .doing("prune agent events")?;
        commit(tx).await?;
        forgotten += done.rows_affected();
        if done.rows_affected() < SLICE.unsigned_abs() {
            return Ok(forgotten);
        }
    }
}

async fn first(
    conn: &mut Conn,
    flows: Flows,
    asset: &AssetId,
    keep: i64,
) -> StoreResult<Option<(i64, i64)>> {
    let row = sqlx::query(flows.first())
        .bind(asset.as_str())
        .bind(keep)
        .fetch_optional(conn)
        .await
        .doing("find events beyond the limit")?;
    row.map(|row| Ok((row.col("last_seen")?, row.col("id")?))).transpose()
}

/// Records that are deleted by age.
const OLD: [&str; 10] = [
    "DELETE FROM firewall_event WHERE id IN (SELECT id FROM firewall_event WHERE last_seen < $1 \
     LIMIT $2)",
    "DELETE FROM threat_event WHERE id IN (SELECT id FROM threat_event WHERE last_seen < $1 \
     LIMIT $2)",
    "DELETE FROM active_path WHERE id IN (SELECT id FROM active_path WHERE last_seen < $1 LIMIT $2)",
    "DELETE FROM agent_event WHERE number IN (SELECT number FROM agent_event \
     WHERE received_at < $1 LIMIT $2)",
    "DELETE FROM live_event WHERE number IN (SELECT number FROM live_event WHERE received_at < $1 \
     LIMIT $2)",
    "DELETE FROM debug_log WHERE number IN (SELECT number FROM debug_log WHERE received_at < $1 \
     LIMIT $2)",
    "DELETE FROM batch WHERE (asset_id, batch) IN (SELECT asset_id, batch FROM batch \
     WHERE received_at < $1 LIMIT $2)",
    "DELETE FROM alert WHERE id IN (SELECT id FROM alert WHERE at < $1 AND NOT EXISTS \
     (SELECT 1 FROM alert_notice n WHERE n.alert_id = alert.id) LIMIT $2)",
    "DELETE FROM delivery WHERE number IN (SELECT number FROM delivery WHERE created_at < $1 \
     AND state <> 'waiting' LIMIT $2)",
    "DELETE FROM problem_history WHERE (asset_id, code, text) IN (SELECT asset_id, code, text \
     FROM problem_history WHERE last_seen < $1 LIMIT $2)",
];

/// Deletes records from before `before`.
///
/// # Errors
/// When the database fails.
pub async fn old(store: &Store, before: i64) -> StoreResult<()> {
    for statement in OLD {
        sliced(store, statement, |query| query.bind(before)).await?;
    }
    Ok(())
}

/// Data that is deleted before the asset itself, whose deletion removes everything else.
const BULK: [&str; 6] = [
    "DELETE FROM firewall_event WHERE id IN (SELECT id FROM firewall_event WHERE asset_id = $1 \
     LIMIT $2)",
    "DELETE FROM active_path WHERE id IN (SELECT id FROM active_path WHERE asset_id = $1 LIMIT $2)",
    "DELETE FROM threat_event WHERE id IN (SELECT id FROM threat_event WHERE asset_id = $1 LIMIT $2)",
    "DELETE FROM agent_event WHERE number IN (SELECT number FROM agent_event WHERE asset_id = $1 \
     LIMIT $2)",
    "DELETE FROM rule_hits WHERE (direction, rule) IN (SELECT direction, rule FROM rule_hits \
     WHERE asset_id = $1 LIMIT $2) AND asset_id = $1",
    "DELETE FROM batch WHERE batch IN (SELECT batch FROM batch WHERE asset_id = $1 LIMIT $2) \
     AND asset_id = $1",
];

/// Deletes what an asset reported, so that deleting the asset itself takes little time.
///
/// # Errors
/// When the database fails.
pub async fn everything_of(store: &Store, asset: &AssetId) -> StoreResult<()> {
    for statement in BULK {
        sliced(store, statement, |query| query.bind(asset.as_str().to_owned())).await?;
    }
    Ok(())
}

type Query = sqlx::query::Query<'static, Db, <Db as sqlx::Database>::Arguments>;

async fn sliced(
    store: &Store,
    statement: &'static str,
    bind: impl Fn(Query) -> Query,
) -> StoreResult<()> {
    loop {
        let mut tx = store.write_later().await?;
        let query = bind(sqlx::query(statement.into_sql_str())).bind(SLICE);
        let done = query.execute(&mut *tx).await.doing("delete old records")?;
        commit(tx).await?;
        if done.rows_affected() < SLICE.unsigned_abs() {
            return Ok(());
        }
    }
}
