//! Tagged hosts, and the matches of listed peers that they report.

use serde_json::{Value, json};
use xshield_policy::{Direction, Protocol};
use xshield_wire::message::EventSource;
use xshield_wire::threat::{PolicyVerdict, ThreatAction, ThreatMatch};

use super::{TestHost, TestPlatform, now};

/// A host that has checked in, with tags from its key.
pub fn host(platform: &TestPlatform, name: &str, tags: Value) -> TestHost {
    let made = platform.post("/api/v1/enforcement-keys", json!({"name": "k", "tags": tags}));
    let mut host = TestHost::new(name, &made["key"].as_str().unwrap().parse().unwrap());
    host.sign_in(platform);
    host.check_in(platform);
    host
}

/// A blocked connection from a listed peer.
pub fn found(remote: &str, packets: u64) -> ThreatMatch {
    ThreatMatch {
        action: ThreatAction::Blocked,
        direction: Direction::Inbound,
        local: "192.0.2.10".parse().unwrap(),
        remote: remote.parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 443,
        rule: Some("web/https".parse().unwrap()),
        policy: PolicyVerdict::Allowed,
        process: Some("nginx".to_owned()),
        service: Some("nginx.service".to_owned()),
        packets,
        bytes: packets.saturating_mul(60),
        first_seen: now() - 60,
        last_seen: now(),
        from: EventSource::Recorder,
        revision: 7,
    }
}
