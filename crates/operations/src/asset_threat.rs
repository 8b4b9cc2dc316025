//! The threat list state of an asset.

use xshield_api::threat_status::{AssetThreat, List};
use xshield_model::Timestamp;
use xshield_model::threat_settings::memory_budget;
use xshield_store::threat_assets::StoredThreat;
use xshield_wire::threat::ListName;

fn list(name: &ListName) -> List {
    List {
        revision: name.revision,
        entries: name.entries,
        whole_entries: name.whole_entries,
        least_confidence: name.least_confidence,
    }
}

/// The stored state of an asset; `None` when its program does not support threat lists.
#[must_use]
pub fn asset_threat(stored: &StoredThreat) -> Option<AssetThreat> {
    let (standing, told_at) = stored.standing.as_ref()?;
    let order = stored.order.as_ref();
    Some(AssetThreat {
        inbound: order.map(|signed| signed.order.inbound.into()),
        outbound: order.map(|signed| signed.order.outbound.into()),
        wanted: order.and_then(|signed| signed.order.list.as_ref()).map(list),
        in_force: standing.list.as_ref().map(list),
        up_to_date: order.is_none_or(|signed| standing.order == Some(signed.wanted()))
            && standing.failure.is_none(),
        budget: memory_budget(stored.budget, standing.memory, standing.budget),
        elements: standing.elements,
        verified_at: standing.verified_at.map(Timestamp::from_unix),
        failure: standing.failure.clone(),
        told_at: *told_at,
    })
}
