//! What a check-in changes in the database.

use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_wire::message::{CheckIn, Problem, Status};

use crate::{Conn, Doing as _, StoreResult, refusals, to_json};

/// The result of a check-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckedIn {
    /// Stored.
    Stored,
    /// It is not newer than the last one, which has this sequence number.
    Replayed(u64),
}

/// Stores a check-in if it is newer than the last one. It does not change what policy uses of a host: see
/// [`crate::claims`].
///
/// # Errors
/// When the database fails.
pub async fn check_in(
    conn: &mut Conn,
    id: &AssetId,
    message: &CheckIn,
    now: Timestamp,
) -> StoreResult<CheckedIn> {
    let (state, reason) = match &message.status {
        Status::Enforcing => ("enforcing", ""),
        Status::NoPolicy => ("no-policy", ""),
        Status::Blocked { by } => ("blocked", by.as_str()),
        Status::Failed { reason } => ("failed", reason.as_str()),
    };
    let sequence = i64::try_from(message.sequence).unwrap_or(i64::MAX);
    let done = sqlx::query(
        "UPDATE asset SET kernel = $3, addresses = $4, boot_id = $5, program_version = $6, \
         sequence = $2, state = $7, state_reason = $8, in_force_revision = $9, \
         in_force_digest = $10, problems = $11, last_check_in = $12, check_in_interval = $13, \
         routes = $14, usage = $15, trust_sequence = $16 \
         WHERE id = $1 AND sequence < $2",
    )
    .bind(id.as_str())
    .bind(sequence)
    .bind(&message.host.kernel)
    .bind(to_json(&message.host.addresses)?)
    .bind(&message.host.boot_id)
    .bind(&message.program.version)
    .bind(state)
    .bind(reason)
    .bind(message.in_force.map(|held| i64::try_from(held.revision.0).unwrap_or(i64::MAX)))
    .bind(message.in_force.map(|held| held.digest.to_base64()))
    .bind(to_json(&message.problems)?)
    .bind(now.0)
    .bind(message.interval.map(i64::from))
    .bind(to_json(&message.routes)?)
    .bind(message.usage.as_ref().map(to_json).transpose()?)
    .bind(message.trust.map(|sequence| i64::try_from(sequence).unwrap_or(i64::MAX)))
    .execute(&mut *conn)
    .await
    .doing("store the check-in")?;
    if done.rows_affected() > 0 {
        refusals::forget(conn, id).await?;
        return Ok(CheckedIn::Stored);
    }
    let last: i64 = sqlx::query_scalar("SELECT sequence FROM asset WHERE id = $1")
        .bind(id.as_str())
        .fetch_one(conn)
        .await
        .doing("read the last check-in")?;
    Ok(CheckedIn::Replayed(u64::try_from(last).unwrap_or(0)))
}

/// Replaces the problems of the last check-in.
///
/// # Errors
/// When the database fails.
pub async fn put_problems(conn: &mut Conn, id: &AssetId, problems: &[Problem]) -> StoreResult<()> {
    sqlx::query("UPDATE asset SET problems = $2 WHERE id = $1")
        .bind(id.as_str())
        .bind(to_json(&problems)?)
        .execute(conn)
        .await
        .doing("store the problems of a host")?;
    Ok(())
}
