//! Which ruleset each asset should have. The rulesets themselves are computed from policy and inventory, and
//! signed, when their hosts request them.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_policy::{AssetId, Revision};
use xshield_wire::RulesetVersion;
use xshield_wire::message::{Digest, InForce};

use super::rows::{Columns as _, unsigned};
use super::{Conn, Db, Doing as _, Row, StoreResult, rows};

/// Rows written by one statement.
const AT_ONCE: usize = 200;

/// Names a compiled ruleset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRuleset {
    /// Its version.
    pub version: RulesetVersion,
    /// Its payload's digest.
    pub digest: Digest,
    /// When it was compiled.
    pub compiled_at: Timestamp,
}

impl StoredRuleset {
    /// As hosts name it.
    #[must_use]
    pub fn wanted(&self) -> InForce {
        InForce { revision: self.version.revision, digest: self.digest }
    }

    /// Whether this is the ruleset of this revision with this digest.
    #[must_use]
    pub fn is(&self, revision: Revision, digest: Digest) -> bool {
        let is_counted = self.version.compilation > 0;
        is_counted && self.version.revision == revision && self.digest == digest
    }
}

/// The ruleset that an asset should have.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, asset: &AssetId) -> StoreResult<Option<StoredRuleset>> {
    let row = sqlx::query("SELECT * FROM ruleset WHERE asset_id = $1")
        .bind(asset.as_str())
        .fetch_optional(conn)
        .await
        .doing("read which ruleset is wanted")?;
    row.as_ref().map(read).transpose()
}

/// The ruleset that every asset should have.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> StoreResult<BTreeMap<String, StoredRuleset>> {
    let rows = sqlx::query("SELECT * FROM ruleset")
        .fetch_all(conn)
        .await
        .doing("read which rulesets are wanted")?;
    // An unreadable row is written again, since it differs from what is wanted.
    let of_one = |row: &Row| Ok((row.col("asset_id")?, read(row)?));
    Ok(rows::readable("wanted rulesets", &rows, of_one).into_iter().collect())
}

/// The number of a new compilation.
///
/// # Errors
/// When the database fails.
pub async fn next_compilation(conn: &mut Conn) -> StoreResult<u64> {
    let last: i64 = sqlx::query_scalar("UPDATE compilation SET last = last + 1 RETURNING last")
        .fetch_one(conn)
        .await
        .doing("count a compilation")?;
    Ok(unsigned(last))
}

/// The number of the last compilation.
///
/// # Errors
/// When the database fails.
pub async fn last_compilation(conn: &mut Conn) -> StoreResult<u64> {
    let last: i64 = sqlx::query_scalar("SELECT last FROM compilation")
        .fetch_one(conn)
        .await
        .doing("read the number of the last compilation")?;
    Ok(unsigned(last))
}

/// Continues the numbering of compilations above this number.
///
/// # Errors
/// When the database fails.
pub async fn count_from(conn: &mut Conn, number: u64) -> StoreResult<()> {
    sqlx::query("UPDATE compilation SET last = $1 WHERE last < $1")
        .bind(i64::try_from(number).unwrap_or(i64::MAX / 2).min(i64::MAX / 2))
        .execute(conn)
        .await
        .doing("number compilations from above what a host holds")?;
    Ok(())
}

/// Has an asset's ruleset compiled under a new number, whatever its digest.
///
/// # Errors
/// When the database fails.
pub async fn forget_number(conn: &mut Conn, asset: &AssetId) -> StoreResult<()> {
    sqlx::query("UPDATE ruleset SET compilation = 0 WHERE asset_id = $1")
        .bind(asset.as_str())
        .execute(conn)
        .await
        .doing("delete a ruleset's number")?;
    Ok(())
}

/// Stores which rulesets assets should have, all of one compilation. Assets deleted in the meantime are
/// omitted.
///
/// # Errors
/// When the database fails.
pub async fn put(
    conn: &mut Conn,
    version: RulesetVersion,
    digests: &[(AssetId, Digest)],
    now: Timestamp,
) -> StoreResult<()> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    for some in digests.chunks(AT_ONCE) {
        let mut query = QueryBuilder::<Db>::new("WITH wanted (asset_id, digest) AS (");
        query.push_values(some, |mut row, (asset, digest)| {
            row.push("CAST(").push_bind_unseparated(asset.as_str());
            row.push_unseparated(" AS TEXT)");
            row.push("CAST(").push_bind_unseparated(digest.to_base64());
            row.push_unseparated(" AS TEXT)");
        });
        query
            .push(
                ") INSERT INTO ruleset (asset_id, revision, compilation, digest, compiled_at) \
                 SELECT a.id, CAST(",
            )
            .push_bind(number(version.revision.0))
            .push(" AS BIGINT), CAST(")
            .push_bind(number(version.compilation))
            .push(" AS BIGINT), wanted.digest, CAST(")
            .push_bind(now.0)
            .push(
                " AS BIGINT) FROM wanted JOIN asset a ON a.id = wanted.asset_id WHERE true \
                 ON CONFLICT (asset_id) DO UPDATE SET revision = excluded.revision, \
                 compilation = excluded.compilation, digest = excluded.digest, \
                 compiled_at = excluded.compiled_at",
            );
        query.build().execute(&mut *conn).await.doing("store which rulesets are wanted")?;
    }
    Ok(())
}

fn read(row: &Row) -> StoreResult<StoredRuleset> {
    Ok(StoredRuleset {
        version: RulesetVersion {
            revision: Revision(row.count("revision")?),
            compilation: row.count("compilation")?,
        },
        digest: Digest::from_base64(row.col("digest")?).doing("read a stored digest")?,
        compiled_at: row.time("compiled_at")?,
    })
}
