//! Problems that hosts reported, including past ones: one that occurred between two visits of an operator is
//! still shown.

use std::collections::BTreeSet;

use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_wire::message::Problem;

use super::rows::Columns as _;
use super::{Conn, Doing as _, Row, StoreResult, rows};

/// Problems of one check-in that are recorded; the others are only shown as current.
const NOTED_AT_ONCE: usize = 100;
/// Problems kept per asset.
const KEPT: i64 = 200;

/// A problem over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProblem {
    /// Its code.
    pub code: String,
    /// Its text.
    pub text: String,
    /// The first check-in that reported it.
    pub first_seen: Timestamp,
    /// The last one.
    pub last_seen: Timestamp,
    /// How often it occurred: a problem that persists over several check-ins occurred once.
    pub times: u64,
}

/// Records the problems of a check-in; `before`: those of the previous one.
///
/// # Errors
/// When the database fails.
pub async fn note(
    conn: &mut Conn,
    asset: &AssetId,
    before: &[Problem],
    now_told: &[Problem],
    now: Timestamp,
) -> StoreResult<()> {
    let key = |problem: &Problem| (problem.code.clone(), problem.text.clone());
    let before: BTreeSet<_> = before.iter().map(key).collect();
    let told: BTreeSet<_> = now_told.iter().map(key).take(NOTED_AT_ONCE).collect();
    let mut news = false;
    for problem in told {
        let again = !before.contains(&problem);
        news |= again;
        sqlx::query(
            "INSERT INTO problem_history (asset_id, code, text, first_seen, last_seen, times) \
             VALUES ($1, $2, $3, $4, $4, 1) ON CONFLICT (asset_id, code, text) DO UPDATE SET \
             last_seen = excluded.last_seen, times = problem_history.times + $5",
        )
        .bind(asset.as_str())
        .bind(problem.0)
        .bind(problem.1)
        .bind(now.0)
        .bind(i64::from(again))
        .execute(&mut *conn)
        .await
        .doing("write a problem down")?;
    }
    if news {
        sqlx::query(
            "DELETE FROM problem_history WHERE asset_id = $1 AND (code, text) IN \
             (SELECT code, text FROM problem_history WHERE asset_id = $1 \
             ORDER BY last_seen DESC, times DESC, code, text LIMIT 1000000000 OFFSET $2)",
        )
        .bind(asset.as_str())
        .bind(KEPT)
        .execute(conn)
        .await
        .doing("delete old problems")?;
    }
    Ok(())
}

/// The problems of an asset, most recently seen first.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, asset: &AssetId) -> StoreResult<Vec<StoredProblem>> {
    let rows = sqlx::query(
        "SELECT * FROM problem_history WHERE asset_id = $1 ORDER BY last_seen DESC, code, text",
    )
    .bind(asset.as_str())
    .fetch_all(conn)
    .await
    .doing("read problems")?;
    let stored = |row: &Row| {
        Ok(StoredProblem {
            code: row.col("code")?,
            text: row.col("text")?,
            first_seen: row.time("first_seen")?,
            last_seen: row.time("last_seen")?,
            times: row.count("times")?,
        })
    };
    Ok(rows::readable("problems", &rows, stored))
}
