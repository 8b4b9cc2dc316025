//! The commands that one asset was given.

use xshield_policy::AssetId;

use super::{Job, OUTCOME_WITHIN, STATE, Target, stored, target};
use crate::clock::Timestamp;
use crate::store::{Conn, Doing as _, Row, StoreResult};

/// Up to `limit` commands and what became of them at this asset, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn at_asset(
    conn: &mut Conn,
    asset: &AssetId,
    limit: u32,
    now: Timestamp,
) -> StoreResult<Vec<(Job, Target)>> {
    let text = format!(
        "SELECT j.*, a.name, {STATE} AS now, t.told_at, t.ended_at, t.host_at, t.reason \
         FROM command_target t JOIN command_job j ON j.id = t.job_id \
         JOIN asset a ON a.id = t.asset_id WHERE t.asset_id = $3 \
         ORDER BY t.number DESC LIMIT $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(now.0)
        .bind(OUTCOME_WITHIN)
        .bind(asset.as_str())
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
        .doing("list an asset's commands")?;
    rows.iter().map(|row: &Row| Ok((stored(row)?, target(row)?))).collect()
}
