//! Findings of the platform about an asset, from the claims of hosts.

use xshield_model::Timestamp;
use xshield_store::assets::StoredAsset;
use xshield_store::{Conn, assets, claims};
use xshield_wire::message::Problem;

use super::words::{Names, copied_notice, notices, notices_to_holder};
use crate::error::Result;

/// Both sides are told of a copy for this many seconds after its last request.
const COPY_TOLD_FOR: i64 = 86_400;

/// What operators, and people on its host, should know about an asset.
///
/// # Errors
/// When the database fails.
pub async fn findings(
    conn: &mut Conn,
    asset: &StoredAsset,
    now: Timestamp,
) -> Result<Vec<Problem>> {
    let claims = claims::of(conn, &asset.id).await?;
    let mut names = Names::new();
    for other in claims.iter().filter_map(|claim| claim.other.as_ref()) {
        if let Some(other) = assets::by_id(conn, other.as_str()).await? {
            names.insert(other.id, other.name);
        }
    }
    let mut found = notices(&asset.name, &claims, &names);
    found.extend(notices_to_holder(&asset.name, &claims::about(conn, &asset.id).await?));
    if claims::lineage(conn, &asset.id).await?.copied_within(COPY_TOLD_FOR, now) {
        found.push(copied_notice(&asset.name));
    }
    Ok(found)
}
