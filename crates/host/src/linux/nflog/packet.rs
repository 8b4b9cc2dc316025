//! One logged packet, as the kernel sends it (linux/netfilter/nfnetlink_log.h).

use std::net::{IpAddr, Ipv4Addr};

use xshield_policy::Protocol;

use super::super::netlink::{Attributes, Message, be32};

/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET`.
pub(super) const PACKET: u16 = 4 << 8;

/// `enum nfulnl_attr_type`.
mod attribute {
    pub(super) const INDEV: u16 = 4;
    pub(super) const OUTDEV: u16 = 5;
    pub(super) const PAYLOAD: u16 = 9;
    pub(super) const PREFIX: u16 = 10;
    pub(super) const UID: u16 = 11;
    pub(super) const SEQUENCE: u16 = 12;
}

/// The most extension headers that are followed to find an IPv6 packet's protocol.
const MOST_EXTENSIONS: usize = 8;

/// A logged packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The group it was logged to.
    pub group: u16,
    /// The packet's number in the group, counted since it was bound.
    pub sequence: Option<u32>,
    /// The rule's prefix, without the final NUL.
    pub prefix: &'a [u8],
    /// Index of the incoming interface.
    pub in_interface: Option<u32>,
    /// Index of the outgoing interface.
    pub out_interface: Option<u32>,
    /// The user of the local socket that sent it.
    pub uid: Option<u32>,
    /// Its first bytes, from the IP header on.
    pub payload: &'a [u8],
}

/// The endpoints of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Source port; 0 if there is none.
    pub source_port: u16,
    /// Destination port; the type for ICMP; 0 if there is none, and for fragments except the first.
    pub port: u16,
    /// Bytes of the whole packet, IP header included.
    pub length: u32,
}

impl Ends {
    /// The endpoints with those of the flow's opener first, for a packet that answers.
    #[must_use]
    pub(super) fn turned(self) -> Self {
        let port = match self.protocol {
            Protocol::Icmp => self.port,
            _ => self.source_port,
        };
        let source_port = if self.protocol == Protocol::Icmp { 0 } else { self.port };
        Self { source: self.destination, destination: self.source, source_port, port, ..self }
    }
}

impl<'a> Packet<'a> {
    /// `None` for messages that are not packets.
    pub(super) fn read(message: &Message<'a>) -> Option<Self> {
        let (_, group, attributes) = message.netfilter()?;
        (message.kind == PACKET).then(|| Self::of(group, attributes))
    }

    fn of(group: u16, attributes: Attributes<'a>) -> Self {
        let mut packet = Self {
            group,
            sequence: None,
            prefix: &[],
            in_interface: None,
            out_interface: None,
            uid: None,
            payload: &[],
        };
        for (kind, value) in attributes {
            match kind {
                attribute::SEQUENCE => packet.sequence = be32(value),
                attribute::PREFIX => packet.prefix = value.strip_suffix(&[0]).unwrap_or(value),
                attribute::INDEV => packet.in_interface = be32(value),
                attribute::OUTDEV => packet.out_interface = be32(value),
                attribute::UID => packet.uid = be32(value),
                attribute::PAYLOAD => packet.payload = value,
                _ => {}
            }
        }
        packet
    }

    /// Parses the IP header and the first bytes after it. `None` if it is not an IP packet or the header is
    /// truncated.
    #[must_use]
    pub fn ends(&self) -> Option<Ends> {
        match self.payload.first()? >> 4 {
            4 => ipv4(self.payload),
            6 => ipv6(self.payload),
            _ => None,
        }
    }
}

fn be16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// RFC 791.
fn ipv4(bytes: &[u8]) -> Option<Ends> {
    let head = bytes.first_chunk::<20>()?;
    let header = usize::from(head[0] & 0xf) * 4;
    let later_fragment = be16_at(head, 6)? & 0x1fff != 0;
    let transport = if later_fragment { &[] } else { bytes.get(header.max(20)..)? };
    let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
    let (protocol, source_port, port) = ports(head[9], transport);
    Some(Ends {
        source: address(12).into(),
        destination: address(16).into(),
        protocol,
        source_port,
        port,
        length: be16_at(head, 2)?.into(),
    })
}

/// RFC 8200.
fn ipv6(bytes: &[u8]) -> Option<Ends> {
    let head = bytes.first_chunk::<40>()?;
    let address = |at: usize| Some(IpAddr::from(*head.get(at..)?.first_chunk::<16>()?));
    let (number, transport) = transport_of_ipv6(head[6], &bytes[40..]);
    let (protocol, source_port, port) = ports(number, transport);
    Some(Ends {
        source: address(8)?,
        destination: address(24)?,
        protocol,
        source_port,
        port,
        length: u32::from(be16_at(head, 4)?) + 40,
    })
}

/// The protocol after the extension headers (hop-by-hop, routing, fragment, authentication, destination
/// options), and what follows them: nothing in fragments except the first, or if the copied part ends before.
fn transport_of_ipv6(mut next: u8, mut bytes: &[u8]) -> (u8, &[u8]) {
    for _ in 0..MOST_EXTENSIONS {
        if !matches!(next, 0 | 43 | 44 | 51 | 60) {
            return (next, bytes);
        }
        let Some(&[following, length, high, low]) = bytes.first_chunk::<4>() else {
            return (next, &[]);
        };
        let size = match next {
            44 if u16::from_be_bytes([high, low]) & 0xfff8 != 0 => return (following, &[]),
            44 => 8,
            // The length of the authentication header is in units of four bytes, RFC 4302.
            51 => usize::from(length) * 4 + 8,
            _ => usize::from(length) * 8 + 8,
        };
        next = following;
        bytes = bytes.get(size..).unwrap_or_default();
    }
    (next, &[])
}

fn ports(number: u8, transport: &[u8]) -> (Protocol, u16, u16) {
    let both = || (be16_at(transport, 0).unwrap_or(0), be16_at(transport, 2).unwrap_or(0));
    match number {
        1 | 58 => (Protocol::Icmp, 0, transport.first().copied().unwrap_or(0).into()),
        6 => {
            let (source, destination) = both();
            (Protocol::Tcp, source, destination)
        }
        17 => {
            let (source, destination) = both();
            (Protocol::Udp, source, destination)
        }
        // SCTP and UDP-Lite have ports at the same offset.
        132 | 136 => {
            let (source, destination) = both();
            (Protocol::Other(number), source, destination)
        }
        other => (Protocol::Other(other), 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn packet(payload: &[u8]) -> Packet<'_> {
        Packet {
            group: 1,
            sequence: None,
            prefix: b"",
            in_interface: None,
            out_interface: None,
            uid: None,
            payload,
        }
    }

    fn said(payload: &[u8]) -> Option<String> {
        let ends = packet(payload).ends()?;
        let Ends { source, destination, protocol, source_port, port, length } = ends;
        Some(format!("{source} {source_port} {destination} {protocol} {port} {length}"))
    }

    fn v4(protocol: u8, fragment: u16, options: usize, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45 + u8::try_from(options).unwrap(), 0, 0, 60, 0, 1];
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, protocol, 0, 0, 10, 0, 0, 5, 10, 0, 0, 9]);
        bytes.extend(vec![1; options * 4]);
        bytes.extend(rest);
        bytes
    }

    fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 40, next, 64];
        for last in [1, 2] {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
            bytes.extend(address.octets());
        }
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn forwarded_packets_are_decided_by_the_settings() {
        let ports = [0x9c, 0x40, 0, 22];
        let chain = |headers: &[&[u8]]| headers.concat();
        let hop = [6, 0, 0, 0, 0, 0, 0, 0];
        let longer = [[6, 1].as_slice(), &[0; 14]].concat();
        let ah = [[6, 4].as_slice(), &[0; 22]].concat();
        let first = [6, 0, 0, 1, 0, 0, 0, 7];
        let later = [6, 0, 0, 9, 0, 0, 0, 7];
        let endless = [[0, 0, 0, 0, 0, 0, 0, 0]; 20].concat();
        #[rustfmt::skip]
        let table = [
            (v4(6, 0, 0, &ports), Some("10.0.0.5 40000 10.0.0.9 tcp 22 60")),
            (v4(6, 0, 10, &ports), Some("10.0.0.5 40000 10.0.0.9 tcp 22 60")),
            (v4(17, 0x2000, 0, &ports), Some("10.0.0.5 40000 10.0.0.9 udp 22 60")),
            (v4(17, 185, 0, &ports), Some("10.0.0.5 0 10.0.0.9 udp 0 60")),
            (v4(1, 0, 0, &[8, 0]), Some("10.0.0.5 0 10.0.0.9 icmp 8 60")),
            (v4(47, 0, 0, &ports), Some("10.0.0.5 0 10.0.0.9 gre 0 60")),
            (v4(6, 0, 0, &[]), Some("10.0.0.5 0 10.0.0.9 tcp 0 60")),
            (v4(6, 0, 10, &ports)[..40].to_vec(), None),
            (v4(6, 0, 0, &[])[..19].to_vec(), None),
            (v6(6, &ports), Some("2001:db8::1 40000 2001:db8::2 tcp 22 80")),
            (v6(58, &[128]), Some("2001:db8::1 0 2001:db8::2 icmp 128 80")),
            (v6(0, &chain(&[&hop, &ports])), Some("2001:db8::1 40000 2001:db8::2 tcp 22 80")),
            (v6(60, &chain(&[&longer, &ports])), Some("2001:db8::1 40000 2001:db8::2 tcp 22 80")),
            (v6(51, &chain(&[&ah, &ports])), Some("2001:db8::1 40000 2001:db8::2 tcp 22 80")),
            (v6(44, &chain(&[&first, &ports])), Some("2001:db8::1 40000 2001:db8::2 tcp 22 80")),
            (v6(44, &chain(&[&later, &ports])), Some("2001:db8::1 0 2001:db8::2 tcp 0 80")),
            (v6(0, &endless), Some("2001:db8::1 0 2001:db8::2 0 0 80")),
            (v6(6, &[])[..39].to_vec(), None),
            (vec![0x20; 60], None),
            (vec![], None),
        ];
        for (bytes, expected) in table {
            assert_eq!(said(&bytes).as_deref(), expected, "{bytes:02x?}");
        }
    }
}
