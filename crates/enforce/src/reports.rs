//! What a run observed, as reports.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ring::digest::{SHA256, digest};
use xshield_firewall::flows::{Delta, FlowCount};
use xshield_firewall::{FlowKind, Traffic};
use xshield_host::program::Program;
use xshield_policy::packet::Transport;
use xshield_policy::protocol::SCTP;
use xshield_policy::{
    Bound, Direction, ForwardedPacket, Owner, Packet, Passage, Protocol, Reason, RuleId, Verdict,
    decide, decide_forwarded,
};
use xshield_wire::Bytes;
use xshield_wire::message::{
    Digest, EventKind, EventSource, FirewallEvent, ListeningPort, UnixSeconds,
};

use xshield_host::program::Place;

use crate::flow_programs::FlowPrograms;

/// The time between two readings of the recorder, in which the differences were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    /// The previous reading.
    pub(crate) since: UnixSeconds,
    /// This reading.
    pub(crate) until: UnixSeconds,
}

impl Interval {
    /// When packets of a flow were seen: the last one if the recorder says so, the first one some time since
    /// the previous reading.
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
            Traffic::Own => deciding_rule(bound, &event, None),
            Traffic::Forwarded => deciding_rule_of_forwarded(bound, &event),
        });
        event
    });
    events.collect()
}

/// Whether a packet's local end is this host or multicast or broadcast. `own`: sorted.
pub(crate) fn is_about(event: &FirewallEvent, own: &[IpAddr]) -> bool {
    let local = match event.direction {
        Direction::Inbound => event.destination,
        Direction::Outbound => event.source,
    };
    is_local(local, own)
}

/// Whether an address belongs to this host or is multicast or broadcast. `own`: sorted.
pub(crate) fn is_local(address: IpAddr, own: &[IpAddr]) -> bool {
    let shared = match address {
        IpAddr::V4(address) => address.is_multicast() || address.octets()[3] == 255,
        IpAddr::V6(address) => address.is_multicast(),
    };
    shared || own.binary_search(&address).is_ok()
}

/// Adds the deciding rule where the log line can't name it because the kernel looks it up in a set.
pub(crate) fn name_rules(events: &mut [FirewallEvent], bound: Option<&Bound>) {
    for event in events {
        let named = event.rule.as_ref().is_some_and(|rule| rule.as_str().contains('/'));
        if !named {
            event.rule = bound.and_then(|bound| deciding_rule(bound, event, None));
        }
    }
}

/// Whether outbound rules of the ruleset are for programs: then a flow alone does not determine which rule
/// decided.
pub(crate) fn has_program_rules(bound: &Bound) -> bool {
    owned(bound).next().is_some()
}

/// Adds programs and deciding rules to outbound flows. Call it if [`has_program_rules`].
pub(crate) fn name_programs(events: &mut [FirewallEvent], bound: &Bound, behind: &FlowPrograms) {
    let outbound = events.iter_mut().filter(|event| {
        event.direction == Direction::Outbound && event.from == EventSource::Recorder
    });
    for event in outbound {
        let Some(program) = behind.get(&place(event)) else { continue };
        event.process.clone_from(&program.name);
        event.rule = deciding_rule(bound, event, Some(program));
    }
}

/// The remote endpoint of an outbound flow.
pub(crate) fn place(event: &FirewallEvent) -> Place {
    (event.direction, event.protocol, SocketAddr::new(event.destination, event.port))
}

/// The owners that outbound rules name.
fn owned(bound: &Bound) -> impl Iterator<Item = &Owner> {
    let rules =
        bound.outbound.stances().flat_map(|stance| stance.blocks.iter().chain(&stance.allows));
    rules.filter_map(|rule| rule.owner.as_ref())
}

/// Which of the owners named in rules sent this program's packets, according to the kernel.
pub(crate) fn owners_of(bound: &Bound, program: &Program) -> Vec<Owner> {
    let is_its = |owner: &&Owner| match owner {
        Owner::Uid(user) => program.uid == Some(*user),
        Owner::Cgroup(path) => path.rsplit('/').next() == program.service.as_deref(),
        // Events of Windows name the filter that decided, and so the rule.
        Owner::Windows { .. } => false,
    };
    owned(bound).filter(is_its).cloned().collect()
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

/// Replaces the rule if one for a program decided and it is not known which.
const BY_PROGRAM: &str = "default/by-program";

/// The rule that decided about a flow; `None` if level and mode did. `program`: the flow's program, as far as
/// known. The verdict must agree with the rule; if it does not, a rule for a program decided that has ended
/// since.
fn deciding_rule(
    bound: &Bound,
    event: &FirewallEvent,
    program: Option<&Program>,
) -> Option<RuleId> {
    let owners = program.map(|program| owners_of(bound, program)).unwrap_or_default();
    let packet = Packet { owners, ..packet_of(event) };
    let decision = decide(bound, &packet);
    let seen = match event.kind {
        EventKind::Accepted => Verdict::Allow,
        EventKind::Denied => Verdict::Deny,
        EventKind::WouldDeny => Verdict::WouldDeny,
    };
    if decision.verdict == seen || event.direction == Direction::Inbound {
        return rule_of(decision.reason);
    }
    let as_owned = |owner: &Owner| {
        let packet = Packet { owners: vec![owner.clone()], ..packet.clone() };
        let decision = decide(bound, &packet);
        (decision.verdict == seen).then(|| rule_of(decision.reason)).flatten()
    };
    let rules: BTreeSet<RuleId> = owned(bound).filter_map(as_owned).collect();
    let mut rules = rules.into_iter();
    match (rules.next(), rules.next()) {
        (Some(rule), None) => Some(rule),
        (None, _) => rule_of(decision.reason),
        (Some(_), Some(_)) => RuleId::try_from(BY_PROGRAM.to_owned()).ok(),
    }
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
        owners: Vec::new(),
    }
}

