//! What an asset has to hear of, in one look.

use xshield_policy::{AssetId, Revision};
use xshield_wire::message::{Digest, InForce};

use super::rows::{Columns as _, unsigned};
use super::{Conn, Doing as _, StoreResult};

/// What an asset has to hear of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// The ruleset it should have.
    pub wanted: Option<InForce>,
    /// What operators want of it about threats, and the list and the modes that hold for all.
    pub threat: String,
    /// The number of the last command it was given.
    pub command: i64,
    /// The version of the configuration it should use; 0 when there is none.
    pub configuration: i64,
}

/// What is pending for an asset, but for what holds for all about threats; `None` when there is no such asset in service.
///
/// # Errors
/// When the database fails.
pub async fn of(conn: &mut Conn, asset: &AssetId) -> StoreResult<Option<Pending>> {
    let row = sqlx::query(
        "SELECT r.revision, r.digest, COALESCE(c.version, 0) AS configuration, \
         COALESCE(o.inbound, '') || ' ' || COALESCE(o.outbound, '') || ' ' || \
         COALESCE(o.budget, 0) AS threat, \
         (SELECT COALESCE(max(t.number), 0) FROM command_target t WHERE t.asset_id = a.id) \
         AS command FROM asset a LEFT JOIN ruleset r ON r.asset_id = a.id \
         LEFT JOIN threat_asset o ON o.asset_id = a.id \
         LEFT JOIN asset_configuration c ON c.asset_id = a.id \
         WHERE a.id = $1 AND a.decommissioned_at IS NULL",
    )
    .bind(asset.as_str())
    .fetch_optional(&mut *conn)
    .await
    .doing("read what is pending")?;
    let Some(row) = row else { return Ok(None) };
    let wanted = match (row.col::<Option<i64>>("revision")?, row.col::<Option<&str>>("digest")?) {
        (Some(revision), Some(digest)) => Some(InForce {
            revision: Revision(unsigned(revision)),
            digest: Digest::from_base64(digest).doing("read a stored digest")?,
        }),
        _ => None,
    };
    Ok(Some(Pending {
        wanted,
        threat: row.col("threat")?,
        command: row.col("command")?,
        configuration: row.col("configuration")?,
    }))
}
