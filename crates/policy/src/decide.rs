//! The decision of a bound ruleset about one packet. This is the specification with which the kernel is
//! compared.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::bind::{Bound, BoundDirection, BoundFailsafe, BoundRule, BoundStance};
use crate::level::{Direction, Subject};
use crate::names::RuleId;
use crate::packet::{Packet, Transport};
use crate::protocol;
use crate::service::Service;

/// The verdict on a packet. The default denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Dropped and recorded.
    #[default]
    Deny,
    /// Recorded and accepted: only a stance in mode `test` denies it.
    WouldDeny,
    /// Accepted.
    Allow,
}

/// A failsafe flow, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailsafeKind {
    /// On a loopback interface, or translated to an address of this host on its way out.
    Loopback,
    /// Outbound TCP to the platform or a configured proxy; on the platform's own host, inbound TCP to its
    /// addresses.
    Platform,
    /// Outbound port 53 to a resolver of this host.
    Dns,
    /// Outbound NTP to a time server of this host, and the keys for it.
    Ntp,
    /// DHCP client traffic, IPv4 and IPv6.
    Dhcp,
    /// ICMPv6 neighbour discovery (RFC 4861) and multicast listener discovery (RFC 2710, RFC 3810).
    NeighbourDiscovery,
    /// Membership of IPv4 multicast groups (IGMP, RFC 3376), corresponding to multicast listener discovery
    /// for IPv6.
    Igmp,
    /// ICMP destination unreachable, time exceeded, parameter problem; ICMPv6 types 1 to 4.
    IcmpError,
    /// Inbound from a management source.
    Management,
}

impl FailsafeKind {
    /// The label of the kind, which replaces a rule in events and hit counts.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Loopback => "failsafe/loopback",
            Self::Platform => "failsafe/platform",
            Self::Dns => "failsafe/dns",
            Self::Ntp => "failsafe/ntp",
            Self::Dhcp => "failsafe/dhcp",
            Self::NeighbourDiscovery => "failsafe/neighbour-discovery",
            Self::Igmp => "failsafe/igmp",
            Self::IcmpError => "failsafe/icmp-error",
            Self::Management => "failsafe/management",
        }
    }
}

/// The reason of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A failsafe flow.
    Failsafe(FailsafeKind),
    /// A `block` rule.
    Block(RuleId),
    /// An allow rule.
    Allow(RuleId),
    /// The level does not close this traffic, and no block rule matches.
    NotSubject,
    /// The level closes this traffic, and no rule allows it.
    NoRule,
    /// Forwarded traffic of this kind is not judged.
    LeftAlone,
}

/// A verdict and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The reason.
    pub reason: Reason,
}

/// Judges the first packet of a flow; the verdict applies to all packets of the flow, in both directions.
///
/// Order: the failsafe, then the enforced stance, then the tested one. Within a stance: block rules, allow
/// rules (the first that matches is named), then the level. What the enforced stance denies is denied,
/// whatever is tested. The threat list, which comes between failsafe and block rules, is not part of a bound
/// ruleset.
#[must_use]
pub fn decide(bound: &Bound, packet: &Packet) -> Decision {
    if let Some(kind) = failsafe(&bound.failsafe, packet) {
        return Decision { verdict: Verdict::Allow, reason: Reason::Failsafe(kind) };
    }
    let rules = bound.direction(packet.direction);
    let passed = match judge(&rules.enforced, bound, packet) {
        Judgement::Denied(reason) => return Decision { verdict: Verdict::Deny, reason },
        Judgement::Passed(reason) => reason,
    };
    match rules.tested.as_ref().map(|tested| judge(tested, bound, packet)) {
        Some(Judgement::Denied(reason)) => Decision { verdict: Verdict::WouldDeny, reason },
        Some(Judgement::Passed(reason)) if passed == Reason::NotSubject => {
            Decision { verdict: Verdict::Allow, reason }
        }
        _ => Decision { verdict: Verdict::Allow, reason: passed },
    }
}

