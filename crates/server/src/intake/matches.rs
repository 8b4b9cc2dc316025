//! Threat matches as reported by hosts.

use xshield_alerting::matches::bounded;
use xshield_intelligence::past::Attribution;
use xshield_model::Timestamp;
use xshield_model::threat_match::ReadFrom;
use xshield_store::threat_events::ThreatEvent;
use xshield_wire::message::EventSource;
use xshield_wire::threat::ThreatMatch;

/// How far a host's clock may be ahead, in seconds, before its times are clamped.
const AHEAD: i64 = 300;

/// A match as reported by a host: within limits, with what the list says about the peer. Blocks.
pub(super) fn read(
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
            EventSource::SecurityLog => ReadFrom::SecurityLog,
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
