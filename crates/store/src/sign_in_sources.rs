//! Source addresses of sign-ins.

use xshield_model::Timestamp;

use super::{Conn, Doing as _, StoreResult};

/// Sources kept per account.
const MOST: i64 = 32;

/// Whether there was a sign-in to this account from this source since `since`.
///
/// # Errors
/// When the database fails.
pub async fn is_known(
    conn: &mut Conn,
    account: &str,
    source: &str,
    since: Timestamp,
) -> StoreResult<bool> {
    let found = sqlx::query_scalar::<_, i64>(
        "SELECT count(*) FROM sign_in_source \
         WHERE account = $1 AND source = $2 AND last_at >= $3",
    )
    .bind(account)
    .bind(source)
    .bind(since.0)
    .fetch_one(conn)
    .await
    .doing("look up a source of sign-ins")?;
    Ok(found > 0)
}

/// Records a sign-in from a source.
///
/// # Errors
/// When the database fails.
pub async fn note(conn: &mut Conn, account: &str, source: &str, now: Timestamp) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO sign_in_source (account, source, last_at) VALUES ($1, $2, $3) \
         ON CONFLICT (account, source) DO UPDATE SET last_at = excluded.last_at",
    )
    .bind(account)
    .bind(source)
    .bind(now.0)
    .execute(&mut *conn)
    .await
    .doing("record a source of sign-ins")?;
    sqlx::query(
        "DELETE FROM sign_in_source WHERE account = $1 AND source NOT IN (SELECT source FROM \
         sign_in_source WHERE account = $1 ORDER BY last_at DESC, source LIMIT $2)",
    )
    .bind(account)
    .bind(MOST)
    .execute(conn)
    .await
    .doing("delete sources of sign-ins")?;
    Ok(())
}
