//! Matches on their way in: bounded, with what the list said of the peer, counted once
//! (batches are known by their ids) and queued for the alert rules.

use xshield_model::Timestamp;
use xshield_model::threat_match::ReadFrom;
use xshield_policy::AssetId;
use xshield_store::threat_events::{Judging, ThreatEvent};
use xshield_store::{StoreResult, Tx, threat_events};
use xshield_wire::bounds;
use xshield_wire::message::EventSource;
use xshield_wire::threat::ThreatMatch;

use xshield_intelligence::past::Attribution;

/// How far a host's clock may be ahead, in seconds, before its times are cut.
const AHEAD: i64 = 300;
/// Names of programs and services are cut here, in bytes as JSON writes them.
const MAX_NAME: usize = 512;

/// Stores events of one asset, of which so many flows are kept.
///
/// # Errors
/// When the database fails.
pub(crate) async fn take(
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
pub(crate) async fn make_room(keep: i64, tx: &mut Tx, asset: &AssetId) -> StoreResult<()> {
    if threat_events::count(tx, asset).await? > keep {
        let forgotten = threat_events::trim(tx, asset, keep).await?;
        metrics::counter!("xshield_threat_events_forgotten_total").increment(forgotten);
    }
    Ok(())
}

/// A match as a host told it: bounded, with what the list said of the peer. Blocks.
pub(crate) fn read(
    attribution: &mut Attribution,
    found: ThreatMatch,
    now: Timestamp,
) -> ThreatEvent {
    let latest = now.plus(AHEAD);
    let last_seen = Timestamp::from_unix(found.last_seen).min(latest);
    let remote = found.remote.to_canonical();
    ThreatEvent {
        action: found.action,
        direction: found.direction,
        remote,
        local: Some(found.local.to_canonical()),
        protocol: found.protocol,
        port: found.port,
        process: found.process.map(bounded),
        service: found.service.map(bounded),
        via: None,
        rule: found.rule.map(String::from),
        policy: Some(found.policy),
        request: None,
        read_from: match found.from {
            EventSource::Recorder => ReadFrom::Recorder,
            EventSource::KernelLog => ReadFrom::KernelLog,
            EventSource::Live => ReadFrom::Live,
        },
        revision: found.revision,
        intelligence: attribution.of(found.revision, remote, last_seen),
        packets: found.packets,
        bytes: found.bytes,
        first_seen: Timestamp::from_unix(found.first_seen).min(last_seen),
        last_seen,
    }
}

/// A text that is short enough to keep.
pub(crate) fn bounded(mut text: String) -> String {
    bounds::text(&mut text, MAX_NAME);
    text
}
