//! Looks up objects by the name that a caller gives.

use xshield_policy::AssetId;
use xshield_store::assets::StoredAsset;
use xshield_store::{Conn, assets};

use crate::error::{OperationError, Result};

/// The asset of this id or name.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn asset(conn: &mut Conn, named: &str) -> Result<StoredAsset> {
    if let Some(found) = assets::by_id(conn, named).await? {
        return Ok(found);
    }
    let found = assets::by_name(conn, named).await?;
    found.ok_or_else(|| OperationError::not_found("asset", named))
}

/// The id of the asset of this id or name, if one is given.
///
/// # Errors
/// When it does not exist, or the database fails.
pub async fn asset_id(conn: &mut Conn, named: Option<&str>) -> Result<Option<AssetId>> {
    match named {
        Some(named) => Ok(Some(asset(conn, named).await?.id)),
        None => Ok(None),
    }
}