/// Judges a packet whose flow's opener is unknown to connection tracking: an untracked one (`notrack`), or a
/// TCP packet that belongs to no connection and opens none.
///
/// It is judged as its flow's first packet. If that is denied, it passes as an *answer* if the failsafe or an
/// allow rule of the other direction matches the flow that it answers, and no block rule of that direction
/// does. A level alone does not admit it: with an open level any packet could come in as an answer without a
/// request. Rules for a program are ignored, since the requesting program is not known.
#[must_use]
pub fn decide_unplaced(bound: &Bound, packet: &Packet) -> Decision {
    let opening = decide(bound, packet);
    let Some(answered) = packet.answered().filter(|_| opening.verdict != Verdict::Allow) else {
        return opening;
    };
    if let Some(kind) = failsafe(&bound.failsafe, &answered) {
        return Decision { verdict: Verdict::Allow, reason: Reason::Failsafe(kind) };
    }
    let BoundDirection { enforced, tested } = bound.direction(answered.direction);
    let tested = tested.as_ref().filter(|_| opening.verdict == Verdict::WouldDeny);
    let mut stances = [enforced].into_iter().chain(tested);
    if stances.any(|stance| first_match(&stance.blocks, &answered).is_some()) {
        return opening;
    }
    match first_match(&tested.unwrap_or(enforced).allows, &answered) {
        Some(rule) => Decision { verdict: Verdict::Allow, reason: Reason::Allow(rule.id.clone()) },
        None => opening,
    }
}

/// The decision of one stance.
pub(crate) enum Judgement {
    Denied(Reason),
    Passed(Reason),
}

pub(crate) fn judge(stance: &BoundStance, bound: &Bound, packet: &Packet) -> Judgement {
    if let Some(rule) = first_match(&stance.blocks, packet) {
        return Judgement::Denied(Reason::Block(rule.id.clone()));
    }
    if let Some(rule) = first_match(&stance.allows, packet) {
        return Judgement::Passed(Reason::Allow(rule.id.clone()));
    }
    let is_subject = match stance.subject {
        Subject::Nothing => false,
        Subject::Internet => !bound.intranet.contains(packet.peer),
        Subject::Everything => true,
    };
    if is_subject {
        Judgement::Denied(Reason::NoRule)
    } else {
        Judgement::Passed(Reason::NotSubject)
    }
}

fn first_match<'a>(rules: &'a [BoundRule], packet: &Packet) -> Option<&'a BoundRule> {
    rules.iter().find(|rule| {
        rule.peers.contains(packet.peer)
            && rule.services.iter().any(|&service| service_matches(service, packet))
            && rule.owner.as_ref().is_none_or(|owner| packet.owners.contains(owner))
    })
}

fn service_matches(service: Service, packet: &Packet) -> bool {
    match (service, packet.transport) {
        (Service::Any, _) => true,
        (Service::Tcp(ports), Transport::Tcp(_, port))
        | (Service::Udp(ports), Transport::Udp(_, port))
        | (Service::Sctp(ports), Transport::Sctp(_, port)) => ports.range().contains(port),
        (Service::Icmp(kind), Transport::Icmp(number)) => {
            let wanted = if packet.peer.is_ipv4() { kind.v4() } else { kind.v6() };
            wanted.is_none_or(|wanted| wanted == number)
        }
        (Service::Protocol(protocol), Transport::Other(number)) => protocol.number() == number,
        _ => false,
    }
}

/// UDP (RFC 5905).
pub const NTP: u16 = 123;
/// TCP (RFC 8915).
pub const NTS_KEYS: u16 = 4460;

/// The part of the failsafe that applies to forwarded packets.
pub(crate) fn forwarded_failsafe(
    failsafe: &BoundFailsafe,
    packet: &Packet,
) -> Option<FailsafeKind> {
    match packet.transport {
        Transport::Icmp(number) => icmp_failsafe(packet.peer, number, failsafe, packet),
        _ if is_served(failsafe, packet) => Some(FailsafeKind::Platform),
        _ => managed(failsafe, packet).then_some(FailsafeKind::Management),
    }
}

