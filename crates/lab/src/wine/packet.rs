//! A packet on the wire as policy judges it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xshield_policy::packet::Transport;
use xshield_policy::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};
use xshield_policy::{Direction, Packet};

use super::queue::Hook;

/// Hop-by-hop options, routing and destination options: their second byte tells their length.
const EXTENSIONS: [u8; 3] = [0, 43, 60];

/// The packet of these bytes, which begin with its IP header; `None` where they are cut or a fragment.
pub(super) fn read(bytes: &[u8], hook: Hook) -> Option<Packet> {
    let (source, destination, protocol, rest): (IpAddr, IpAddr, u8, &[u8]) =
        match bytes.first()? >> 4 {
            4 => {
                let head = bytes.first_chunk::<20>()?;
                // More fragments follow, or this is not the first.
                if head[6] & 0x3f != 0 || head[7] != 0 {
                    return None;
                }
                let address = |at: usize| {
                    IpAddr::from(Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]))
                };
                let rest = bytes.get(usize::from(head[0] & 15) * 4..)?;
                (address(12), address(16), head[9], rest)
            }
            6 => {
                let head = bytes.first_chunk::<40>()?;
                let address = |at: usize| {
                    let bytes: Option<[u8; 16]> = head.get(at..at + 16)?.try_into().ok();
                    bytes.map(|bytes| IpAddr::from(Ipv6Addr::from(bytes)))
                };
                let (protocol, rest) = without_extensions(head[6], &bytes[40..])?;
                (address(8)?, address(24)?, protocol, rest)
            }
            _ => return None,
        };
    let ports = || {
        let [a, b, c, d] = *rest.first_chunk::<4>()?;
        Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    };
    let transport = match protocol {
        TCP => ports().map(|(from, to)| Transport::Tcp(from, to))?,
        UDP => ports().map(|(from, to)| Transport::Udp(from, to))?,
        SCTP => ports().map(|(from, to)| Transport::Sctp(from, to))?,
        ICMP | ICMPV6 => Transport::Icmp(*rest.first()?),
        other => Transport::Other(other),
    };
    let (direction, peer, local) = match hook {
        Hook::In => (Direction::Inbound, source, destination),
        Hook::Out => (Direction::Outbound, destination, source),
    };
    let local = Some(local);
    Some(Packet { direction, peer, local, transport, loopback: false, owners: Vec::new() })
}

fn without_extensions(mut protocol: u8, mut rest: &[u8]) -> Option<(u8, &[u8])> {
    while EXTENSIONS.contains(&protocol) {
        let [next, length] = *rest.first_chunk::<2>()?;
        rest = rest.get((usize::from(length) + 1) * 8..)?;
        protocol = next;
    }
    Some((protocol, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(protocol: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
        let head = [0x45, 0, 0, 0, 0, 0, flags, 0, 64, protocol, 0, 0];
        [&head[..], &[10, 0, 0, 1], &[10, 0, 0, 2], rest].concat()
    }

    fn v6(protocol: u8, rest: &[u8]) -> Vec<u8> {
        let address = |last: u16| Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last).octets();
        let head = [0x60, 0, 0, 0, 0, 0, protocol, 64];
        [&head[..], &address(1), &address(2), rest].concat()
    }

    #[test]
    fn packets_are_read_from_the_wire() {
        let ports = [0xc3, 0x50, 0x1f, 0x90];
        let hop_by_hop = [TCP, 0, 0, 0, 0, 0, 0, 0];
        let extended = v6(0, &[&hop_by_hop[..], &ports].concat());
        for (bytes, hook, wanted) in [
            (v4(TCP, 0x40, &ports), Hook::In, Some("in tcp 10.0.0.1:50000 -> 10.0.0.2:8080")),
            (v4(UDP, 0, &ports), Hook::Out, Some("out udp 10.0.0.1:50000 -> 10.0.0.2:8080")),
            (v4(ICMP, 0, &[8, 0]), Hook::In, Some("in icmp/8 10.0.0.1 -> 10.0.0.2")),
            (v4(47, 0, &[]), Hook::In, Some("in gre 10.0.0.1 -> 10.0.0.2")),
            (v6(TCP, &ports), Hook::Out, Some("out tcp [fd77::1]:50000 -> [fd77::2]:8080")),
            (v6(ICMPV6, &[128, 0]), Hook::In, Some("in icmp/128 fd77::1 -> fd77::2")),
            (extended, Hook::In, Some("in tcp [fd77::1]:50000 -> [fd77::2]:8080")),
            (v4(UDP, 0x20, &ports), Hook::In, None),
            (v4(TCP, 0, &ports[..3]), Hook::In, None),
            (vec![0x45, 0], Hook::In, None),
            (vec![], Hook::In, None),
        ] {
            let wanted = wanted.map(|text| text.parse().unwrap());
            assert_eq!(read(&bytes, hook), wanted, "{bytes:?}");
        }
    }
}
