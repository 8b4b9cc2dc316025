//! What a check-in leaves of itself.

use xshield_policy::AssetId;
use xshield_wire::message::{CheckIn, Status};

use super::source;
use crate::clock::Timestamp;
use crate::store::{Conn, Doing as _, StoreResult, to_json, word};

/// What became of a check-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckedIn {
    /// Stored.
    Stored,
    /// Not newer than the last one, whose sequence number this is.
    Replayed(u64),
}

/// Stores a check-in if it is newer than the last one.
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
    let source = source(message.program.kind);
    let sequence = i64::try_from(message.sequence).unwrap_or(i64::MAX);
    let done = sqlx::query(
        "UPDATE asset SET os = $3, kernel = $4, addresses = $5, boot_id = $6, source = $7, \
         program_version = $8, sequence = $2, state = $9, state_reason = $10, \
         in_force_revision = $11, in_force_digest = $12, problems = $13, last_check_in = $14, \
         check_in_interval = $15, routes = $16, usage = $17 \
         WHERE id = $1 AND sequence < $2",
    )
    .bind(id.as_str())
    .bind(sequence)
    .bind(&message.host.os)
    .bind(&message.host.kernel)
    .bind(to_json(&message.host.addresses)?)
    .bind(&message.host.boot_id)
    .bind(word(&source)?)
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
    .execute(&mut *conn)
    .await
    .doing("store the check-in")?;
    if done.rows_affected() > 0 {
        return Ok(CheckedIn::Stored);
    }
    let last: i64 = sqlx::query_scalar("SELECT sequence FROM asset WHERE id = $1")
        .bind(id.as_str())
        .fetch_one(conn)
        .await
        .doing("read the last check-in")?;
    Ok(CheckedIn::Replayed(u64::try_from(last).unwrap_or(0)))
}
