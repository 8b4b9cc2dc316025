//! Network interfaces, from the kernel: `/sys/class/net` shows those of the network namespace in which it was
//! mounted.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_sys::protocols::NETLINK_ROUTE;
use xshield_wire::telemetry::{Interface, LinkState};

use super::super::netlink::{Attributes, Link, Message, text};

/// linux/rtnetlink.h: `RTM_GETLINK`, `RTM_NEWLINK`, `RTM_GETADDR`, `RTM_NEWADDR`.
const GET_LINK: u16 = 18;
const NEW_LINK: u16 = 16;
const GET_ADDRESS: u16 = 22;
const NEW_ADDRESS: u16 = 20;
/// `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_HEAD: usize = 16;
const ADDRESS_HEAD: usize = 8;
/// `IFLA_ADDRESS`, `IFLA_IFNAME`, `IFLA_MTU`, `IFLA_OPERSTATE`, linux/if_link.h.
const HARDWARE_ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const STATE: u16 = 16;
/// `IFF_LOOPBACK`, linux/if.h.
const LOOPBACK: u32 = 8;
/// `IFA_ADDRESS`, `IFA_LOCAL`, linux/if_addr.h: on a point-to-point link the first is the peer's.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
/// The most interfaces reported, and the most addresses of each. Container hosts have hundreds.
const MOST: usize = 1024;
const MOST_ADDRESSES: usize = 64;
const ANSWER_BYTES: usize = 64 << 10;

/// All interfaces of this network namespace except loopback, by name.
pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    let mut link = Link::open(NETLINK_ROUTE)?;
    let mut buffer = vec![0; ANSWER_BYTES];
    let mut found = BTreeMap::new();
    link.dump(GET_LINK, &[0; LINK_HEAD], &mut buffer, |message| {
        if found.len() < MOST {
            found.extend(interface(message));
        }
    })?;
    link.dump(GET_ADDRESS, &[0; ADDRESS_HEAD], &mut buffer, |message| {
        if let Some((index, address)) = address(message)
            && let Some(interface) = found.get_mut(&index)
            && interface.addresses.len() < MOST_ADDRESSES
        {
            interface.addresses.push(address);
        }
    })?;
    let mut found: Vec<Interface> = found.into_values().collect();
    found.iter_mut().for_each(|interface| interface.addresses.sort_unstable());
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn interface(message: &Message<'_>) -> Option<(u32, Interface)> {
    if message.kind != NEW_LINK || word(message.payload, 8)? & LOOPBACK != 0 {
        return None;
    }
    let attributes = Attributes(message.payload.get(LINK_HEAD..)?);
    let name = text(attributes.get(NAME)?)?.to_owned();
    let state = match attributes.get(STATE).and_then(|value| value.first()) {
        // `IF_OPER_UP`, RFC 2863; with any other state except 0 no packets pass.
        Some(6) => LinkState::Up,
        Some(0) | None => LinkState::Unknown,
        Some(_) => LinkState::Down,
    };
    let mac = attributes.get(HARDWARE_ADDRESS).filter(|mac| mac.iter().any(|&byte| byte != 0));
    let hex =
        |mac: &[u8]| mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    let mtu = attributes.get(MTU).and_then(|value| word(value, 0)).unwrap_or(0);
    let interface = Interface { name, mac: mac.map(hex), addresses: Vec::new(), state, mtu };
    Some((word(message.payload, 4)?, interface))
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
