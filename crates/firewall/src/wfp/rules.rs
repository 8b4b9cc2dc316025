//! Converts rules and the failsafe to regions: one for each range of addresses and each service.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use xshield_policy::decide::{DISCOVERY_TYPES, ICMP_ERRORS, ICMPV6_ERRORS, NTP, NTS_KEYS};
use xshield_policy::protocol::{IGMP, SCTP, TCP, UDP};
use xshield_policy::{
    AddressMatch, AddressRange, BoundFailsafe, BoundRule, Direction, Ports, RangeSet, Service,
    Unenforceable,
};

use super::program::Programs;
use super::region::{Loopback, Region, Span};
use crate::plan::{Family, Label};

/// A region and the rule from which it comes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Piece {
    pub(super) region: Region,
    pub(super) label: Label,
}

/// The ranges of one family; `None` for all addresses.
fn ranges(peers: &AddressMatch, family: Family) -> Vec<Option<Span<u128>>> {
    match peers {
        AddressMatch::Any => vec![None],
        AddressMatch::Only(set) => set_ranges(set, family),
    }
}

/// The ranges of one family of a set; `None` for all addresses.
pub(super) fn set_ranges(set: &RangeSet, family: Family) -> Vec<Option<Span<u128>>> {
    let of_family = |range: AddressRange| match (range, family) {
        (AddressRange::V4(first, last), Family::V4) => {
            Some((u32::from(first).into(), u32::from(last).into()))
        }
        (AddressRange::V6(first, last), Family::V6) => Some((first.into(), last.into())),
        _ => None,
    };
    let all = (0, family.max());
    set.iter().filter_map(of_family).map(|span| (span != all).then_some(span)).collect()
}

/// The protocol and the ports or types of a service.
fn lane(service: Service, family: Family) -> (Option<u8>, Option<Span<u16>>) {
    let ports = |ports: Ports| match ports {
        Ports::Any => None,
        Ports::Range(range) => {
            let span = (range.first(), range.last());
            (span != (0, u16::MAX)).then_some(span)
        }
    };
    match service {
        Service::Any => (None, None),
        Service::Tcp(range) => (Some(TCP), ports(range)),
        Service::Udp(range) => (Some(UDP), ports(range)),
        Service::Sctp(range) => (Some(SCTP), ports(range)),
        Service::Protocol(protocol) => (Some(protocol.number()), None),
        Service::Icmp(kind) => {
            let number = if family == Family::V4 { kind.v4() } else { kind.v6() };
            (Some(family.icmp()), number.map(|number| (number.into(), number.into())))
        }
    }
}

/// The distinct ones of several services.
fn lanes(services: &[Service], family: Family) -> Vec<(Option<u8>, Option<Span<u16>>)> {
    let mut lanes: Vec<_> = services.iter().map(|&service| lane(service, family)).collect();
    if lanes.contains(&(None, None)) {
        lanes = vec![(None, None)];
    }
    lanes.sort_unstable();
    lanes.dedup();
    lanes
}

/// How many regions of one family a rule has.
pub(super) fn size(rule: &BoundRule, family: Family) -> usize {
    let ranges = ranges(&rule.peers, family).len();
    ranges.saturating_mul(lanes(&rule.services, family).len())
}

fn product(
    remotes: &[Option<Span<u128>>],
    services: &[Service],
    family: Family,
    base: &Region,
) -> Vec<Region> {
    let lanes = lanes(services, family);
    let all = remotes.iter().flat_map(|&remote| {
        lanes.iter().map(move |&(protocol, service)| (remote, protocol, service))
    });
    all.map(|(remote, protocol, service)| Region { protocol, remote, service, ..base.clone() })
        .collect()
}

/// Rules as regions. Those of a program that this host can't identify are reported and omitted.
pub(super) fn pieces(
    rules: &[BoundRule],
    (direction, family): (Direction, Family),
    programs: &Programs,
    unenforceable: &mut Vec<Unenforceable>,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for rule in rules {
        let mut base = Region::everything();
        if let Some(owner) = &rule.owner {
            let Some(program) = programs.get(owner) else {
                let reason = "the program can't be identified on this host: neither its \
                     executable nor the identity of its service or user is known";
                report_unenforceable(unenforceable, rule.id.clone(), direction, reason);
                continue;
            };
            base.app = program.app().cloned();
            base.identity = program.identity().cloned();
        }
        let regions = product(&ranges(&rule.peers, family), &rule.services, family, &base);
        let label: Label = rule.id.as_str().into();
        pieces.extend(regions.into_iter().map(|region| Piece { region, label: label.clone() }));
    }
    pieces
}

