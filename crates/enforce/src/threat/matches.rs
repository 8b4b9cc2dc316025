//! Matches of the threat list, from the kernel's recorder to reports.

use std::net::{IpAddr, SocketAddr};

use xshield_firewall::FlowKind;
use xshield_firewall::flows::Delta;
use xshield_host::log_line;
use xshield_host::program::Program;
use xshield_policy::{Bound, Direction, Packet, Protocol, Reason, RuleId, Verdict, decide};
use xshield_wire::message::{EventSource, ListeningPort};
use xshield_wire::threat::{PolicyVerdict, ThreatAction, ThreatMatch};

use crate::os;
use crate::reports::{self, Interval};
use xshield_host::program::Place;

/// What the host knows about itself when matches are reported.
pub(crate) struct Context<'a> {
    /// The policy in force, which would have judged the flows.
    pub(crate) bound: Option<&'a Bound>,
    /// The listening ports of this host.
    pub(crate) ports: &'a [ListeningPort],
    /// The list that was in force.
    pub(crate) revision: u64,
}

/// Unreported counts of the recorder since the last run.
pub(crate) struct Matches {
    /// The list that was in force.
    pub(crate) revision: u64,
    pub(crate) flows: Vec<Flow>,
}

/// A flow with a listed peer, from any source.
pub(crate) struct Flow {
    action: ThreatAction,
    direction: Direction,
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    port: u16,
    packets: u64,
    bytes: u64,
    seen: Interval,
    from: EventSource,
}

/// Differences of the recorder's counts, as matches.
pub(crate) fn recorded(flows: &[Delta], interval: Interval) -> Vec<Flow> {
    let matches = flows.iter().filter_map(|Delta { flow, .. }| {
        let action = match flow.kind {
            FlowKind::Denied => ThreatAction::Blocked,
            FlowKind::WouldDeny => ThreatAction::Recorded,
            // This table accepts nothing.
            FlowKind::Accepted => return None,
        };
        Some(Flow {
            action,
            direction: flow.direction,
            source: flow.source,
            destination: flow.destination,
            protocol: flow.protocol,
            port: flow.port,
            packets: flow.packets,
            bytes: flow.bytes,
            seen: interval.of(flow),
            from: EventSource::Recorder,
        })
    });
    matches.collect()
}

/// What the kernel logged, as matches, for kernels without a recorder.
pub(crate) fn logged(lines: &[log_line::LoggedThreat], own: &[IpAddr]) -> Vec<Flow> {
    // The kernel has one log for all network namespaces.
    let flows = lines.iter().map(|line| Flow::of(line, os::LOG));
    flows.filter(|flow| reports::is_local(flow.ends().0, own)).collect()
}

/// Matches that were sent to the log group as they occurred.
pub(crate) fn live(lines: &[log_line::LoggedThreat]) -> Vec<Flow> {
    lines.iter().map(|line| Flow::of(line, EventSource::Live)).collect()
}

impl Flow {
    fn of(line: &log_line::LoggedThreat, from: EventSource) -> Self {
        Self {
            action: line.action,
            direction: line.direction,
            source: line.source,
            destination: line.destination,
            protocol: line.protocol,
            port: line.port,
            packets: line.packets,
            bytes: line.bytes,
            seen: Interval { since: line.first_seen, until: line.last_seen },
            from,
        }
    }
}

impl Flow {
    /// This host's address and the listed one.
    fn ends(&self) -> (IpAddr, IpAddr) {
        match self.direction {
            Direction::Inbound => (self.destination, self.source),
            Direction::Outbound => (self.source, self.destination),
        }
    }

    /// This host's endpoint of the flow.
    pub(crate) fn place(&self) -> Place {
        let (local, remote) = self.ends();
        let end = match self.direction {
            Direction::Inbound => local,
            Direction::Outbound => remote,
        };
        (self.direction, self.protocol, SocketAddr::new(end, self.port))
    }

    /// `program`: the flow's program, if known.
    pub(crate) fn report(self, context: &Context<'_>, program: Option<&Program>) -> ThreatMatch {
        let (local, remote) = self.ends();
        let (policy, rule) = match context.bound {
            Some(bound) => {
                let transport = reports::transport(self.protocol, self.port);
                let owners = program.map(|program| reports::owners_of(bound, program));
                judged(
                    bound,
                    &Packet {
                        direction: self.direction,
                        peer: remote,
                        local: Some(local),
                        transport,
                        loopback: false,
                        owners: owners.unwrap_or_default(),
                    },
                )
            }
            None => (PolicyVerdict::NoPolicy, None),
        };
        let listening = match self.direction {
            Direction::Inbound => listener(context.ports, self.protocol, local, self.port),
            Direction::Outbound => None,
        };
        let process = program.and_then(|program| program.name.clone());
        let process = process.or_else(|| listening.and_then(|port| port.process.clone()));
        ThreatMatch {
            action: self.action,
            direction: self.direction,
            local,
            remote,
            protocol: self.protocol,
            port: self.port,
            rule,
            policy,
            process,
            service: program.and_then(|program| program.service.clone()),
            packets: self.packets,
            bytes: self.bytes,
            first_seen: self.seen.since,
            last_seen: self.seen.until,
            from: self.from,
            revision: context.revision,
        }
    }
}

/// What the policy alone would have done with a flow, and the rule that would have allowed it.
fn judged(bound: &Bound, packet: &Packet) -> (PolicyVerdict, Option<RuleId>) {
    let decision = decide(bound, packet);
    let policy = match decision.verdict {
        Verdict::Allow | Verdict::WouldDeny => PolicyVerdict::Allowed,
        Verdict::Deny => PolicyVerdict::Denied,
    };
    let rule = match decision.reason {
        Reason::Allow(rule) => Some(rule),
        Reason::Failsafe(kind) => RuleId::try_from(kind.label().to_owned()).ok(),
        Reason::Block(_) | Reason::NotSubject | Reason::NoRule | Reason::LeftAlone => None,
    };
    (policy, rule)
}

/// The program that listens at an address and port; one that listens at exactly this address is preferred to
/// one that listens at all.
fn listener(
    ports: &[ListeningPort],
    protocol: Protocol,
    local: IpAddr,
    port: u16,
) -> Option<&ListeningPort> {
    let there = ports.iter().filter(|listening| {
        let same_family = listening.address.is_ipv4() == local.is_ipv4();
        let everywhere = listening.address.is_unspecified() && same_family;
        listening.protocol == protocol
            && listening.port == port
            && (listening.address == local || everywhere)
    });
    there.max_by_key(|listening| (listening.address == local, listening.process.is_some()))
}
