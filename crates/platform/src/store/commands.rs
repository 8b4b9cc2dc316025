//! Commands that wait for hosts. One is told at every check-in until a report shows that it was
//! carried out: an answer can be lost, and carrying it out twice does no harm.

use sqlx::Row as _;
use xshield_policy::AssetId;
use xshield_wire::message::{Command, CommandKind};

use super::{Conn, Doing as _, StoreResult, from_word, word};
use crate::clock::Timestamp;

/// The commands that wait for an asset, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn waiting(conn: &mut Conn, id: &AssetId) -> StoreResult<Vec<Command>> {
    let rows = sqlx::query(
        "SELECT id, kind FROM command WHERE asset_id = $1 ORDER BY created_at, id LIMIT 32",
    )
    .bind(id.as_str())
    .fetch_all(conn)
    .await
    .doing("read commands")?;
    rows.iter()
        .map(|row| {
            let kind = from_word(row.get("kind"))?;
            Ok(Command { id: row.get("id"), kind, expires: None, duration: None })
        })
        .collect()
}

/// Adds a command.
///
/// # Errors
/// When the database fails.
pub async fn add(
    conn: &mut Conn,
    asset: &AssetId,
    id: &str,
    kind: CommandKind,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query("INSERT INTO command (id, asset_id, kind, created_at) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(asset.as_str())
        .bind(word(&kind)?)
        .bind(now.0)
        .execute(conn)
        .await
        .doing("add a command")?;
    Ok(())
}

/// Ends the commands of a kind that were given before `created`, the host's word for when it made
/// the report that carries them out.
///
/// # Errors
/// When the database fails.
pub async fn end(
    conn: &mut Conn,
    asset: &AssetId,
    kind: CommandKind,
    created: Timestamp,
) -> StoreResult<()> {
    sqlx::query("DELETE FROM command WHERE asset_id = $1 AND kind = $2 AND created_at <= $3")
        .bind(asset.as_str())
        .bind(word(&kind)?)
        .bind(created.0)
        .execute(conn)
        .await
        .doing("end commands")?;
    Ok(())
}

/// Ends a command.
///
/// # Errors
/// When the database fails.
pub async fn finish(conn: &mut Conn, asset: &AssetId, id: &str) -> StoreResult<()> {
    sqlx::query("DELETE FROM command WHERE asset_id = $1 AND id = $2")
        .bind(asset.as_str())
        .bind(id)
        .execute(conn)
        .await
        .doing("end a command")?;
    Ok(())
}
