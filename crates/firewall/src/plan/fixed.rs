//! Failsafe flows with their own lines.

use std::net::SocketAddr;

use xshield_policy::Direction;
use xshield_policy::protocol::{IGMP, TCP, UDP};

use super::builder::{View, line, within};
use super::model::{Condition, Family, Field, Line, Next};
use super::shapes::{family, number};
use crate::Capabilities;

/// `fe80::/10`, as numbers.
const LINK_LOCAL: (u128, u128) = (0xfe80 << 112, (0xfec0 << 112) - 1);
/// `127.0.0.0/8`, as numbers.
const LOOPBACK_V4: (u128, u128) = (0x7f00_0000, 0x7fff_ffff);

/// Membership of IPv4 multicast groups (RFC 3376).
pub(super) fn igmp() -> Line {
    let conditions = vec![Condition::Protocol(IGMP), Condition::Family(Family::V4)];
    line(conditions, Next::Accept).counted("failsafe/igmp")
}

/// DHCP by its fixed ports: 67 and 68 (RFC 2131), 547 and 546 (RFC 8415). A DHCPv6 server on the link
/// may send from any port. A chain of its own, for UDP only.
pub(super) fn dhcp(view: View) -> Vec<Line> {
    let accept = |family: Family, conditions: Vec<Condition>| {
        let udp = [Condition::Family(family), Condition::Protocol(UDP)];
        line(udp.into_iter().chain(conditions).collect(), Next::Accept).counted("failsafe/dhcp")
    };
    let by_ports = |(family, server, client): (Family, u16, u16)| {
        let (from, to) = match view.direction {
            Direction::Inbound => (server, client),
            Direction::Outbound => (client, server),
        };
        let (source, destination) = if view.reply { (to, from) } else { (from, to) };
        let ports = [(Field::SourcePort, source), (Field::DestinationPort, destination)];
        accept(family, ports.map(|(field, port)| within(field, port, port)).into())
    };
    let mut lines: Vec<Line> =
        [(Family::V4, 67, 68), (Family::V6, 547, 546)].into_iter().map(by_ports).collect();
    if view.direction == Direction::Inbound {
        let (first, last) = LINK_LOCAL;
        let on_the_link = Condition::Within { field: view.peer(Family::V6), first, last };
        lines.push(accept(Family::V6, vec![within(view.service(), 546, 546), on_the_link]));
    }
    lines
}

/// Packets to this host itself that do not use the loopback interface: those that the host's own rules
/// redirect. Checked last, for packets that would be denied.
pub(super) fn local_destinations(capabilities: &Capabilities) -> Vec<Line> {
    let accept = |conditions| line(conditions, Next::Accept).counted("failsafe/loopback");
    if capabilities.local_destinations {
        return vec![accept(vec![Condition::LocalDestination])];
    }
    let loopback = |(family, (first, last)): (Family, (u128, u128))| {
        let field = Field::Destination(family);
        accept(vec![Condition::Family(family), Condition::Within { field, first, last }])
    };
    [(Family::V4, LOOPBACK_V4), (Family::V6, (1, 1))].into_iter().map(loopback).collect()
}

/// What the platform serves on its own host, checked last, for packets that would be denied: on other hosts
/// it never matches.
pub(super) fn served(endpoints: &[SocketAddr], view: View, next: &Next) -> Vec<Line> {
    let accept = |end: &SocketAddr| {
        let (family, address) = (family(end.ip()), number(end.ip()));
        let conditions = vec![
            Condition::Family(family),
            Condition::Protocol(TCP),
            Condition::Within { field: view.local(family), first: address, last: address },
            within(view.service(), end.port(), end.port()),
        ];
        line(conditions, next.clone()).counted("failsafe/platform")
    };
    endpoints.iter().map(accept).collect()
}
