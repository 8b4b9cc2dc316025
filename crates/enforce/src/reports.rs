//! What a run saw, as reports; and their delivery.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ring::digest::{SHA256, digest};
use xshield_firewall::flows::{Delta, FlowCount};
use xshield_firewall::{FlowKind, Hit, Traffic};
use xshield_policy::packet::Transport;
use xshield_policy::protocol::SCTP;
use xshield_policy::{
    Bound, Direction, ForwardedPacket, Packet, Passage, Protocol, Reason, RuleId, decide,
    decide_forwarded,
};
use xshield_wire::Bytes;
use xshield_wire::message::{
    Digest, EventKind, EventSource, FirewallEvent, ListeningPort, RuleHits, UnixSeconds,
};

/// The time between two readings of the recorder: what it counted anew came somewhere in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    /// End of the reading before.
    pub(crate) since: UnixSeconds,
    /// This reading.
    pub(crate) until: UnixSeconds,
}

impl Interval {
    /// When packets of a flow were seen in it: the last one when the recorder says, the first one at
    /// some time since the reading before.
    pub(crate) fn of(self, flow: &FlowCount) -> Self {
        let until = self.until.saturating_sub(flow.idle_ms / 1000);
        Self { since: self.since.min(until), until }
    }
}

/// Flow differences as events, each with the rule that decided under `bound`.
pub(crate) fn flow_events(
    flows: &[Delta],
    bound: Option<&Bound>,
    interval: Interval,
) -> Vec<FirewallEvent> {
    let events = flows.iter().map(|Delta { flow, .. }| {
        let kind = match flow.kind {
            FlowKind::Denied => EventKind::Denied,
            FlowKind::WouldDeny => EventKind::WouldDeny,
            FlowKind::Accepted => EventKind::Accepted,
        };
        let seen = interval.of(flow);
        let mut event = FirewallEvent {
            kind,
            direction: flow.direction,
            source: flow.source,
            destination: flow.destination,
            protocol: flow.protocol,
            port: flow.port,
            rule: None,
            packets: flow.packets,
            bytes: flow.bytes,
            first_seen: seen.since,
            last_seen: seen.until,
            from: EventSource::Recorder,
            process: None,
        };
        event.rule = bound.and_then(|bound| match flow.traffic {
            Traffic::Own => deciding_rule(bound, &event),
            Traffic::Forwarded => deciding_rule_of_forwarded(bound, &event),
        });
        event
    });
    events.collect()
}

/// Whether a packet's local end is this host, or no host in particular (multicast, broadcast). `own`:
/// in order.
pub(crate) fn is_about(event: &FirewallEvent, own: &[IpAddr]) -> bool {
    let local = match event.direction {
        Direction::Inbound => event.destination,
        Direction::Outbound => event.source,
    };
    is_local(local, own)
}

/// Whether an address is this host's, or no host's in particular (multicast, broadcast). `own`: in
/// order.
pub(crate) fn is_local(address: IpAddr, own: &[IpAddr]) -> bool {
    let shared = match address {
        IpAddr::V4(address) => address.is_multicast() || address.octets()[3] == 255,
        IpAddr::V6(address) => address.is_multicast(),
    };
    shared || own.binary_search(&address).is_ok()
}

/// Names the deciding rule where the log line could not: the kernel looks up a set there.
pub(crate) fn name_rules(events: &mut [FirewallEvent], bound: Option<&Bound>) {
    for event in events {
        let named = event.rule.as_ref().is_some_and(|rule| rule.as_str().contains('/'));
        if !named {
            event.rule = bound.and_then(|bound| deciding_rule(bound, event));
        }
    }
}

pub(crate) fn transport(protocol: Protocol, port: u16) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp(0, port),
        Protocol::Udp => Transport::Udp(0, port),
        Protocol::Other(SCTP) => Transport::Sctp(0, port),
        Protocol::Icmp => Transport::Icmp(u8::try_from(port).unwrap_or_default()),
        Protocol::Other(number) => Transport::Other(number),
    }
}

/// The rule that decided about a flow; `None` when level and mode did.
fn deciding_rule(bound: &Bound, event: &FirewallEvent) -> Option<RuleId> {
    rule_of(decide(bound, &packet_of(event)).reason)
}

fn packet_of(event: &FirewallEvent) -> Packet {
    let (peer, local) = match event.direction {
        Direction::Inbound => (event.source, event.destination),
        Direction::Outbound => (event.destination, event.source),
    };
    Packet {
        direction: event.direction,
        peer,
        local: Some(local),
        transport: transport(event.protocol, event.port),
        loopback: false,
        owner: None,
    }
}

