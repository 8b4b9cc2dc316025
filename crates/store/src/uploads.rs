//! Metadata of files that hosts upload. [`crate::uploads`] stores the content.

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_wire::Bytes;

use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, Row, StoreError, StoreResult, rows};

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id, created by the platform; names the file.
    pub id: String,
    /// The command that requested it.
    pub command: String,
    /// Its asset.
    pub asset: AssetId,
    /// The asset's name.
    pub asset_name: String,
    /// The total size in bytes.
    pub total: u64,
    /// The SHA-256 of the whole file.
    pub digest: Bytes<32>,
    /// Bytes on disk.
    pub received: u64,
    /// Whether it is complete and verified.
    pub progress: Progress,
    /// When it began.
    pub created_at: Timestamp,
    /// When the last chunk arrived.
    pub changed_at: Timestamp,
}

/// Whether an upload is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Chunks are missing, or it is not verified yet.
    Partial,
    /// Complete and verified.
    Complete,
}

const COLUMNS: &str =
    "SELECT u.*, a.name AS asset_name FROM upload u JOIN asset a ON a.id = u.asset_id";

/// The upload of an asset for a command.
///
/// # Errors
/// When the database fails.
pub async fn of_command(
    conn: &mut Conn,
    asset: &AssetId,
    command: &str,
) -> StoreResult<Option<Upload>> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push(" WHERE u.asset_id = ").push_bind(asset.as_str().to_owned());
    query.push(" AND u.job_id = ").push_bind(command.to_owned());
    let row = query.build().fetch_optional(conn).await.doing("read an upload")?;
    row.as_ref().map(stored).transpose()
}

/// The upload of this id.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, id: &str) -> StoreResult<Option<Upload>> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push(" WHERE u.id = ").push_bind(id.to_owned());
    let row = query.build().fetch_optional(conn).await.doing("read an upload")?;
    row.as_ref().map(stored).transpose()
}

/// The filter.
#[derive(Debug, Default)]
pub struct UploadFilter {
    /// Of this asset.
    pub asset: Option<AssetId>,
    /// For this command.
    pub command: Option<String>,
    /// Complete ones only.
    pub complete: bool,
}

/// Up to `limit` uploads before the position `(created_at, id)`, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &UploadFilter,
    before: Option<(i64, String)>,
    limit: u32,
) -> StoreResult<Vec<Upload>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new(COLUMNS);
        query.push(" WHERE 1 = 1");
        if let Some(asset) = &filter.asset {
            query.push(" AND u.asset_id = ").push_bind(asset.as_str().to_owned());
        }
        if let Some(command) = &filter.command {
            query.push(" AND u.job_id = ").push_bind(command.clone());
        }
        if filter.complete {
            query.push(" AND u.complete = 1");
        }
        if let Some((at, id)) = &before {
            query.push(" AND (u.created_at < ").push_bind(*at);
            query.push(" OR (u.created_at = ").push_bind(*at);
            query.push(" AND u.id < ").push_bind(id.clone()).push("))");
        }
        query.push(" ORDER BY u.created_at DESC, u.id DESC");
        Ok(query)
    };
    rows::page(conn, "uploads", limit, query, stored).await
}

/// Stores an upload; one of the same asset and command is replaced.
///
/// # Errors
/// When the database fails.
pub async fn put(conn: &mut Conn, upload: &Upload) -> StoreResult<()> {
    let count = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO upload (id, job_id, asset_id, total, digest, received, complete, created_at, \
         changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (asset_id, job_id) DO UPDATE SET id = excluded.id, total = excluded.total, \
         digest = excluded.digest, received = excluded.received, complete = excluded.complete, \
         created_at = excluded.created_at, changed_at = excluded.changed_at",
    )
    .bind(&upload.id)
    .bind(&upload.command)
    .bind(upload.asset.as_str())
    .bind(count(upload.total))
    .bind(upload.digest.0.to_vec())
    .bind(count(upload.received))
    .bind(i64::from(upload.progress == Progress::Complete))
    .bind(upload.created_at.0)
    .bind(upload.changed_at.0)
    .execute(conn)
    .await
    .doing("write an upload down")?;
    Ok(())
}

/// Deletes an upload.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, id: &str) -> StoreResult<()> {
    sqlx::query("DELETE FROM upload WHERE id = $1")
        .bind(id)
        .execute(conn)
        .await
        .doing("delete an upload")?;
    Ok(())
}

/// The total size of all uploads once they are complete, in bytes.
///
/// # Errors
/// When the database fails.
pub async fn bytes(conn: &mut Conn) -> StoreResult<u64> {
    let row = sqlx::query(concat!("SELECT ", total!("total"), " AS bytes FROM upload"))
        .fetch_one(conn)
        .await
        .doing("add up uploads")?;
    row.count("bytes")
}

/// Deletes uploads whose last chunk arrived before `before`.
///
/// # Errors
/// When the database fails.
pub async fn forget(conn: &mut Conn, before: Timestamp) -> StoreResult<()> {
    sqlx::query("DELETE FROM upload WHERE changed_at < $1")
        .bind(before.0)
        .execute(conn)
        .await
        .doing("delete old uploads")?;
    Ok(())
}

/// The ids of all uploads.
///
/// # Errors
/// When the database fails.
pub async fn ids(conn: &mut Conn) -> StoreResult<std::collections::BTreeSet<String>> {
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT id FROM upload").fetch_all(conn).await.doing("list uploads")?;
    Ok(ids.into_iter().collect())
}

fn stored(row: &Row) -> StoreResult<Upload> {
    let digest: [u8; 32] = row
        .col::<Vec<u8>>("digest")?
        .try_into()
        .map_err(|_| StoreError::damaged("read a stored digest", "wrong length"))?;
    Ok(Upload {
        id: row.col("id")?,
        command: row.col("job_id")?,
        asset: row.col::<&str>("asset_id")?.parse().doing("read a stored id")?,
        asset_name: row.col("asset_name")?,
        total: row.count("total")?,
        digest: Bytes(digest),
        received: row.count("received")?,
        progress: match row.col::<i64>("complete")? {
            0 => Progress::Partial,
            _ => Progress::Complete,
        },
        created_at: row.time("created_at")?,
        changed_at: row.time("changed_at")?,
    })
}
