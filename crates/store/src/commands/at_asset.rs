//! The commands of one asset.

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_policy::AssetId;

use super::{Job, Target, push_state, stored, target};
use crate::{Conn, Db, Row, StoreResult, rows};

/// Up to `limit` commands with their state at this asset, newest first.
///
/// # Errors
/// When the database fails.
pub async fn at_asset(
    conn: &mut Conn,
    asset: &AssetId,
    limit: u32,
    now: Timestamp,
) -> StoreResult<Vec<(Job, Target)>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new("SELECT j.*, a.name, ");
        push_state(&mut query, now);
        query.push(
            " AS now, t.told_at, t.ended_at, t.host_at, t.reason \
             FROM command_target t JOIN command_job j ON j.id = t.job_id \
             JOIN asset a ON a.id = t.asset_id WHERE t.asset_id = ",
        );
        query.push_bind(asset.as_str().to_owned()).push(" ORDER BY t.number DESC");
        Ok(query)
    };
    let both = |row: &Row| Ok((stored(row)?, target(row)?));
    rows::page(conn, "commands of an asset", limit, query, both).await
}
