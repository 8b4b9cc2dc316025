//! Sorts rules by shape: those for hash sets, those for boxes, and those with their own lines.

use std::net::IpAddr;

use xshield_policy::protocol::{SCTP, TCP, UDP};
use xshield_policy::{AddressMatch, AddressRange, Owner, Ports, RangeSet, Service};

use super::boxes::RuleBox;
use super::model::{Element, Family, FieldType, Key, Label, Set, Shape};
use super::tree::Tree;
use crate::Capabilities;

/// A rule with many addresses and many ports that would take more elements than this becomes a line with two
/// sets.
pub(super) const ELEMENT_LIMIT: usize = 256;

/// A rule of the policy or of the failsafe, as the plan uses it.
pub(crate) struct Entry {
    pub label: Label,
    pub peers: AddressMatch,
    pub services: Vec<Service>,
    pub owner: Option<Owner>,
}

/// The rules of one direction and action by shape.
pub(crate) struct Shapes {
    pub sets: Vec<Set>,
    /// In the order of look-up.
    pub lookups: Vec<Lookup>,
    pub line_rules: Vec<LineRule>,
}

impl Shapes {
    /// Whether no packet can match.
    pub(crate) fn is_empty(&self) -> bool {
        self.lookups.is_empty() && self.line_rules.is_empty()
    }
}

/// Sets, and the key that is looked up in them.
pub(crate) struct Lookup {
    pub family: Family,
    /// Packets of one protocol, or all.
    pub protocol: Option<u8>,
    pub asks: LookupKey,
    pub sets: Sets,
}

/// The sets of a look-up.
pub(crate) enum Sets {
    One(String),
    /// The set depends on the packet; `stem` starts their names.
    Parted {
        stem: String,
        tree: Tree<Vec<String>>,
    },
}

/// The key of a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookupKey {
    /// Peer's address, protocol, port.
    AddressAndPort,
    /// Protocol, port.
    Port,
    /// Peer's address, protocol.
    AddressAndProtocol,
    /// Peer's address, type.
    AddressAndIcmpType,
}

/// A rule with its own lines.
pub(crate) struct LineRule {
    pub label: Label,
    pub owner: Option<Owner>,
    pub family: Family,
    pub addresses: Addresses,
    pub services: Vec<ServiceMatch>,
}

/// The addresses of a [`LineRule`].
pub(crate) enum Addresses {
    Any,
    Ranges(Vec<(u128, u128)>),
    Set(String),
}

/// One service condition of a [`LineRule`].
pub(crate) enum ServiceMatch {
    Any,
    Protocol(u8),
    Ports(u8, (u16, u16)),
    PortSet(String),
    IcmpTypes((u16, u16)),
}

/// A rule's services for one family, without overlap.
pub(super) struct FamilyServices {
    any: bool,
    protocols: Vec<u8>,
    pub(super) ports: Vec<(u8, (u16, u16))>,
    icmp: Vec<(u16, u16)>,
}

/// The protocols with ports that rules can name, and the names of their sets.
pub(super) const WITH_PORTS: [(u8, &str); 3] = [(TCP, "tcp"), (UDP, "udp"), (SCTP, "sctp")];

impl FamilyServices {
    pub(super) fn new(services: &[Service], family: Family) -> Self {
        let mut any = false;
        let (mut tcp, mut udp, mut sctp) = (Vec::new(), Vec::new(), Vec::new());
        let (mut icmp, mut others) = (Vec::new(), Vec::new());
        let range = |ports: &Ports| (ports.range().first(), ports.range().last());
        for service in services {
            match service {
                Service::Any => any = true,
                Service::Tcp(ports) => tcp.push(range(ports)),
                Service::Udp(ports) => udp.push(range(ports)),
                Service::Sctp(ports) => sctp.push(range(ports)),
                Service::Protocol(protocol) => others.push(protocol.number()),
                Service::Icmp(kind) => {
                    let number = if family == Family::V4 { kind.v4() } else { kind.v6() };
                    icmp.push(number.map_or((0, 255), |number| (number.into(), number.into())));
                }
            }
        }
        let mut split = Self { any, protocols: Vec::new(), ports: Vec::new(), icmp: Vec::new() };
        if any {
            return split;
        }
        for (protocol, ranges) in [(TCP, tcp), (UDP, udp), (SCTP, sctp)] {
            match merged(ranges)[..] {
                [(0, u16::MAX)] => split.protocols.push(protocol),
                ref ranges => split.ports.extend(ranges.iter().map(|&range| (protocol, range))),
            }
        }
        match merged(icmp)[..] {
            [(0, 255)] => split.protocols.push(family.icmp()),
            ref ranges => split.icmp.extend(ranges),
        }
        others.sort_unstable();
        others.dedup();
        split.protocols.append(&mut others);
        split
    }

    pub(super) fn service_matches(&self) -> Vec<ServiceMatch> {
        let any = self.any.then_some(ServiceMatch::Any);
        let protocols = self.protocols.iter().map(|&protocol| ServiceMatch::Protocol(protocol));
        let ports =
            self.ports.iter().map(|&(protocol, range)| ServiceMatch::Ports(protocol, range));
        let icmp = self.icmp.iter().map(|&range| ServiceMatch::IcmpTypes(range));
        any.into_iter().chain(protocols).chain(ports).chain(icmp).collect()
    }
}

