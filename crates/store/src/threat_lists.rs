//! The revisions of the list, its files, and its exceptions.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::file_name::FileName;
use xshield_threat::{Confidence, Digest, FeedId, Prefix};

use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, Row, StoreResult, from_json, rows, to_json};

/// The inputs of a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The feeds' listings.
    pub feeds: Vec<SourceFeed>,
    /// The exceptions.
    pub exceptions: Vec<SourceException>,
}

/// A feed as input of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFeed {
    /// Its name.
    pub name: FeedId,
    /// Its listing's file.
    pub listing: String,
    /// Entries below this confidence are omitted.
    pub least: Confidence,
}

/// An exception as input of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceException {
    /// Its id.
    pub name: String,
    /// The addresses.
    pub prefix: Prefix,
}

/// A revision of the list.
#[derive(Debug, Clone)]
pub struct StoredRevision {
    /// Its number, from 1.
    pub revision: u64,
    /// Digest of its addresses.
    pub digest: Digest,
    /// The number of prefixes.
    pub entries: u64,
    /// Prefixes that are not in the previous revision.
    pub added: u64,
    /// Prefixes that are only in the previous revision.
    pub removed: u64,
    /// Why it was created.
    pub reason: String,
    /// The creation time.
    pub created_at: Timestamp,
    /// Its inputs.
    pub sources: Sources,
}

/// The last revision.
///
/// # Errors
/// When the database fails.
pub async fn latest(conn: &mut Conn) -> StoreResult<Option<StoredRevision>> {
    Ok(revisions(conn, None, 1).await?.pop())
}

/// Up to `limit` revisions older than `before`, newest first.
///
/// # Errors
/// When the database fails.
pub async fn revisions(
    conn: &mut Conn,
    before: Option<u64>,
    limit: u32,
) -> StoreResult<Vec<StoredRevision>> {
    let before = before.and_then(|value| i64::try_from(value).ok()).unwrap_or(i64::MAX);
    let query = || {
        let mut query = QueryBuilder::<Db>::new("SELECT * FROM threat_revision WHERE revision < ");
        query.push_bind(before).push(" ORDER BY revision DESC");
        Ok(query)
    };
    rows::page(conn, "threat revisions", limit, query, stored_revision).await
}

/// One revision.
///
/// # Errors
/// When the database fails.
pub async fn revision(conn: &mut Conn, revision: u64) -> StoreResult<Option<StoredRevision>> {
    let row = sqlx::query("SELECT * FROM threat_revision WHERE revision = $1")
        .bind(i64::try_from(revision).unwrap_or(i64::MAX))
        .fetch_optional(conn)
        .await
        .doing("read a threat revision")?;
    row.as_ref().map(stored_revision).transpose()
}

/// Adds a revision.
///
/// # Errors
/// When the database fails.
pub async fn insert_revision(conn: &mut Conn, revision: &StoredRevision) -> StoreResult<()> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO threat_revision (revision, digest, entries, added, removed, reason, \
         created_at, sources) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(number(revision.revision))
    .bind(revision.digest.to_string())
    .bind(number(revision.entries))
    .bind(number(revision.added))
    .bind(number(revision.removed))
    .bind(&revision.reason)
    .bind(revision.created_at.0)
    .bind(to_json(&revision.sources)?)
    .execute(conn)
    .await
    .doing("add a threat revision")?;
    Ok(())
}

/// Changes the inputs of a revision that lists the same addresses.
///
/// # Errors
/// When the database fails.
pub async fn set_sources(conn: &mut Conn, revision: u64, sources: &Sources) -> StoreResult<()> {
    sqlx::query("UPDATE threat_revision SET sources = $1 WHERE revision = $2")
        .bind(to_json(sources)?)
        .bind(i64::try_from(revision).unwrap_or(i64::MAX))
        .execute(conn)
        .await
        .doing("change the sources of a threat revision")?;
    Ok(())
}

/// Deletes revisions that are older than `before` or not among the newest `keep`, except those in `needed`
/// and the newest one.
///
/// # Errors
/// When the database fails.
pub async fn forget_revisions(
    conn: &mut Conn,
    before: Timestamp,
    keep: i64,
    needed: &BTreeSet<u64>,
) -> StoreResult<u64> {
    let mut query = QueryBuilder::<Db>::new(
        "DELETE FROM threat_revision WHERE revision < (SELECT max(revision) FROM threat_revision) \
         AND (created_at < ",
    );
    query.push_bind(before.0);
    query.push(" OR revision <= (SELECT max(revision) FROM threat_revision) - ").push_bind(keep);
    query.push(") AND revision NOT IN (-1");
    for revision in needed {
        query.push(", ").push_bind(i64::try_from(*revision).unwrap_or(-1));
    }
    query.push(")");
    let done = query.build().execute(conn).await.doing("delete old threat revisions")?;
    Ok(done.rows_affected())
}