/// The same for a flow that this host forwarded. Of the two kinds of forwarded flows, a denied one was
/// translated if only those are enforced; a tested one may be either, and the same rules judge both.
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

/// The digest of a list of listening ports.
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

    /// An outbound side that denies everything except to certain programs.
    fn by_program() -> Bound {
        let rule = |id: &str, owner: Owner| xshield_policy::BoundRule {
            id: id.parse().unwrap(),
            peers: xshield_policy::AddressMatch::Any,
            services: vec!["tcp/443".parse().unwrap()],
            owner: Some(owner),
        };
        let closed = xshield_policy::BoundStance::closed();
        let mut block = rule("never/mail", Owner::Uid(8));
        block.services = vec!["tcp/25".parse().unwrap()];
        let mut backup = rule("t/backup", Owner::Uid(34));
        backup.services = vec!["tcp/22".parse().unwrap()];
        let outbound = xshield_policy::BoundStance {
            blocks: vec![block],
            allows: vec![
                rule("t/web", Owner::Uid(33)),
                rule("t/app", Owner::Cgroup("system.slice/app.service".to_owned())),
                backup,
            ],
            ..closed.clone()
        };
        Bound {
            revision: xshield_policy::Revision(1),
            failsafe: xshield_policy::BoundFailsafe::bare(Vec::new(), &[]),
            intranet: xshield_policy::RangeSet::empty(),
            inbound: xshield_policy::BoundDirection::enforcing(closed),
            outbound: xshield_policy::BoundDirection::enforcing(outbound),
            forwarded: xshield_policy::BoundForwarded::default(),
        }
    }

    #[test]
    fn an_outbound_flow_is_reported_with_the_rule_of_its_program() {
        let bound = by_program();
        assert!(has_program_rules(&bound));
        let program = |uid: Option<u32>, service: Option<&str>| Program {
            uid,
            service: service.map(str::to_owned),
            ..Program::default()
        };
        let www = program(Some(33), Some("cron.service"));
        let app = program(Some(0), Some("app.service"));
        for (kind, port, behind, expected) in [
            (EventKind::Accepted, 443, Some(www.clone()), Some("t/web")),
            (EventKind::Accepted, 443, Some(app), Some("t/app")),
            // The program has ended: with several rules it is not known which decided.
            (EventKind::Accepted, 443, None, Some(BY_PROGRAM)),
            (EventKind::Accepted, 443, Some(program(Some(7), None)), Some(BY_PROGRAM)),
            // The program has ended, and only one rule can have admitted it.
            (EventKind::Accepted, 22, None, Some("t/backup")),
            // Another program, which no rule admits.
            (EventKind::Denied, 443, Some(program(Some(7), None)), None),
            (EventKind::Denied, 443, None, None),
            (EventKind::Denied, 25, Some(program(Some(8), None)), Some("never/mail")),
            (EventKind::Denied, 25, None, None),
        ] {
            let event = FirewallEvent {
                kind,
                direction: Direction::Outbound,
                source: "10.0.0.1".parse().unwrap(),
                destination: "192.0.2.1".parse().unwrap(),
                protocol: Protocol::Tcp,
                port,
                rule: None,
                packets: 1,
                bytes: 1,
                first_seen: 1,
                last_seen: 2,
                from: EventSource::Recorder,
                process: None,
            };
            let rule = deciding_rule(&bound, &event, behind.as_ref());
            let rule = rule.as_ref().map(RuleId::as_str);
            assert_eq!(rule, expected, "{kind:?} {port} {behind:?}");
        }
    }

    #[test]
    fn first_and_last_seen_of_a_flow_follow_the_readings() {
        use xshield_policy::{Direction, Protocol};
        // Idle time in milliseconds; the previous reading; what is reported.
        for (idle_ms, since, told) in [
            (0, 700, (700, 1000)),
            (999, 700, (700, 1000)),
            (1_000, 700, (700, 999)),
            (240_000, 700, (700, 760)),
            // The resolution of the kernel's clock, or no previous reading.
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
}
