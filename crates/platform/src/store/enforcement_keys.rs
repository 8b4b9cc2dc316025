//! Enforcement keys. Secrets are sealed before they come here.

use sqlx::Row as _;

use super::assets::Tags;
use super::{Conn, Doing as _, Row, StoreResult, from_json, to_json};
use crate::clock::Timestamp;

/// An enforcement key as it is stored.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Public part.
    pub id: String,
    /// What for.
    pub name: String,
    /// The secret, sealed with the platform's storage key.
    pub sealed_secret: String,
    /// Tags of assets that register with it.
    pub tags: Tags,
    /// Since when.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// Since when not.
    pub revoked_at: Option<Timestamp>,
    /// The key that follows it.
    pub replaced_by: Option<String>,
    /// Last session set up with it.
    pub last_used_at: Option<Timestamp>,
}

/// Adds a key.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, key: &StoredKey) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO enforcement_key (id, name, secret, tags, created_at, created_by, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&key.id)
    .bind(&key.name)
    .bind(&key.sealed_secret)
    .bind(to_json(&key.tags)?)
    .bind(key.created_at.0)
    .bind(&key.created_by)
    .bind(key.expires_at.map(|time| time.0))
    .execute(conn)
    .await
    .doing("store an enforcement key")?;
    Ok(())
}

/// The key with this id.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, id: &str) -> StoreResult<Option<StoredKey>> {
    let row = sqlx::query("SELECT * FROM enforcement_key WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await
        .doing("read an enforcement key")?;
    row.as_ref().map(key).transpose()
}

/// Up to `limit` keys after the id `after`.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, after: &str, limit: u32) -> StoreResult<Vec<StoredKey>> {
    let rows = sqlx::query("SELECT * FROM enforcement_key WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
        .doing("list enforcement keys")?;
    rows.iter().map(key).collect()
}

/// Lets `successor` follow a key, which ends at `end` at the latest.
///
/// # Errors
/// When the database fails.
pub async fn replace(
    conn: &mut Conn,
    id: &str,
    successor: &str,
    end: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "UPDATE enforcement_key SET replaced_by = $2, expires_at = CASE \
         WHEN expires_at IS NOT NULL AND expires_at < $3 THEN expires_at ELSE $3 END \
         WHERE id = $1",
    )
    .bind(id)
    .bind(successor)
    .bind(end.0)
    .execute(conn)
    .await
    .doing("rotate an enforcement key")?;
    Ok(())
}

/// Ends a key now.
///
/// # Errors
/// When the database fails.
pub async fn revoke(conn: &mut Conn, id: &str, now: Timestamp) -> StoreResult<()> {
    sqlx::query("UPDATE enforcement_key SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(now.0)
        .execute(conn)
        .await
        .doing("revoke an enforcement key")?;
    Ok(())
}

/// Notes that a session was set up with a key.
///
/// # Errors
/// When the database fails.
pub async fn touch(conn: &mut Conn, id: &str, now: Timestamp) -> StoreResult<()> {
    sqlx::query("UPDATE enforcement_key SET last_used_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now.0)
        .execute(conn)
        .await
        .doing("note an enforcement key's use")?;
    Ok(())
}

fn key(row: &Row) -> StoreResult<StoredKey> {
    let time = |column: &str| row.get::<Option<i64>, _>(column).map(Timestamp);
    Ok(StoredKey {
        id: row.get("id"),
        name: row.get("name"),
        sealed_secret: row.get("secret"),
        tags: from_json(row.get("tags"))?,
        created_at: Timestamp(row.get("created_at")),
        created_by: row.get("created_by"),
        expires_at: time("expires_at"),
        revoked_at: time("revoked_at"),
        replaced_by: row.get("replaced_by"),
        last_used_at: time("last_used_at"),
    })
}
