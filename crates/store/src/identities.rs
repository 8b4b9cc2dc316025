//! Identity keys that claim an asset's name and are not pinned: they wait for an operator.

use std::net::IpAddr;

use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_wire::Bytes;
use xshield_wire::fingerprint::IdentityFingerprint;

use super::rows::{Columns as _, key_bytes};
use super::{Conn, Doing as _, Row, StoreResult, rows};

/// Pending identities per asset, at most. The first ones are kept: a holder of an enforcement key can use up
/// the places, but not replace anybody.
pub const MOST_WAITING: i64 = 8;

/// An identity that is not the pinned one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherIdentity {
    /// The public key.
    pub identity: Bytes<32>,
    /// The enforcement key that it used; empty if unknown.
    pub key: String,
    /// The source address of its last request; a proxy's, if there was one.
    pub from: Option<IpAddr>,
    /// The time of its first request.
    pub first_seen: Timestamp,
    /// The time of its last request.
    pub last_seen: Timestamp,
    /// The number of its requests.
    pub attempts: u64,
}

impl OtherIdentity {
    /// The fingerprint, as the host shows it.
    #[must_use]
    pub fn fingerprint(&self) -> IdentityFingerprint {
        IdentityFingerprint::of(&self.identity)
    }
}

/// The result of recording an identity that is not pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingIdentityOutcome {
    /// It is pending now.
    New,
    /// It was pending already.
    Waiting,
    /// An operator has rejected it.
    Rejected,
    /// Too many are pending: it is not stored.
    NoRoom,
}

/// A request with an identity.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The public key.
    pub identity: Bytes<32>,
    /// The enforcement key.
    pub key: &'a str,
    /// The source address of the connection.
    pub from: IpAddr,
}

/// Records a request of another identity that claims this asset's name.
///
/// # Errors
/// When the database fails.
pub async fn note(
    conn: &mut Conn,
    id: &AssetId,
    attempt: Attempt<'_>,
    now: Timestamp,
) -> StoreResult<PendingIdentityOutcome> {
    let state: Option<String> = sqlx::query_scalar(
        "UPDATE other_identity SET last_seen = $3, attempts = attempts + 1, key_id = $4, \
         source = $5 WHERE asset_id = $1 AND identity = $2 RETURNING state",
    )
    .bind(id.as_str())
    .bind(attempt.identity.0.to_vec())
    .bind(now.0)
    .bind(attempt.key)
    .bind(attempt.from.to_string())
    .fetch_optional(&mut *conn)
    .await
    .doing("record the other identity")?;
    match state.as_deref() {
        Some("waiting") => return Ok(PendingIdentityOutcome::Waiting),
        Some(_) => return Ok(PendingIdentityOutcome::Rejected),
        None => {}
    }
    let done = sqlx::query(
        "INSERT INTO other_identity (asset_id, identity, position, state, key_id, source, \
         first_seen, last_seen, attempts) \
         SELECT $1, $2, COALESCE(max(position), 0) + 1, 'waiting', $4, $5, $3, $3, 1 \
         FROM other_identity WHERE asset_id = $1 \
         HAVING count(CASE WHEN state = 'waiting' THEN 1 END) < $6",
    )
    .bind(id.as_str())
    .bind(attempt.identity.0.to_vec())
    .bind(now.0)
    .bind(attempt.key)
    .bind(attempt.from.to_string())
    .bind(MOST_WAITING)
    .execute(conn)
    .await
    .doing("remember the other identity")?;
    Ok(if done.rows_affected() > 0 {
        PendingIdentityOutcome::New
    } else {
        PendingIdentityOutcome::NoRoom
    })
}

/// The pending identities of this asset, in order of arrival.
///
/// # Errors
/// When the database fails.
pub async fn waiting(conn: &mut Conn, id: &AssetId) -> StoreResult<Vec<OtherIdentity>> {
    list(conn, id, "waiting").await
}

/// The identities that an operator has rejected for this asset.
///
/// # Errors
/// When the database fails.
pub async fn rejected(conn: &mut Conn, id: &AssetId) -> StoreResult<Vec<OtherIdentity>> {
    list(conn, id, "rejected").await
}

async fn list(conn: &mut Conn, id: &AssetId, state: &str) -> StoreResult<Vec<OtherIdentity>> {
    let rows = sqlx::query(
        "SELECT * FROM other_identity WHERE asset_id = $1 AND state = $2 ORDER BY position",
    )
    .bind(id.as_str())
    .bind(state)
    .fetch_all(conn)
    .await
    .doing("list the other identities of an asset")?;
    Ok(rows::readable("other identities", &rows, other))
}

/// Pins a pending or rejected identity. Sequence numbers of check-ins start again, since it is a new
/// installation. Other pending identities stay pending.
///
/// # Errors
/// When the database fails or another asset has the identity.
pub async fn approve(conn: &mut Conn, id: &AssetId, identity: Bytes<32>) -> StoreResult<()> {
    sqlx::query("UPDATE asset SET identity = $2, sequence = 0 WHERE id = $1")
        .bind(id.as_str())
        .bind(identity.0.to_vec())
        .execute(&mut *conn)
        .await
        .doing("pin the new identity")?;
    sqlx::query("DELETE FROM other_identity WHERE asset_id = $1 AND identity = $2")
        .bind(id.as_str())
        .bind(identity.0.to_vec())
        .execute(conn)
        .await
        .doing("remove the new identity from the pending ones")?;
    Ok(())
}

/// Rejects a pending identity permanently.
///
/// # Errors
/// When the database fails.
pub async fn reject(conn: &mut Conn, id: &AssetId, identity: Bytes<32>) -> StoreResult<()> {
    sqlx::query(
        "UPDATE other_identity SET state = 'rejected' WHERE asset_id = $1 AND identity = $2",
    )
    .bind(id.as_str())
    .bind(identity.0.to_vec())
    .execute(conn)
    .await
    .doing("reject the new identity")?;
    Ok(())
}

/// Deletes the pending identities that used a revoked key.
///
/// # Errors
/// When the database fails.
pub async fn forget_of_key(conn: &mut Conn, key: &str) -> StoreResult<()> {
    sqlx::query("DELETE FROM other_identity WHERE state = 'waiting' AND key_id = $1")
        .bind(key)
        .execute(conn)
        .await
        .doing("delete the identities that waited with a revoked key")?;
    Ok(())
}

fn other(row: &Row) -> StoreResult<OtherIdentity> {
    Ok(OtherIdentity {
        identity: key_bytes(row.col("identity")?)?,
        key: row.col("key_id")?,
        from: row.col::<&str>("source")?.parse().ok(),
        first_seen: row.time("first_seen")?,
        last_seen: row.time("last_seen")?,
        attempts: row.count("attempts")?,
    })
}
