//! What one host is told: signed anew only when it says something new.

use xshield_policy::inventory::Asset;
use xshield_wire::Bytes;
use xshield_wire::envelope;
use xshield_wire::threat::{ListName, ThreatOrder, ThreatStanding, ThreatWanted};

use super::parts::{self, Part};
use crate::clock::Timestamp;
use crate::problem::{Answer, Problem};
use crate::state::App;
use crate::store::assets::{self, StoredAsset};
use crate::store::threat_assets::{self, SignedOrder, StoredThreat};
use crate::store::{commit, threat_lists};

/// The order that an asset should have by now; nothing before there ever was a list, and for a
/// program that knows none.
///
/// # Errors
/// When database or disk fail.
pub(crate) async fn wanted(
    app: &App,
    asset: &StoredAsset,
    standing: Option<&ThreatStanding>,
    now: Timestamp,
) -> Answer<Option<ThreatWanted>> {
    let Some(standing) = standing else { return Ok(None) };
    let stored = threat_assets::get(&mut *app.store.read().await?, &asset.id).await?;
    let current = app.threat.current();
    if current.revision.is_none() && stored.order.is_none() {
        return Ok(None);
    }
    let part = part(app, &stored, standing).await?;
    let order = order(app, asset, &stored, part.as_ref()).await?;
    if let Some(known) = stored.order.filter(|known| known.order == order) {
        return Ok(Some(known.wanted()));
    }
    let mut tx = app.store.write().await?;
    // Another check-in of the same host may have been faster.
    let last = threat_assets::get(&mut tx, &asset.id).await?.sequence;
    let order = ThreatOrder { sequence: last + 1, ..order };
    let envelope =
        envelope::seal(&app.keys.policy, &order).map_err(|error| Problem::internal(&error))?;
    let signed = SignedOrder {
        digest: envelope.digest(),
        envelope: String::from_utf8_lossy(&envelope.to_bytes()).into_owned(),
        ordered_at: now,
        order,
    };
    if let Some(snapshot) = part.and_then(|part| part.snapshot) {
        threat_lists::put_file(&mut tx, &snapshot).await?;
        app.threat.paths.add([snapshot]);
    }
    threat_assets::put_order(&mut tx, &signed).await?;
    commit(tx).await?;
    Ok(Some(signed.wanted()))
}

async fn part(app: &App, stored: &StoredThreat, standing: &ThreatStanding) -> Answer<Option<Part>> {
    let budget = parts::budget(stored.budget, standing.memory, standing.budget);
    let app = app.clone();
    let found =
        tokio::task::spawn_blocking(move || app.threat.current().part(&app, budget)).await?;
    found.map_err(|error| Problem::internal(&error))
}

/// The order with the number of the last one.
async fn order(
    app: &App,
    asset: &StoredAsset,
    stored: &StoredThreat,
    part: Option<&Part>,
) -> Answer<ThreatOrder> {
    let rules = app.threat.rules();
    let mut described = Asset {
        id: asset.id.clone(),
        name: asset.name.clone(),
        tags: assets::Tags::new(),
        addresses: asset.addresses.clone(),
        os: asset.os.clone(),
        source: asset.source,
    };
    if !rules.segments.is_empty() {
        let mut conn = app.store.read().await?;
        let mut tags = assets::tags_of(&mut conn, std::iter::once(&asset.id)).await?;
        described.tags = tags.remove(&asset.id).unwrap_or_default();
    }
    let modes = rules.of(&described, stored.wish);
    let whole = app.threat.current().revision;
    let list = match (whole, part) {
        // An empty list is no list: the host takes its table out.
        (Some(whole), Some(part)) if part.entries > 0 => Some(ListName {
            revision: whole.revision,
            digest: Bytes(part.digest.0),
            entries: part.entries,
            least_confidence: part.least_confidence,
            whole_entries: whole.entries,
        }),
        _ => None,
    };
    Ok(ThreatOrder {
        asset: asset.id.clone(),
        sequence: stored.sequence,
        inbound: modes.inbound,
        outbound: modes.outbound,
        list,
        verify_every: rules.settings.verify_every,
    })
}
