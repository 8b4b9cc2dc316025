//! An asset as policy sees it.

use xshield_policy::inventory::Asset;
use xshield_store::assets::{StoredAsset, Tags};

/// An asset as policy sees it.
pub(super) fn described(asset: &StoredAsset, tags: Tags) -> Asset {
    Asset {
        id: asset.id.clone(),
        name: asset.name.clone(),
        tags,
        addresses: asset.addresses.clone(),
        os: asset.os.clone(),
        source: asset.source,
    }
}