/// The same for a flow that this host passed on. What the enforced stance denied alone of two kinds is
/// what was translated; what is only tested may be either, and the same rules judge both.
fn deciding_rule_of_forwarded(bound: &Bound, event: &FirewallEvent) -> Option<RuleId> {
    let passages = match event.kind {
        EventKind::WouldDeny => [Passage::Routed, Passage::Translated],
        EventKind::Denied | EventKind::Accepted => [Passage::Translated, Passage::Routed],
    };
    let packet = packet_of(event);
    let reasons = passages.map(|passage| {
        decide_forwarded(bound, &ForwardedPacket { packet: packet.clone(), passage }).reason
    });
    reasons.into_iter().find(|reason| *reason != Reason::LeftAlone).and_then(rule_of)
}

fn rule_of(reason: Reason) -> Option<RuleId> {
    match reason {
        Reason::Block(rule) | Reason::Allow(rule) => Some(rule),
        Reason::Failsafe(kind) => RuleId::try_from(kind.label().to_owned()).ok(),
        Reason::NotSubject | Reason::NoRule | Reason::LeftAlone => None,
    }
}

/// Hit counters as they were last reported, by direction and rule.
pub(crate) type LastHits = BTreeMap<String, (u64, u64)>;

/// What was added to each counter since `last`, which becomes the present reading. A counter that
/// went back was made anew.
pub(crate) fn hit_differences(hits: &[Hit], last: &mut LastHits) -> Vec<RuleHits> {
    let mut now = LastHits::new();
    let mut differences = Vec::new();
    for hit in hits {
        let Ok(rule) = RuleId::try_from(hit.rule.clone()) else { continue };
        let key = format!("{} {}", hit.direction, hit.rule);
        let (packets, bytes) = last.get(&key).copied().unwrap_or_default();
        let restarted = hit.packets < packets || hit.bytes < bytes;
        let base = if restarted { (0, 0) } else { (packets, bytes) };
        if hit.packets > base.0 {
            differences.push(RuleHits {
                rule,
                direction: hit.direction,
                packets: hit.packets - base.0,
                bytes: hit.bytes - base.1,
            });
        }
        now.insert(key, (hit.packets, hit.bytes));
    }
    *last = now;
    differences
}

/// Identifies a list of listening ports.
pub(crate) fn ports_digest(ports: &[ListeningPort]) -> Digest {
    sha256(&crate::client::to_json(&ports))
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Bytes(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshield_firewall::programmed::Action;

    fn hit(rule: &str, packets: u64) -> Hit {
        Hit {
            rule: rule.to_owned(),
            direction: Direction::Inbound,
            action: Action::Allow,
            packets,
            bytes: packets * 100,
        }
    }

    #[test]
    fn a_flow_was_last_seen_when_the_recorder_says_and_first_since_the_reading_before() {
        use xshield_policy::{Direction, Protocol};
        // Idle for so long, in milliseconds; when the reading before was; what is told.
        for (idle_ms, since, told) in [
            (0, 700, (700, 1000)),
            (999, 700, (700, 1000)),
            (1_000, 700, (700, 999)),
            (240_000, 700, (700, 760)),
            // The tick of the kernel's clock, or no reading before.
            (300_900, 700, (700, 700)),
            (301_000, 700, (699, 699)),
            (60_000, 1000, (940, 940)),
            (u64::MAX, 700, (0, 0)),
        ] {
            let flow = FlowCount {
                kind: FlowKind::Denied,
                traffic: Traffic::Own,
                direction: Direction::Inbound,
                source: "198.51.100.7".parse().unwrap(),
                destination: "192.0.2.10".parse().unwrap(),
                protocol: Protocol::Tcp,
                port: 443,
                packets: 3,
                bytes: 180,
                expires_in_ms: 0,
                idle_ms,
            };
            let deltas = [Delta { flow, exact: true }];
            let interval = Interval { since, until: 1000 };
            let events = flow_events(&deltas, None, interval);
            let event = &events[0];
            assert_eq!((event.first_seen, event.last_seen), told, "idle for {idle_ms} ms");
        }
    }

    #[test]
    fn hits_are_counted_once_and_a_counter_that_went_back_began_anew() {
        let mut last = LastHits::new();
        let mut packets = |hits: &[Hit]| -> Vec<u64> {
            hit_differences(hits, &mut last).iter().map(|hits| hits.packets).collect()
        };
        assert_eq!(packets(&[hit("t/a", 5), hit("t/b", 0)]), [5]);
        assert_eq!(packets(&[hit("t/a", 5), hit("t/b", 1)]), [1]);
        assert_eq!(packets(&[hit("t/a", 7)]), [2]);
        assert_eq!(packets(&[hit("t/a", 3), hit("t/b", 1)]), [3, 1]);
    }
}
