//! The candidate policy and the committed revisions. Documents are JSON text here.

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_policy::Revision;

use super::rows::{Columns as _, unsigned};
use super::{Conn, Db, Doing as _, Row, StoreResult, rows};

/// The policy that operators are editing.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Increases with every edit; 0 if nothing was ever written.
    pub version: u64,
    /// JSON array of documents.
    pub documents: String,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// Who wrote it last.
    pub updated_by: String,
}

/// A committed policy.
#[derive(Debug, Clone)]
pub struct CommittedPolicy {
    /// Its number.
    pub revision: Revision,
    /// JSON array of documents; empty if only the summary was requested.
    pub documents: String,
    /// The operator's note.
    pub note: String,
    /// When it was synchronized.
    pub committed_at: Timestamp,
    /// Who committed it.
    pub committed_by: String,
}

/// The candidate; an empty one if nothing was ever written.
///
/// # Errors
/// When the database fails.
pub async fn candidate(conn: &mut Conn) -> StoreResult<Candidate> {
    let row = sqlx::query("SELECT * FROM policy_candidate WHERE id = 1")
        .fetch_optional(conn)
        .await
        .doing("read the candidate policy")?;
    Ok(match row {
        Some(row) => Candidate {
            version: row.count("version")?,
            documents: row.col("documents")?,
            updated_at: row.time("updated_at")?,
            updated_by: row.col("updated_by")?,
        },
        None => Candidate {
            version: 0,
            documents: "[]".to_owned(),
            updated_at: Timestamp(0),
            updated_by: String::new(),
        },
    })
}

/// Stores the candidate and returns its new version.
///
/// # Errors
/// When the database fails.
pub async fn put_candidate(
    conn: &mut Conn,
    documents: &str,
    by: &str,
    now: Timestamp,
) -> StoreResult<u64> {
    let version: i64 = sqlx::query_scalar(
        "INSERT INTO policy_candidate (id, version, documents, updated_at, updated_by) \
         VALUES (1, 1, $1, $2, $3) ON CONFLICT (id) DO UPDATE SET \
         version = policy_candidate.version + 1, documents = excluded.documents, \
         updated_at = excluded.updated_at, updated_by = excluded.updated_by RETURNING version",
    )
    .bind(documents)
    .bind(now.0)
    .bind(by)
    .fetch_one(conn)
    .await
    .doing("write the candidate policy")?;
    Ok(unsigned(version))
}

/// The current policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The latest committed revision.
    pub committed: Option<u64>,
    /// The candidate's version; 0 if nothing was ever written.
    pub candidate: u64,
}

/// The current policies, without their documents.
///
/// # Errors
/// When the database fails.
pub async fn versions(conn: &mut Conn) -> StoreResult<Versions> {
    let row = sqlx::query(
        "SELECT (SELECT max(revision) FROM policy_revision) AS committed, \
         (SELECT version FROM policy_candidate WHERE id = 1) AS candidate",
    )
    .fetch_one(conn)
    .await
    .doing("read which policies exist")?;
    Ok(Versions {
        committed: row.col::<Option<i64>>("committed")?.map(unsigned),
        candidate: row.col::<Option<i64>>("candidate")?.map_or(0, unsigned),
    })
}

/// The latest committed policy.
///
/// # Errors
/// When the database fails.
pub async fn committed(conn: &mut Conn) -> StoreResult<Option<CommittedPolicy>> {
    let row = sqlx::query("SELECT * FROM policy_revision ORDER BY revision DESC LIMIT 1")
        .fetch_optional(conn)
        .await
        .doing("read the committed policy")?;
    row.as_ref().map(committed_policy).transpose()
}

/// One committed policy.
///
/// # Errors
/// When the database fails.
pub async fn revision(conn: &mut Conn, revision: Revision) -> StoreResult<Option<CommittedPolicy>> {
    let row = sqlx::query("SELECT * FROM policy_revision WHERE revision = $1")
        .bind(i64::try_from(revision.0).unwrap_or(i64::MAX))
        .fetch_optional(conn)
        .await
        .doing("read a committed policy")?;
    row.as_ref().map(committed_policy).transpose()
}

/// Up to `limit` revisions older than `before`, newest first, without their documents.
///
/// # Errors
/// When the database fails.
pub async fn revisions(
    conn: &mut Conn,
    before: Option<u64>,
    limit: u32,
) -> StoreResult<Vec<CommittedPolicy>> {
    let before = before.and_then(|value| i64::try_from(value).ok()).unwrap_or(i64::MAX);
    let query = || {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT revision, '' AS documents, note, committed_at, committed_by \
             FROM policy_revision WHERE revision < ",
        );
        query.push_bind(before).push(" ORDER BY revision DESC");
        Ok(query)
    };
    rows::page(conn, "policy revisions", limit, query, committed_policy).await
}

/// Adds a committed policy.
///
/// # Errors
/// When the database fails or the revision exists.
pub async fn insert_revision(conn: &mut Conn, policy: &CommittedPolicy) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO policy_revision (revision, documents, note, committed_at, committed_by) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(i64::try_from(policy.revision.0).unwrap_or(i64::MAX))
    .bind(&policy.documents)
    .bind(&policy.note)
    .bind(policy.committed_at.0)
    .bind(&policy.committed_by)
    .execute(conn)
    .await
    .doing("commit a policy")?;
    Ok(())
}

fn committed_policy(row: &Row) -> StoreResult<CommittedPolicy> {
    Ok(CommittedPolicy {
        revision: Revision(row.count("revision")?),
        documents: row.col("documents")?,
        note: row.col("note")?,
        committed_at: row.time("committed_at")?,
        committed_by: row.col("committed_by")?,
    })
}
