//! Assets whose hosts have not followed a key rotation.

use crate::{Conn, Doing as _, StoreResult};

/// Their number, and the first of them by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaggingAssets {
    /// Their number.
    pub count: u64,
    /// The first by name.
    pub first: Vec<String>,
}

/// Assets in service whose hosts have not followed this succession yet.
///
/// # Errors
/// When the database fails.
pub async fn lagging(conn: &mut Conn, sequence: u64, named: u32) -> StoreResult<LaggingAssets> {
    let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM asset WHERE decommissioned_at IS NULL \
         AND (trust_sequence IS NULL OR trust_sequence < $1)",
    )
    .bind(sequence)
    .fetch_one(&mut *conn)
    .await
    .doing("count hosts that have not followed")?;
    let first = sqlx::query_scalar(
        "SELECT name FROM asset WHERE decommissioned_at IS NULL \
         AND (trust_sequence IS NULL OR trust_sequence < $1) ORDER BY name LIMIT $2",
    )
    .bind(sequence)
    .bind(i64::from(named))
    .fetch_all(conn)
    .await
    .doing("list hosts that have not followed")?;
    Ok(LaggingAssets { count: u64::try_from(count).unwrap_or(0), first })
}
