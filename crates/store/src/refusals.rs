//! Check-ins refused since the last accepted one: the host can't report them itself.

use xshield_model::Timestamp;
use xshield_model::refusal::Refusal;
use xshield_policy::AssetId;

use super::rows::Columns as _;
use super::{Conn, Doing as _, Row, StoreResult};

/// Records a refused check-in; does nothing if the asset was deleted.
///
/// # Errors
/// When the database fails.
pub async fn note(
    conn: &mut Conn,
    asset: &AssetId,
    reason: &str,
    detail: &str,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO refused_check_in (asset_id, reason, detail, first_at, last_at, times) \
         SELECT id, $2, $3, $4, $4, 1 FROM asset WHERE id = $1 \
         ON CONFLICT (asset_id) DO UPDATE SET reason = excluded.reason, \
         detail = excluded.detail, last_at = excluded.last_at, times = CASE \
         WHEN refused_check_in.times < 1000000000 THEN refused_check_in.times + 1 \
         ELSE refused_check_in.times END",
    )
    .bind(asset.as_str())
    .bind(reason)
    .bind(detail)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("record a refused check-in")?;
    Ok(())
}

/// Deletes the refusals of an asset whose check-in was accepted.
///
/// # Errors
/// When the database fails.
pub async fn forget(conn: &mut Conn, asset: &AssetId) -> StoreResult<()> {
    sqlx::query("DELETE FROM refused_check_in WHERE asset_id = $1")
        .bind(asset.as_str())
        .execute(conn)
        .await
        .doing("delete refused check-ins")?;
    Ok(())
}

/// The refusals joined to a row of assets, if any.
pub(crate) fn joined(row: &Row) -> StoreResult<Option<Refusal>> {
    let Some(first_at) = row.maybe_time("refused_first_at")? else { return Ok(None) };
    Ok(Some(Refusal {
        reason: row.col("refused_reason")?,
        detail: row.col("refused_detail")?,
        first_at,
        last_at: row.time("refused_last_at")?,
        times: row.count("refused_times")?,
    }))
}