/// Whether a packet opens a connection to an address of the platform.
fn is_served(failsafe: &BoundFailsafe, packet: &Packet) -> bool {
    let (Transport::Tcp(_, port), Direction::Inbound) = (packet.transport, packet.direction) else {
        return false;
    };
    let is_at = |end: &SocketAddr| packet.local == Some(end.ip()) && end.port() == port;
    failsafe.served.iter().any(is_at)
}

fn failsafe(failsafe: &BoundFailsafe, packet: &Packet) -> Option<FailsafeKind> {
    if packet.loopback {
        return Some(FailsafeKind::Loopback);
    }
    match (packet.transport, packet.direction) {
        (Transport::Icmp(number), _) => {
            return icmp_failsafe(packet.peer, number, failsafe, packet);
        }
        (Transport::Tcp(_, port), Direction::Outbound) => {
            if failsafe.endpoints.iter().any(|e| e.ip() == packet.peer && e.port() == port) {
                return Some(FailsafeKind::Platform);
            }
            if port == 53 && failsafe.resolvers.contains(packet.peer) {
                return Some(FailsafeKind::Dns);
            }
            if port == NTS_KEYS && failsafe.time_key_servers.contains(packet.peer) {
                return Some(FailsafeKind::Ntp);
            }
        }
        (Transport::Udp(source, port), Direction::Outbound) => {
            if port == 53 && failsafe.resolvers.contains(packet.peer) {
                return Some(FailsafeKind::Dns);
            }
            if port == NTP && failsafe.time_servers.contains(packet.peer) {
                return Some(FailsafeKind::Ntp);
            }
            let client = if packet.peer.is_ipv4() { (68, 67) } else { (546, 547) };
            if (source, port) == client {
                return Some(FailsafeKind::Dhcp);
            }
        }
        (Transport::Udp(source, port), Direction::Inbound) => {
            let client = if packet.peer.is_ipv4() { (67, 68) } else { (547, 546) };
            if (source, port) == client || (port == 546 && is_on_the_link(packet.peer)) {
                return Some(FailsafeKind::Dhcp);
            }
        }
        (Transport::Other(protocol::IGMP), _) if packet.peer.is_ipv4() => {
            return Some(FailsafeKind::Igmp);
        }
        (Transport::Tcp(..), Direction::Inbound) if is_served(failsafe, packet) => {
            return Some(FailsafeKind::Platform);
        }
        (Transport::Tcp(..), Direction::Inbound)
        | (Transport::Sctp(..) | Transport::Other(_), _) => {}
    }
    managed(failsafe, packet).then_some(FailsafeKind::Management)
}

/// Whether it is a link-local IPv6 address. A DHCPv6 server or relay agent on the link may answer from any
/// port: RFC 8415 specifies only the destination port.
fn is_on_the_link(peer: IpAddr) -> bool {
    matches!(peer, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// ICMPv6 types of neighbour and multicast listener discovery.
pub const DISCOVERY_TYPES: [u8; 9] = [130, 131, 132, 133, 134, 135, 136, 137, 143];
/// ICMPv4 error types: destination unreachable, time exceeded, parameter problem (RFC 792).
pub const ICMP_ERRORS: [u8; 3] = [3, 11, 12];
/// ICMPv6 error types (RFC 4443).
pub const ICMPV6_ERRORS: [u8; 4] = [1, 2, 3, 4];

fn icmp_failsafe(
    peer: IpAddr,
    number: u8,
    failsafe: &BoundFailsafe,
    packet: &Packet,
) -> Option<FailsafeKind> {
    if peer.is_ipv6() && DISCOVERY_TYPES.contains(&number) {
        return Some(FailsafeKind::NeighbourDiscovery);
    }
    let errors = if peer.is_ipv4() { &ICMP_ERRORS[..] } else { &ICMPV6_ERRORS[..] };
    if errors.contains(&number) {
        return Some(FailsafeKind::IcmpError);
    }
    managed(failsafe, packet).then_some(FailsafeKind::Management)
}

fn managed(failsafe: &BoundFailsafe, packet: &Packet) -> bool {
    packet.direction == Direction::Inbound
        && failsafe.management.iter().any(|management| {
            management.from.contains(&packet.peer)
                && management.services.iter().any(|&service| service_matches(service, packet))
        })
}