/// Reports once that a rule is omitted.
pub(super) fn report_unenforceable(
    unenforceable: &mut Vec<Unenforceable>,
    rule: xshield_policy::RuleId,
    direction: Direction,
    reason: &str,
) {
    let told = Unenforceable { rule, direction, reason: reason.to_owned() };
    if !unenforceable.contains(&told) {
        unenforceable.push(told);
    }
}

/// `fe80::/10`, as numbers.
const LINK_LOCAL: Span<u128> = (0xfe80 << 112, (0xfec0 << 112) - 1);

/// The failsafe as regions.
pub(super) fn failsafe(
    failsafe: &BoundFailsafe,
    direction: Direction,
    family: Family,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut put = |label: &str, regions: Vec<Region>| {
        let label: Label = label.into();
        pieces.extend(regions.into_iter().map(|region| Piece { region, label: label.clone() }));
    };
    put("failsafe/loopback", vec![Region { loopback: Loopback::Only, ..Region::everything() }]);
    let icmp = |types: &[u8]| {
        let region = |span| Region {
            protocol: Some(family.icmp()),
            service: Some(span),
            ..Region::everything()
        };
        runs(types).into_iter().map(region).collect::<Vec<_>>()
    };
    match family {
        Family::V4 => {
            put("failsafe/icmp-error", icmp(&ICMP_ERRORS));
            put("failsafe/igmp", vec![Region { protocol: Some(IGMP), ..Region::everything() }]);
        }
        Family::V6 => {
            put("failsafe/neighbour-discovery", icmp(&DISCOVERY_TYPES));
            put("failsafe/icmp-error", icmp(&ICMPV6_ERRORS));
        }
    }
    put("failsafe/dhcp", dhcp(direction, family));
    let everything = Region::everything();
    match direction {
        Direction::Inbound => {
            put("failsafe/platform", served(&failsafe.served, family));
            for management in &failsafe.management {
                let from = AddressMatch::Only([management.from].into_iter().collect::<RangeSet>());
                let remotes = ranges(&from, family);
                let regions = product(&remotes, &management.services, family, &everything);
                put("failsafe/management", regions);
            }
        }
        Direction::Outbound => {
            let port = |port: u16| Ports::Range(xshield_policy::PortRange::single(port));
            for end in &failsafe.endpoints {
                let host = AddressMatch::Only([IpNet::from(end.ip())].into_iter().collect());
                let services = [Service::Tcp(port(end.port()))];
                let regions = product(&ranges(&host, family), &services, family, &everything);
                put("failsafe/platform", regions);
            }
            let dns = [Service::Tcp(port(53)), Service::Udp(port(53))];
            let resolvers = ranges(&failsafe.resolvers, family);
            put("failsafe/dns", product(&resolvers, &dns, family, &everything));
            for (servers, service) in [
                (&failsafe.time_servers, Service::Udp(port(NTP))),
                (&failsafe.time_key_servers, Service::Tcp(port(NTS_KEYS))),
            ] {
                let servers = set_ranges(servers, family);
                put("failsafe/ntp", product(&servers, &[service], family, &everything));
            }
        }
    }
    pieces
}

/// The ports that the platform serves on its own host.
fn served(endpoints: &[SocketAddr], family: Family) -> Vec<Region> {
    let of_family = endpoints.iter().filter(|end| end.is_ipv4() == (family == Family::V4));
    let region = |end: &SocketAddr| Region {
        protocol: Some(TCP),
        local: Some(match end.ip() {
            IpAddr::V4(address) => u32::from(address).into(),
            IpAddr::V6(address) => address.into(),
        }),
        service: Some((end.port(), end.port())),
        ..Region::everything()
    };
    of_family.map(region).collect()
}

/// The client's side of DHCP by its fixed ports (RFC 2131, RFC 8415). A DHCPv6 server on the link may answer
/// from any port.
fn dhcp(direction: Direction, family: Family) -> Vec<Region> {
    let (server, client) = match family {
        Family::V4 => (67, 68),
        Family::V6 => (547, 546),
    };
    let (source, service) = match direction {
        Direction::Inbound => (server, client),
        Direction::Outbound => (client, server),
    };
    let udp = |service| Region {
        protocol: Some(UDP),
        service: Some((service, service)),
        ..Region::everything()
    };
    let mut regions = vec![Region { source: Some(source), ..udp(service) }];
    if (direction, family) == (Direction::Inbound, Family::V6) {
        regions.push(Region { remote: Some(LINK_LOCAL), ..udp(client) });
    }
    regions
}

/// Consecutive numbers as spans.
fn runs(numbers: &[u8]) -> Vec<Span<u16>> {
    let mut runs: Vec<Span<u16>> = Vec::new();
    for number in numbers.iter().map(|&number| u16::from(number)) {
        match runs.last_mut() {
            Some(run) if run.1 + 1 == number => run.1 = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}
