//! What is pending for an asset, in one query.

use xshield_policy::{AssetId, Revision};
use xshield_wire::message::{Digest, InForce};

use super::rows::{Columns as _, unsigned};
use super::{Conn, Doing as _, StoreResult};

/// What is pending for an asset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// The ruleset it should have.
    pub wanted: Option<InForce>,
    /// Its threat settings, and the list and the modes of the platform.
    pub threat: String,
    /// The number of its last command.
    pub command: i64,
    /// The version of the configuration it should use; 0 if there is none.
    pub configuration: i64,
}

/// What is pending for an asset, without the platform's threat settings; `None` if there is no such asset in
/// service.
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
