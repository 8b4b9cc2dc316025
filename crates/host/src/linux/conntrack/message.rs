//! One connection as the kernel describes it (linux/netfilter/nfnetlink_conntrack.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xshield_policy::Protocol;

use super::super::netlink::{Attributes, Message, be16, be32, be64};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`: a new or changed connection, or one of a list.
pub(super) const NEW: u16 = 1 << 8;
/// `… | IPCTNL_MSG_CT_GET`.
pub(super) const GET: u16 = 1 << 8 | 1;
/// `… | IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 1 << 8 | 2;
/// `NLM_F_CREATE`: distinguishes a new connection from a changed one.
const CREATED: u16 = 0x400;

/// `enum ctattr_type`.
mod attribute {
    pub(super) const ORIGINAL: u16 = 1;
    pub(super) const REPLY: u16 = 2;
    pub(super) const PROTOCOL_INFO: u16 = 4;
    pub(super) const COUNTERS_ORIGINAL: u16 = 9;
    pub(super) const COUNTERS_REPLY: u16 = 10;
    pub(super) const ID: u16 = 12;
}

/// A message of the kernel about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its first packet was let through.
    New(Connection),
    /// It exists: an entry of a list, or a change.
    Seen(Connection),
    /// It has ended: closed some time ago, or idle for too long.
    Ended(Connection),
}

/// A connection in the kernel's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Its first packet.
    pub original: Tuple,
    /// The answering side: differs from `original` reversed if addresses are translated.
    pub reply: Tuple,
    /// The kernel's id, which distinguishes it from a later one with the same endpoints.
    pub id: u32,
    /// Packets and bytes so far; `None` if the kernel doesn't count (`nf_conntrack_acct`).
    pub counters: Option<Counters>,
    /// The state, for TCP.
    pub phase: Phase,
}

/// Source and destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Source port; the identifier for ICMP.
    pub source_port: u16,
    /// Destination port; the type for ICMP; 0 if there is none.
    pub port: u16,
}

/// Packets and bytes by direction, IP headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Counters {
    /// Packets from the side that opened the connection.
    pub packets_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Packets of the other side.
    pub packets_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Possibly still open; before Linux 5.9 also connections that have ended.
    Open,
    /// The TCP connection is established.
    Established,
    /// TCP has closed it; the kernel keeps it for late packets.
    Closing,
}

impl Counters {
    /// What was added since `before`. Counters never decrease; if they do, it is another connection.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            packets_sent: self.packets_sent.saturating_sub(before.packets_sent),
            bytes_sent: self.bytes_sent.saturating_sub(before.bytes_sent),
            packets_received: self.packets_received.saturating_sub(before.packets_received),
            bytes_received: self.bytes_received.saturating_sub(before.bytes_received),
        }
    }

    /// Adds `more`.
    pub fn add(&mut self, more: Self) {
        self.packets_sent = self.packets_sent.saturating_add(more.packets_sent);
        self.bytes_sent = self.bytes_sent.saturating_add(more.bytes_sent);
        self.packets_received = self.packets_received.saturating_add(more.packets_received);
        self.bytes_received = self.bytes_received.saturating_add(more.bytes_received);
    }
}

impl Event {
    pub(super) fn read(message: &Message<'_>) -> Option<Self> {
        let (_, _, attributes) = message.netfilter()?;
        let connection = Connection::read(attributes)?;
        match message.kind {
            NEW if message.flags & CREATED != 0 => Some(Self::New(connection)),
            NEW => Some(Self::Seen(connection)),
            DELETE => Some(Self::Ended(connection)),
            _ => None,
        }
    }
}

impl Connection {
    fn read(attributes: Attributes<'_>) -> Option<Self> {
        let (mut original, mut reply, mut id) = (None, None, 0);
        let (mut sent, mut received) = (None, None);
        let mut phase = Phase::Open;
        for (kind, value) in attributes {
            let inner = Attributes(value);
            match kind {
                attribute::ORIGINAL => original = Tuple::read(inner),
                attribute::REPLY => reply = Tuple::read(inner),
                attribute::PROTOCOL_INFO => phase = Phase::read(inner),
                attribute::COUNTERS_ORIGINAL => sent = counters(inner),
                attribute::COUNTERS_REPLY => received = counters(inner),
                attribute::ID => id = be32(value)?,
                _ => {}
            }
        }
        let counters = sent.zip(received).map(|(sent, received)| Counters {
            packets_sent: sent.0,
            bytes_sent: sent.1,
            packets_received: received.0,
            bytes_received: received.1,
        });
        Some(Self { original: original?, reply: reply?, id, counters, phase })
    }
}

impl Tuple {
    fn read(attributes: Attributes<'_>) -> Option<Self> {
        /// `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`.
        const IP: u16 = 1;
        const TRANSPORT: u16 = 2;
        let (mut source, mut destination) = (None, None);
        for (kind, value) in Attributes(attributes.get(IP)?) {
            match kind {
                // CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST
                1 => source = ipv4(value),
                2 => destination = ipv4(value),
                3 => source = ipv6(value),
                4 => destination = ipv6(value),
                _ => {}
            }
        }
        let (mut number, mut source_port, mut port) = (None, 0, 0);
        for (kind, value) in Attributes(attributes.get(TRANSPORT)?) {
            match kind {
                // CTA_PROTO_NUM, …_SRC_PORT, …_DST_PORT, …_ICMP_ID, …_ICMP_TYPE, then those of IPv6
                1 => number = value.first().copied(),
                2 | 4 | 7 => source_port = be16(value)?,
                3 => port = be16(value)?,
                5 | 8 => port = u16::from(*value.first()?),
                _ => {}
            }
        }
        let protocol = Protocol::from(number?);
        let (source, destination) = (source?, destination?);
        Some(Self { source, destination, protocol, source_port, port })
    }
}

impl Phase {
    fn read(attributes: Attributes<'_>) -> Self {
        /// `CTA_PROTOINFO_TCP`, and in it `CTA_PROTOINFO_TCP_STATE`.
        const TCP: u16 = 1;
        const STATE: u16 = 1;
        // enum tcp_conntrack, linux/netfilter/nf_conntrack_tcp.h; those of closing are from FIN_WAIT to
        // CLOSE.
        const ESTABLISHED: u8 = 3;
        const CLOSING: std::ops::RangeInclusive<u8> = 4..=8;
        let tcp = attributes.get(TCP).map(Attributes);
        let state = tcp.and_then(|tcp| tcp.get(STATE)?.first().copied());
        match state {
            Some(ESTABLISHED) => Self::Established,
            Some(state) if CLOSING.contains(&state) => Self::Closing,
            Some(_) | None => Self::Open,
        }
    }
}

/// `CTA_COUNTERS_PACKETS`, `CTA_COUNTERS_BYTES`.
fn counters(attributes: Attributes<'_>) -> Option<(u64, u64)> {
    Some((be64(attributes.get(1)?)?, be64(attributes.get(2)?)?))
}

fn ipv4(value: &[u8]) -> Option<IpAddr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into())
}

fn ipv6(value: &[u8]) -> Option<IpAddr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into())
}
