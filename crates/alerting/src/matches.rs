//! Matches on their way in: counted once (batches are known by their ids) and queued for the alert rules.

use xshield_model::Timestamp;
use xshield_model::threat_match::ReadFrom;
use xshield_policy::AssetId;
use xshield_store::threat_events::{Judging, ThreatEvent};
use xshield_store::{StoreResult, Tx, threat_events};
use xshield_wire::bounds;

/// Names of programs and services are cut here, in bytes as JSON writes them.
const MAX_NAME: usize = 512;

/// Stores events of one asset, of which so many flows are kept.
///
/// # Errors
/// When the database fails.
pub async fn take(
    keep: i64,
    tx: &mut Tx,
    asset: &AssetId,
    events: impl Iterator<Item = ThreatEvent>,
    now: Timestamp,
) -> StoreResult<()> {
    for event in events {
        threat_events::add(tx, asset, &event, Judging::Wanted, now).await?;
        let counted = u64::from(event.read_from != ReadFrom::Live);
        metrics::counter!("xshield_threat_events_total").increment(counted);
    }
    make_room(keep, tx, asset).await
}

/// Forgets an asset's oldest flows beyond the `keep` that are kept.
///
/// # Errors
/// When the database fails.
pub async fn make_room(keep: i64, tx: &mut Tx, asset: &AssetId) -> StoreResult<()> {
    if threat_events::count(tx, asset).await? > keep {
        let forgotten = threat_events::trim(tx, asset, keep).await?;
        metrics::counter!("xshield_threat_events_forgotten_total").increment(forgotten);
    }
    Ok(())
}

/// A text that is short enough to keep.
#[must_use]
pub fn bounded(mut text: String) -> String {
    bounds::text(&mut text, MAX_NAME);
    text
}
