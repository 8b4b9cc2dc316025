//! Registration and deletion of hosts: the key of each host, and the last requests of deleted hosts.

use std::net::IpAddr;

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_policy::names::Name;
use xshield_wire::Bytes;
use xshield_wire::message::SessionRequest;
use xshield_wire::session::MAX_CLOCK_SKEW;

use super::rows::{Columns as _, parse};
use super::{Conn, Db, Doing as _, Row, StoreResult, rows};

/// A host and the key of its last session.
#[derive(Debug, Clone)]
pub struct KeyHost {
    /// Its asset.
    pub asset: AssetId,
    /// Its name.
    pub name: Name,
    /// When it last set up a session.
    pub last_session: Timestamp,
    /// The source address; a proxy's, if there was one.
    pub from: Option<IpAddr>,
}

/// Records the key with which a host registered.
///
/// # Errors
/// When the database fails.
pub async fn note_registration(conn: &mut Conn, id: &AssetId, key: &str) -> StoreResult<()> {
    sqlx::query("UPDATE asset SET registered_with = $2 WHERE id = $1")
        .bind(id.as_str())
        .bind(key)
        .execute(conn)
        .await
        .doing("record which key a host registered with")?;
    Ok(())
}

/// The key with which a host registered; `None` if unknown.
///
/// # Errors
/// When the database fails.
pub async fn registered_with(conn: &mut Conn, id: &AssetId) -> StoreResult<Option<String>> {
    let key = sqlx::query_scalar("SELECT registered_with FROM asset WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(conn)
        .await
        .doing("read which key a host registered with")?;
    Ok(key.flatten())
}

/// Records a session of a host.
///
/// # Errors
/// When the database fails.
pub async fn note_session(
    conn: &mut Conn,
    id: &AssetId,
    request: &SessionRequest,
    from: IpAddr,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "UPDATE asset SET session_key = $2, session_at = $3, session_from = $4, \
         session_created = $5, session_nonce = $6 WHERE id = $1",
    )
    .bind(id.as_str())
    .bind(&request.key_id)
    .bind(now.0)
    .bind(from.to_string())
    .bind(i64::try_from(request.created).unwrap_or(i64::MAX))
    .bind(request.nonce.0.to_vec())
    .execute(conn)
    .await
    .doing("record a session")?;
    Ok(())
}

/// Up to `limit` hosts in service whose last session was set up with this key, after the name `after`.
///
/// # Errors
/// When the database fails.
pub async fn hosts_of(
    conn: &mut Conn,
    key: &str,
    after: &str,
    limit: u32,
) -> StoreResult<Vec<KeyHost>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT id, name, session_at, session_from FROM asset WHERE session_at IS NOT NULL \
             AND decommissioned_at IS NULL AND session_key = ",
        );
        query.push_bind(key.to_owned()).push(" AND name > ").push_bind(after.to_owned());
        query.push(" ORDER BY name");
        Ok(query)
    };
    rows::page(conn, "hosts of an enforcement key", limit, query, key_host).await
}

fn key_host(row: &Row) -> StoreResult<KeyHost> {
    Ok(KeyHost {
        asset: parse(row, "id")?,
        name: parse(row, "name")?,
        last_session: row.time("session_at")?,
        from: row.col::<Option<&str>>("session_from")?.and_then(|from| from.parse().ok()),
    })
}

/// The number of hosts in service whose last session used each of these keys; unused keys are left out.
///
/// # Errors
/// When the database fails.
pub async fn hosts_by_key(
    conn: &mut Conn,
    keys: impl Iterator<Item = &str>,
) -> StoreResult<Vec<(String, u64)>> {
    let mut query = QueryBuilder::<Db>::new(
        "SELECT session_key, count(*) AS hosts FROM asset WHERE decommissioned_at IS NULL \
         AND session_key IN (NULL",
    );
    for key in keys {
        query.push(", ").push_bind(key.to_owned());
    }
    query.push(") GROUP BY session_key");
    let rows = query.build().fetch_all(conn).await.doing("count the hosts of keys")?;
    let of_key = |row: &Row| Ok((row.col("session_key")?, row.count("hosts")?));
    Ok(rows::readable("hosts by enforcement key", &rows, of_key))
}

/// Remembers the last session request of a host whose asset is about to be deleted, for as long as a recorded
/// one could be accepted as new.
///
/// # Errors
/// When the database fails.
pub async fn remember_forgotten(conn: &mut Conn, id: &AssetId, now: Timestamp) -> StoreResult<()> {
    // A clock may be ahead by the allowed skew, and a request is accepted for that long after its own time.
    let skew = i64::try_from(MAX_CLOCK_SKEW).unwrap_or(i64::MAX);
    sqlx::query("DELETE FROM forgotten_identity WHERE session_created < $1")
        .bind(now.plus(-skew).0)
        .execute(&mut *conn)
        .await
        .doing("delete what can't be replayed any more")?;
    sqlx::query(
        "INSERT INTO forgotten_identity (identity, session_created, session_nonce, forgotten_at) \
         SELECT identity, session_created, session_nonce, $2 FROM asset \
         WHERE id = $1 AND session_created IS NOT NULL AND session_nonce IS NOT NULL \
         ON CONFLICT (identity) DO UPDATE SET session_created = excluded.session_created, \
         session_nonce = excluded.session_nonce, forgotten_at = excluded.forgotten_at",
    )
    .bind(id.as_str())
    .bind(now.0)
    .execute(conn)
    .await
    .doing("remember a deleted host's last session")?;
    Ok(())
}

/// Whether a registration request is a replay of a host whose asset was deleted since.
///
/// # Errors
/// When the database fails.
pub async fn is_replay(conn: &mut Conn, request: &SessionRequest) -> StoreResult<bool> {
    let row = sqlx::query(
        "SELECT session_created, session_nonce FROM forgotten_identity WHERE identity = $1",
    )
    .bind(request.identity.0.to_vec())
    .fetch_optional(conn)
    .await
    .doing("find a deleted host's last session")?;
    let Some(row) = row else { return Ok(false) };
    let (last, nonce) = (row.count("session_created")?, row.col::<Vec<u8>>("session_nonce")?);
    let Bytes(new) = request.nonce;
    Ok(request.created < last || (request.created == last && nonce == new))
}