fn merged(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(previous) if u32::from(first) <= u32::from(previous.1) + 1 => {
                previous.1 = previous.1.max(last);
            }
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// The ranges of one family, as numbers.
pub(crate) fn ranges_of(peers: &AddressMatch, family: Family) -> Vec<(u128, u128)> {
    match peers {
        AddressMatch::Any => vec![(0, family.max())],
        AddressMatch::Only(set) => set_ranges(set, family),
    }
}

/// The ranges of one family of a set, as numbers.
pub(crate) fn set_ranges(set: &RangeSet, family: Family) -> Vec<(u128, u128)> {
    let ranges = set.iter().filter_map(|range| match (range, family) {
        (AddressRange::V4(first, last), Family::V4) => {
            Some((u32::from(first).into(), u32::from(last).into()))
        }
        (AddressRange::V6(first, last), Family::V6) => Some((first.into(), last.into())),
        _ => None,
    });
    ranges.collect()
}

/// An address as a number.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The family of an address.
pub(crate) fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// The rules of one family, before they become a set.
#[derive(Default)]
pub(super) struct Pool {
    pub(super) hosts: Vec<Element>,
    /// By protocol, as in [`WITH_PORTS`].
    pub(super) ports: [Vec<RuleBox>; WITH_PORTS.len()],
    pub(super) nets: Vec<RuleBox>,
    pub(super) icmp: Vec<RuleBox>,
}

impl Pool {
    /// Adds what sets can express to the pool; returns the services for which a line is needed.
    pub(super) fn add(
        &mut self,
        order: usize,
        entry: &Entry,
        ranges: &[(u128, u128)],
        split: FamilyServices,
        capabilities: &Capabilities,
    ) -> Vec<ServiceMatch> {
        let single_hosts = ranges.iter().all(|(first, last)| first == last);
        let mut rest = Vec::new();
        for &(protocol, ports) in &split.ports {
            let exact = single_hosts && ports.0 == ports.1;
            if !capabilities.concat_intervals && !exact {
                rest.push(ServiceMatch::Ports(protocol, ports));
                continue;
            }
            for &addresses in ranges {
                if addresses.0 == addresses.1 && ports.0 == ports.1 {
                    let key = [addresses.0, protocol.into(), ports.0.into(), 0];
                    let label = entry.label.clone();
                    self.hosts.push(Element { first: key, last: key, label });
                } else {
                    let at = WITH_PORTS.iter().position(|(number, _)| *number == protocol);
                    let boxes = at.and_then(|at| self.ports.get_mut(at));
                    boxes.into_iter().for_each(|boxes| {
                        boxes.push(RuleBox { services: ports, addresses, order });
                    });
                }
            }
        }
        if !capabilities.concat_intervals {
            rest.extend(FamilyServices { ports: Vec::new(), ..split }.service_matches());
            return rest;
        }
        let any = split.any.then_some((0, 255));
        let protocols = split.protocols.iter().map(|&protocol| (protocol.into(), protocol.into()));
        for services in any.into_iter().chain(protocols) {
            self.nets.extend(ranges.iter().map(|&addresses| RuleBox {
                services,
                addresses,
                order,
            }));
        }
        for services in split.icmp {
            self.icmp.extend(ranges.iter().map(|&addresses| RuleBox {
                services,
                addresses,
                order,
            }));
        }
        rest
    }
}

impl Shapes {
    pub(super) fn line_rule(
        &mut self,
        entry: &Entry,
        family: Family,
        ranges: Vec<(u128, u128)>,
        service_matches: Vec<ServiceMatch>,
        prefix: &str,
        capabilities: &Capabilities,
    ) {
        let name = format!("{prefix}_r{}", self.line_rules.len());
        let mut set = |name: String, key: Vec<FieldType>, elements: Vec<(Key, Key)>| {
            let label = &entry.label;
            let element = |(first, last)| Element { first, last, label: label.clone() };
            let mut elements: Vec<Element> = elements.into_iter().map(element).collect();
            elements.sort_unstable();
            self.sets.push(Set { name, key, shape: Shape::Boxes, counted: false, elements });
        };
        let addresses = match ranges[..] {
            [(0, last)] if last == family.max() => Addresses::Any,
            ref many if many.len() > 1 && capabilities.concat_intervals => {
                let keys = many.iter().map(|&(lo, hi)| ([lo, 0, 0, 0], [hi, 255, 0, 0])).collect();
                set(format!("{name}_net"), key_types(LookupKey::AddressAndProtocol, family), keys);
                Addresses::Set(format!("{name}_net"))
            }
            _ => Addresses::Ranges(ranges),
        };
        let is_port = |service: &ServiceMatch| matches!(service, ServiceMatch::Ports(..));
        let mut services = service_matches;
        if capabilities.concat_intervals
            && services.iter().filter(|service| is_port(service)).count() > 1
        {
            let keys = services.iter().filter_map(|service| match *service {
                ServiceMatch::Ports(protocol, (lo, hi)) => {
                    let key = |port: u16| [protocol.into(), port.into(), 0, 0];
                    Some((key(lo), key(hi)))
                }
                _ => None,
            });
            set(format!("{name}_svc"), vec![FieldType::Protocol, FieldType::Port], keys.collect());
            services.retain(|service| !is_port(service));
            services.push(ServiceMatch::PortSet(format!("{name}_svc")));
        }
        let (label, owner) = (entry.label.clone(), entry.owner.clone());
        self.line_rules.push(LineRule { label, owner, family, addresses, services });
    }
}

pub(super) fn key_types(asks: LookupKey, family: Family) -> Vec<FieldType> {
    let address = FieldType::Address(family);
    match asks {
        LookupKey::AddressAndPort => vec![address, FieldType::Protocol, FieldType::Port],
        LookupKey::Port => vec![FieldType::Protocol, FieldType::Port],
        LookupKey::AddressAndProtocol => vec![address, FieldType::Protocol],
        LookupKey::AddressAndIcmpType => vec![address, FieldType::IcmpType(family)],
    }
}
