//! Bridges that connect only this host's own containers and virtual machines. Their addresses are the same on
//! many hosts (`172.17.0.1`, `192.168.122.1`), and no other host reaches this one there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink::{Attributes, Link, Message, text};

/// linux/rtnetlink.h: `RTM_GETLINK`, `RTM_NEWLINK`, `RTM_GETADDR`, `RTM_NEWADDR`, `RTM_GETROUTE`,
/// `RTM_NEWROUTE`.
const GET_LINK: u16 = 18;
const NEW_LINK: u16 = 16;
const GET_ADDRESS: u16 = 22;
const NEW_ADDRESS: u16 = 20;
const GET_ROUTE: u16 = 26;
const NEW_ROUTE: u16 = 24;
/// `struct ifinfomsg`, `struct ifaddrmsg`, `struct rtmsg`.
const LINK_HEAD: usize = 16;
const ADDRESS_HEAD: usize = 8;
const ROUTE_HEAD: usize = 12;
/// `IFLA_MASTER`, `IFLA_LINKINFO`, and `IFLA_INFO_KIND` in it, linux/if_link.h.
const MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
/// `IFA_ADDRESS`, `IFA_LOCAL`, linux/if_addr.h.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
/// `RTA_OIF`, linux/rtnetlink.h.
const OUT: u16 = 4;
const ANSWER_BYTES: usize = 64 << 10;

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Port {
    /// `bridge`, `veth`, `tun` and so on; empty for hardware.
    kind: String,
    /// The bridge or bond of which it is a member.
    master: Option<u32>,
}

/// The addresses of such bridges in this network namespace.
///
/// # Errors
/// When the kernel's interfaces can't be listed.
pub(super) fn inner_addresses() -> io::Result<BTreeSet<IpAddr>> {
    let mut link = Link::open(NETLINK_ROUTE)?;
    let mut buffer = vec![0; ANSWER_BYTES];
    let mut ports = BTreeMap::new();
    link.dump(GET_LINK, &[0; LINK_HEAD], &mut buffer, |message| ports.extend(port(message)))?;
    if !ports.values().any(|port| port.kind == "bridge") {
        return Ok(BTreeSet::new());
    }
    let mut ways_out = BTreeSet::new();
    link.dump(GET_ROUTE, &[0; ROUTE_HEAD], &mut buffer, |message| {
        ways_out.extend(way_out(message));
    })?;
    let inner = inner(&ports, &ways_out);
    let mut addresses = BTreeSet::new();
    link.dump(GET_ADDRESS, &[0; ADDRESS_HEAD], &mut buffer, |message| {
        let of_inner = address(message).filter(|(index, _)| inner.contains(index));
        addresses.extend(of_inner.map(|(_, address)| address));
    })?;
    Ok(addresses)
}

/// Bridges without a default route, whose members, if any, all belong to containers and virtual machines.
fn inner(ports: &BTreeMap<u32, Port>, ways_out: &BTreeSet<u32>) -> BTreeSet<u32> {
    let leads_inside = |port: &Port| matches!(port.kind.as_str(), "veth" | "tun" | "dummy");
    let is_inner = |&(index, bridge): &(&u32, &Port)| {
        let mut members = ports.values().filter(|port| port.master == Some(*index));
        bridge.kind == "bridge" && !ways_out.contains(index) && members.all(leads_inside)
    };
    ports.iter().filter(is_inner).map(|(index, _)| *index).collect()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn port(message: &Message<'_>) -> Option<(u32, Port)> {
    if message.kind != NEW_LINK {
        return None;
    }
    let index = word(message.payload, 4)?;
    let attributes = Attributes(message.payload.get(LINK_HEAD..)?);
    let kind = attributes.get(LINK_INFO).and_then(|info| Attributes(info).get(INFO_KIND));
    let kind = kind.and_then(text).unwrap_or_default().to_owned();
    let master = attributes.get(MASTER).and_then(|value| word(value, 0));
    Some((index, Port { kind, master }))
}

/// The interface of the default route.
fn way_out(message: &Message<'_>) -> Option<u32> {
    let is_default = message.payload.get(1) == Some(&0);
    if message.kind != NEW_ROUTE || !is_default {
        return None;
    }
    word(Attributes(message.payload.get(ROUTE_HEAD..)?).get(OUT)?, 0)
}

fn address(message: &Message<'_>) -> Option<(u32, IpAddr)> {
    if message.kind != NEW_ADDRESS {
        return None;
    }
    let attributes = Attributes(message.payload.get(ADDRESS_HEAD..)?);
    let value = attributes.get(LOCAL).or_else(|| attributes.get(ADDRESS))?;
    let address = match value.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into(),
        _ => return None,
    };
    Some((word(message.payload, 4)?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `index kind [master]` each; the kind `-` is hardware.
    fn ports(lines: &[&str]) -> BTreeMap<u32, Port> {
        let port = |line: &&str| {
            let words: Vec<&str> = line.split(' ').collect();
            let kind = words[1].trim_matches('-').to_owned();
            let master = words.get(2).map(|master| master.parse().unwrap());
            (words[0].parse().unwrap(), Port { kind, master })
        };
        lines.iter().map(port).collect()
    }

    #[test]
    fn bridges_to_containers_are_recognised() {
        for (what, lines, ways_out, expected) in [
            ("an ordinary host", &["1 -", "2 -"][..], &[2][..], &[][..]),
            ("a container engine without containers", &["2 -", "3 bridge"], &[2], &[3]),
            ("one with containers", &["2 -", "3 bridge", "4 veth 3", "5 veth 3"], &[2], &[3]),
            ("one with virtual machines", &["2 -", "3 bridge", "4 tun 3"], &[2], &[3]),
            ("a bridge over hardware", &["2 - 3", "3 bridge", "4 veth 3"], &[], &[]),
            ("a bridge over a VLAN", &["2 -", "3 bridge", "4 vlan 3"], &[], &[]),
            ("a container that bridges its way out", &["2 veth 3", "3 bridge"], &[3], &[]),
            ("two", &["2 -", "3 bridge", "4 bridge", "5 - 4", "6 veth 3"], &[4], &[3]),
        ] {
            let found = inner(&ports(lines), &ways_out.iter().copied().collect());
            assert_eq!(found, expected.iter().copied().collect(), "{what}");
        }
    }

    #[test]
    fn bridges_are_read_from_the_kernel() {
        let inner = inner_addresses().unwrap();
        assert!(!inner.iter().any(IpAddr::is_loopback), "{inner:?}");
    }
}
