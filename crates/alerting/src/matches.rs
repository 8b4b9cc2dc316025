//! Incoming matches: deduplicated (batches have ids) and queued for the alert rules.

use xshield_model::Timestamp;
use xshield_model::threat_match::ReadFrom;
use xshield_policy::AssetId;
use xshield_store::threat_events::{AlertEvaluation, ThreatEvent};
use xshield_store::{StoreResult, Tx, threat_events};
use xshield_wire::bounds;

/// The limit for names of programs and services, in bytes as JSON.
const MAX_NAME: usize = 512;

/// Stores events of one asset, with a limit on the number of flows kept.
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
        threat_events::add(tx, asset, &event, AlertEvaluation::Wanted, now).await?;
        let counted = u64::from(event.read_from != ReadFrom::Live);
        metrics::counter!("xshield_threat_events_total").increment(counted);
    }
    make_room(keep, tx, asset).await
}

/// Deletes an asset's oldest flows beyond the limit `keep`.
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

/// A text truncated to the limit.
#[must_use]
pub fn bounded(mut text: String) -> String {
    bounds::text(&mut text, MAX_NAME);
    text
}
