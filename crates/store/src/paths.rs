//! Communication paths, aggregated over reports.

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_policy::{AssetId, Direction, Protocol};
use xshield_wire::telemetry::{ActivePath, PathSource};

use super::events::bounded;
use super::rows::{Columns as _, unsigned};
use super::{Conn, Db, Doing as _, Row, StoreError, StoreResult, from_json, from_word, rows};
use super::{to_json, word};

/// A path as stored.
#[derive(Debug, Clone)]
pub struct StoredPath {
    /// Its position among paths last seen in the same second.
    pub id: i64,
    /// The asset's name.
    pub asset: String,
    /// Its key, and its counts over all reports.
    pub path: ActivePath,
    /// Its source.
    pub from: PathSource,
}

/// The filter.
#[derive(Debug, Default)]
pub struct PathFilter {
    /// Of this asset.
    pub asset: Option<AssetId>,
    /// The direction.
    pub direction: Option<Direction>,
    /// The peer's address.
    pub peer: Option<String>,
    /// Destination port.
    pub port: Option<u16>,
    /// Transport protocol.
    pub protocol: Option<Protocol>,
    /// Part of the local program's path.
    pub process: Option<String>,
    /// Last seen at this time or later.
    pub since: Option<Timestamp>,
}

/// Adds a path's counts to the stored ones.
///
/// # Errors
/// When the database fails.
pub async fn add(
    conn: &mut Conn,
    asset: &AssetId,
    path: &ActivePath,
    from: PathSource,
) -> StoreResult<()> {
    sqlx::query(concat!(
        "INSERT INTO active_path (asset_id, direction, source, destination, protocol, port, \
         process, user_name, service, read_from, connections, bytes_forth, bytes_back, first_seen, \
         last_seen) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         ON CONFLICT (asset_id, direction, source, destination, protocol, port, process, \
         user_name, service, read_from) DO UPDATE SET ",
        added!("active_path", "connections"),
        ", ",
        added!("active_path", "bytes_forth"),
        ", ",
        added!("active_path", "bytes_back"),
        ", \
         first_seen = CASE WHEN excluded.first_seen < active_path.first_seen \
             THEN excluded.first_seen ELSE active_path.first_seen END, \
         last_seen = CASE WHEN excluded.last_seen > active_path.last_seen \
             THEN excluded.last_seen ELSE active_path.last_seen END",
    ))
    .bind(asset.as_str())
    .bind(word(&path.direction)?)
    .bind(path.source.to_string())
    .bind(path.destination.to_string())
    .bind(to_json(&path.protocol)?)
    .bind(i64::from(path.port))
    .bind(path.process.as_deref().unwrap_or(""))
    .bind(path.user.as_deref().unwrap_or(""))
    .bind(path.service.as_deref().unwrap_or(""))
    .bind(word(&from)?)
    .bind(bounded(path.connections))
    .bind(bounded(path.bytes_forth))
    .bind(bounded(path.bytes_back))
    .bind(Timestamp::from_unix(path.first_seen).0)
    .bind(Timestamp::from_unix(path.last_seen).0)
    .execute(conn)
    .await
    .doing("store a path")?;
    Ok(())
}

/// Adds to the number of connections that are in no path.
///
/// # Errors
/// When the database fails.
pub async fn add_lost(conn: &mut Conn, asset: &AssetId, lost: u64) -> StoreResult<()> {
    sqlx::query(concat!(
        "UPDATE asset SET ",
        added!("asset", "paths_lost", "$2"),
        " WHERE id = $1"
    ))
    .bind(asset.as_str())
    .bind(bounded(lost))
    .execute(conn)
    .await
    .doing("count lost connections")?;
    Ok(())
}

/// Connections of an asset that are in no path, in total.
///
/// # Errors
/// When the database fails.
pub async fn lost(conn: &mut Conn, asset: &AssetId) -> StoreResult<u64> {
    sqlx::query_scalar("SELECT paths_lost FROM asset WHERE id = $1")
        .bind(asset.as_str())
        .fetch_one(conn)
        .await
        .doing("read lost connections")
        .map(unsigned)
}

/// Up to `limit` paths, most recently seen first, after the position `(last_seen, id)`.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &PathFilter,
    after: Option<(i64, i64)>,
    limit: u32,
) -> StoreResult<Vec<StoredPath>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT p.*, a.name AS asset_name FROM active_path p JOIN asset a ON a.id = p.asset_id \
             WHERE 1 = 1",
        );
        if let Some(asset) = &filter.asset {
            query.push(" AND p.asset_id = ").push_bind(asset.as_str().to_owned());
        }
        if let Some((seen, id)) = after {
            query.push(" AND (p.last_seen < ").push_bind(seen);
            query.push(" OR (p.last_seen = ").push_bind(seen);
            query.push(" AND p.id < ").push_bind(id).push("))");
        }
        if let Some(direction) = &filter.direction {
            query.push(" AND p.direction = ").push_bind(word(direction)?);
        }
        if let Some(peer) = &filter.peer {
            query.push(" AND ((p.direction = 'inbound' AND p.source = ").push_bind(peer.clone());
            query
                .push(") OR (p.direction = 'outbound' AND p.destination = ")
                .push_bind(peer.clone());
            query.push("))");
        }
        if let Some(port) = filter.port {
            query.push(" AND p.port = ").push_bind(i64::from(port));
        }
        if let Some(protocol) = &filter.protocol {
            query.push(" AND p.protocol = ").push_bind(to_json(protocol)?);
        }
        if let Some(process) = &filter.process {
            let pattern = super::contains(process);
            query.push(" AND lower(p.process) LIKE ").push_bind(pattern).push(" ESCAPE '\\'");
        }
        if let Some(since) = filter.since {
            query.push(" AND p.last_seen >= ").push_bind(since.0);
        }
        query.push(" ORDER BY p.last_seen DESC, p.id DESC");
        Ok(query)
    };
    rows::page(conn, "paths", limit, query, stored).await
}

fn stored(row: &Row) -> StoreResult<StoredPath> {
    let address = |column: &str| row.col::<&str>(column)?.parse().doing("read a stored address");
    let path = ActivePath {
        direction: from_word(row.col("direction")?)?,
        source: address("source")?,
        destination: address("destination")?,
        protocol: from_json(row.col("protocol")?)?,
        port: u16::try_from(row.col::<i64>("port")?)
            .map_err(|error| StoreError::damaged("read a stored port", error))?,
        process: row.filled("process")?,
        user: row.filled("user_name")?,
        service: row.filled("service")?,
        connections: row.count("connections")?,
        bytes_forth: row.count("bytes_forth")?,
        bytes_back: row.count("bytes_back")?,
        first_seen: row.time("first_seen")?.unix(),
        last_seen: row.time("last_seen")?.unix(),
    };
    Ok(StoredPath {
        id: row.col("id")?,
        asset: row.col("asset_name")?,
        path,
        from: from_word(row.col("read_from")?)?,
    })
}
