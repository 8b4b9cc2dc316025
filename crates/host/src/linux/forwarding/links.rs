//! Which interfaces belong to virtual networks of this host.

use std::collections::HashSet;
use std::fs;
use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use xshield_policy::{InterfaceName, Interfaces};

use super::super::netlink::{Attributes, Link as Netlink, Message, text};

/// linux/rtnetlink.h: `RTM_GETLINK`, `RTM_NEWLINK`.
const GET_LINK: u16 = 18;
const NEW_LINK: u16 = 16;
/// `struct ifinfomsg`.
const HEAD: usize = 16;
/// `IFLA_IFNAME`, `IFLA_MASTER`, `IFLA_LINKINFO`, linux/if_link.h.
const NAME: u16 = 3;
const MASTER: u16 = 10;
const INFO: u16 = 18;
/// `IFLA_INFO_KIND`.
const KIND: u16 = 1;
const ANSWER_BYTES: usize = 64 << 10;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    index: u32,
    name: InterfaceName,
    /// `bridge`, `veth`, …; empty for hardware.
    kind: String,
    /// The bridge or bond of which it is a member.
    master: Option<u32>,
}

/// The interfaces of this network namespace.
pub(super) fn interfaces() -> io::Result<Interfaces> {
    let mut links = Vec::new();
    let mut buffer = vec![0; ANSWER_BYTES];
    Netlink::open(NETLINK_ROUTE)?.dump(GET_LINK, &[0; HEAD], &mut buffer, |message| {
        links.extend(link(message));
    })?;
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (v4, v6) = (read("/proc/thread-self/net/route"), read("/proc/thread-self/net/ipv6_route"));
    Ok(sorted(&links, &default_routes(&v4, &v6)))
}

/// Separates inner interfaces from the others. Inner are:
///
/// - a bridge whose ports all belong to containers and virtual machines (veth, tap), or that has none yet;
/// - a container's interface (veth) that is in no bridge, unless it is named like a network card, as in a
///   container that is itself the host here.
///
/// The interface of the default gateway is never inner, and neither are other kinds: tunnels, VLANs, single
/// taps.
fn sorted(links: &[Link], default_routes: &HashSet<&str>) -> Interfaces {
    let is_of_a_guest = |link: &Link| matches!(link.kind.as_str(), "veth" | "tun" | "dummy");
    let is_inner = |link: &&Link| {
        let name = link.name.as_str();
        let like_a_card = name.starts_with("eth") || name.starts_with("en");
        let by_kind = match link.kind.as_str() {
            "bridge" => {
                let mut ports = links.iter().filter(|port| port.master == Some(link.index));
                ports.all(is_of_a_guest)
            }
            "veth" => link.master.is_none() && !like_a_card,
            _ => false,
        };
        by_kind && !default_routes.contains(name)
    };
    let names = |wanted: &dyn Fn(&&Link) -> bool| {
        links.iter().filter(wanted).map(|link| link.name.clone()).collect()
    };
    Interfaces { inner: names(&is_inner), bridges: names(&|link| link.kind == "bridge") }
}

fn link(message: &Message<'_>) -> Option<Link> {
    if message.kind != NEW_LINK {
        return None;
    }
    let number = |bytes: &[u8]| Some(u32::from_ne_bytes(*bytes.first_chunk()?));
    let attributes = Attributes(message.payload.get(HEAD..)?);
    let kind = attributes.get(INFO).and_then(|info| Attributes(info).get(KIND)).and_then(text);
    Some(Link {
        index: number(message.payload.get(4..)?)?,
        name: text(attributes.get(NAME)?)?.parse().ok()?,
        kind: kind.unwrap_or_default().to_owned(),
        master: attributes.get(MASTER).and_then(number),
    })
}

/// Interfaces with default routes, from `/proc/net/route` and `/proc/net/ipv6_route`.
fn default_routes<'t>(v4: &'t str, v6: &'t str) -> HashSet<&'t str> {
    let v4 = v4.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_default = words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000");
        words.first().copied().filter(|_| is_default)
    });
    let v6 = v6.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.last().copied().filter(|_| words.get(1) == Some(&"00"))
    });
    v4.chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link((index, name, kind, master): (u32, &str, &str, Option<u32>)) -> Link {
        Link { index, name: name.parse().unwrap(), kind: kind.to_owned(), master }
    }

    #[test]
    fn guest_networks_are_inside_and_others_are_not() {
        let links = [
            (1, "lo", "", None),
            (2, "eth0", "", None),
            // Docker, with a container and without; libvirt's default network; a guest on the LAN.
            (3, "docker0", "bridge", None),
            (4, "veth1a", "veth", Some(3)),
            (5, "br-77c0ffee", "bridge", None),
            (6, "virbr0", "bridge", None),
            (7, "virbr0-nic", "tun", Some(6)),
            (8, "vnet0", "tun", Some(6)),
            (9, "br0", "bridge", None),
            (10, "eth1", "", Some(9)),
            (11, "vnet1", "tun", Some(9)),
            // An overlay between nodes, a pod without a bridge, a VPN, a card that is a veth.
            (12, "br-overlay", "bridge", None),
            (13, "vxlan1", "vxlan", Some(12)),
            (14, "cali12", "veth", None),
            (15, "wg0", "wireguard", None),
            (16, "tun0", "tun", None),
            (17, "eth2", "veth", None),
            (18, "uplink", "veth", None),
            (19, "br-lan", "bridge", None),
        ]
        .map(link);
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                  uplink\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let zero = "0".repeat(32);
        let v6 = format!("{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000 00000001 br-lan\n");
        let found = sorted(&links, &default_routes(v4, &v6));
        let names = |names: &std::collections::BTreeSet<InterfaceName>| {
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(&found.inner), ["br-77c0ffee", "cali12", "docker0", "virbr0"]);
        assert_eq!(
            names(&found.bridges),
            ["br-77c0ffee", "br-lan", "br-overlay", "br0", "docker0", "virbr0"]
        );
    }
}