fn stored_revision(row: &Row) -> StoreResult<StoredRevision> {
    Ok(StoredRevision {
        revision: row.count("revision")?,
        digest: row.col::<&str>("digest")?.parse().doing("read a stored digest")?,
        entries: row.count("entries")?,
        added: row.count("added")?,
        removed: row.count("removed")?,
        reason: row.col("reason")?,
        created_at: row.time("created_at")?,
        sources: from_json(row.col("sources")?)?,
    })
}

/// A file for download by hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredFile {
    /// Its name.
    pub name: FileName,
    /// The list to which it applies; `None` for a snapshot.
    pub base: Option<Digest>,
    /// The list that it yields.
    pub target: Digest,
    /// Its length.
    pub bytes: u64,
    /// The creation time.
    pub created_at: Timestamp,
}

/// All files for download by hosts.
///
/// # Errors
/// When the database fails.
pub async fn files(conn: &mut Conn) -> StoreResult<Vec<StoredFile>> {
    let rows = sqlx::query("SELECT * FROM threat_file")
        .fetch_all(conn)
        .await
        .doing("list threat files")?;
    let digest = |text: &str| text.parse::<Digest>().doing("read a stored digest");
    let file = |row: &Row| {
        let base: String = row.col("base")?;
        Ok(StoredFile {
            name: FileName(digest(row.col("sha256")?)?),
            base: if base.is_empty() { None } else { Some(digest(&base)?) },
            target: digest(row.col("target")?)?,
            bytes: row.count("bytes")?,
            created_at: row.time("created_at")?,
        })
    };
    Ok(rows::readable("threat files", &rows, file))
}

/// Adds a file; one that exists is kept.
///
/// # Errors
/// When the database fails.
pub async fn put_file(conn: &mut Conn, file: &StoredFile) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO threat_file (sha256, base, target, bytes, created_at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (sha256) DO UPDATE SET \
         created_at = excluded.created_at",
    )
    .bind(file.name.to_string())
    .bind(file.base.map(|base| base.to_string()).unwrap_or_default())
    .bind(file.target.to_string())
    .bind(i64::try_from(file.bytes).unwrap_or(i64::MAX))
    .bind(file.created_at.0)
    .execute(conn)
    .await
    .doing("add a threat file")?;
    Ok(())
}

/// Deletes files.
///
/// # Errors
/// When the database fails.
pub async fn forget_files(conn: &mut Conn, names: &[FileName]) -> StoreResult<()> {
    for names in names.chunks(500) {
        let mut query = QueryBuilder::<Db>::new("DELETE FROM threat_file WHERE sha256 IN (NULL");
        for name in names {
            query.push(", ").push_bind(name.to_string());
        }
        query.push(")");
        query.build().execute(&mut *conn).await.doing("delete threat files")?;
    }
    Ok(())
}

/// An exception: addresses that are never blocked.
#[derive(Debug, Clone)]
pub struct StoredException {
    /// Its id.
    pub id: String,
    /// An address, a CIDR, or `network:NAME`.
    pub target: String,
    /// The reason.
    pub reason: String,
    /// The creation time.
    pub created_at: Timestamp,
    /// The creator.
    pub created_by: String,
    /// The expiry; permanent if `None`.
    pub expires_at: Option<Timestamp>,
}

/// All exceptions, including expired ones.
///
/// # Errors
/// When the database fails.
pub async fn exceptions(conn: &mut Conn) -> StoreResult<Vec<StoredException>> {
    let rows = sqlx::query("SELECT * FROM threat_exception ORDER BY created_at, id")
        .fetch_all(conn)
        .await
        .doing("list threat exceptions")?;
    let exception = |row: &Row| {
        Ok(StoredException {
            id: row.col("id")?,
            target: row.col("target")?,
            reason: row.col("reason")?,
            created_at: row.time("created_at")?,
            created_by: row.col("created_by")?,
            expires_at: row.maybe_time("expires_at")?,
        })
    };
    rows::every("threat exceptions", &rows, exception)
}

/// Adds an exception.
///
/// # Errors
/// When the database fails.
pub async fn insert_exception(conn: &mut Conn, exception: &StoredException) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO threat_exception (id, target, reason, created_at, created_by, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&exception.id)
    .bind(&exception.target)
    .bind(&exception.reason)
    .bind(exception.created_at.0)
    .bind(&exception.created_by)
    .bind(exception.expires_at.map(|at| at.0))
    .execute(conn)
    .await
    .doing("add a threat exception")?;
    Ok(())
}

/// Deletes an exception; returns whether there was one.
///
/// # Errors
/// When the database fails.
pub async fn delete_exception(conn: &mut Conn, id: &str) -> StoreResult<bool> {
    let done = sqlx::query("DELETE FROM threat_exception WHERE id = $1")
        .bind(id)
        .execute(conn)
        .await
        .doing("delete a threat exception")?;
    Ok(done.rows_affected() > 0)
}
