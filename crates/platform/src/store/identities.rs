//! Identity keys of assets that have changed: they wait for an operator.

use xshield_policy::AssetId;
use xshield_wire::Bytes;

use super::{Conn, Doing as _, StoreResult};
use crate::clock::Timestamp;

/// Remembers that another identity spoke in this asset's name. An identity that an operator has
/// rejected is not remembered again: the answer is `false`.
///
/// # Errors
/// When the database fails.
pub async fn remember(
    conn: &mut Conn,
    id: &AssetId,
    identity: Bytes<32>,
    now: Timestamp,
) -> StoreResult<bool> {
    let done = sqlx::query(
        "UPDATE asset SET pending_since = CASE WHEN pending_identity = $2 THEN pending_since \
         ELSE $3 END, pending_identity = $2 \
         WHERE id = $1 AND (rejected_identity IS NULL OR rejected_identity <> $2)",
    )
    .bind(id.as_str())
    .bind(identity.0.to_vec())
    .bind(now.0)
    .execute(conn)
    .await
    .doing("remember the changed identity")?;
    Ok(done.rows_affected() > 0)
}

/// Pins the identity that waited. Check-ins count from the beginning: it is a new installation.
///
/// # Errors
/// When the database fails or another asset has the identity.
pub async fn approve(conn: &mut Conn, id: &AssetId) -> StoreResult<()> {
    sqlx::query(
        "UPDATE asset SET identity = pending_identity, pending_identity = NULL, \
         pending_since = NULL, rejected_identity = NULL, sequence = 0 \
         WHERE id = $1 AND pending_identity IS NOT NULL",
    )
    .bind(id.as_str())
    .execute(conn)
    .await
    .doing("pin the new identity")?;
    Ok(())
}

/// Turns the identity that waited away, for good.
///
/// # Errors
/// When the database fails.
pub async fn reject(conn: &mut Conn, id: &AssetId) -> StoreResult<()> {
    sqlx::query(
        "UPDATE asset SET rejected_identity = pending_identity, pending_identity = NULL, \
         pending_since = NULL WHERE id = $1 AND pending_identity IS NOT NULL",
    )
    .bind(id.as_str())
    .execute(conn)
    .await
    .doing("turn the new identity away")?;
    Ok(())
}
