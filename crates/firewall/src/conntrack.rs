//! Telling the kernel's connection tracking of connections that are open already.
//!
//! Every packet is judged by who opened its flow, and connection tracking knows that. It begins with the
//! first rule that asks it: of a connection that is older, it takes whoever sends the next packet for the
//! one that opened it. So it is told before.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::nft::FirewallError;
use crate::nft::constants::flag;
use crate::nft::socket::Link;
use crate::nft::wire::{Head, Writer, message};

/// A TCP connection that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Who opened it.
    pub from: SocketAddr,
    /// Whom it was opened to.
    pub to: SocketAddr,
}

/// What the kernel made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Introduced {
    /// Connections that it did not know.
    pub new: usize,
    /// Connections that it knew, and that stay as it knew them.
    pub known: usize,
}

/// Why the kernel does not know of all of them.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// It could not be told.
    #[error(transparent)]
    Link(#[from] FirewallError),
    /// It refused.
    #[error(
        "telling connection tracking of open connections: the kernel took {taken} of {all} and then refused"
    )]
    Refused {
        /// How many it knows now.
        taken: usize,
        /// How many there are.
        all: usize,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
}

/// Messages in one datagram.
const CHUNK: usize = 256;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`.
const NEW: u16 = 1 << 8;
const TCP: u8 = 6;

/// `linux/netfilter/nfnetlink_conntrack.h` and `nf_conntrack_common.h`.
mod ct {
    pub(super) const TUPLE_ORIGINAL: u16 = 1;
    pub(super) const TUPLE_REPLY: u16 = 2;
    pub(super) const STATUS: u16 = 3;
    pub(super) const PROTOCOL_INFO: u16 = 4;
    pub(super) const TIMEOUT: u16 = 7;
    pub(super) const TUPLE_IP: u16 = 1;
    pub(super) const TUPLE_PROTOCOL: u16 = 2;
    pub(super) const V4_SOURCE: u16 = 1;
    pub(super) const V4_DESTINATION: u16 = 2;
    pub(super) const V6_SOURCE: u16 = 3;
    pub(super) const V6_DESTINATION: u16 = 4;
    pub(super) const NUMBER: u16 = 1;
    pub(super) const SOURCE_PORT: u16 = 2;
    pub(super) const DESTINATION_PORT: u16 = 3;
    pub(super) const INFO_TCP: u16 = 1;
    pub(super) const TCP_STATE: u16 = 1;
    pub(super) const TCP_FLAGS_ORIGINAL: u16 = 4;
    pub(super) const TCP_FLAGS_REPLY: u16 = 5;

    pub(super) const ESTABLISHED: u8 = 3;
    /// `IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED`: both sides have spoken.
    pub(super) const SEEN_BOTH_WAYS: u32 = 1 << 1 | 1 << 2 | 1 << 3;
    /// `IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL`, as flags and as their mask. How the sides
    /// scale their windows is not known, so what is outside of them is let pass, as by the kernel itself
    /// where it meets a connection in its midst.
    pub(super) const LIBERAL: [u8; 2] = [0x02 | 0x08; 2];
}

/// Tells connection tracking of these connections. What it knows already stays as it is, also when it
/// thinks otherwise of who opened it.
///
/// # Errors
/// [`ConntrackError`]; what it took until then stays.
pub fn introduce(opened: &[Opened], timeout_seconds: u32) -> Result<Introduced, ConntrackError> {
    let mut link = Link::open()?;
    let mut done = Introduced::default();
    for chunk in opened.chunks(CHUNK) {
        let mut bytes = Vec::new();
        for (connection, sequence) in chunk.iter().zip(1..) {
            describe(&mut bytes, connection, sequence, timeout_seconds);
        }
        let action = "telling connection tracking of open connections";
        for errno in link.outcomes(&bytes, action)? {
            match errno {
                0 => done.new += 1,
                libc::EEXIST => done.known += 1,
                errno => {
                    let (taken, all) = (done.new + done.known, opened.len());
                    let source = io::Error::from_raw_os_error(errno);
                    return Err(ConntrackError::Refused { taken, all, source });
                }
            }
        }
    }
    Ok(done)
}

fn describe(bytes: &mut Vec<u8>, connection: &Opened, sequence: u32, timeout_seconds: u32) {
    let Opened { from, to } = connection;
    let family = if from.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let head = Head {
        kind: NEW,
        flags: flag::REQUEST | flag::CREATE | flag::EXCLUSIVE | flag::ACK,
        sequence,
        family: u8::try_from(family).unwrap_or_default(),
        resource: 0,
    };
    message(bytes, head, |w| {
        w.nested(ct::TUPLE_ORIGINAL, |w| tuple(w, from, to));
        w.nested(ct::TUPLE_REPLY, |w| tuple(w, to, from));
        w.be32(ct::STATUS, ct::SEEN_BOTH_WAYS);
        w.be32(ct::TIMEOUT, timeout_seconds);
        w.nested(ct::PROTOCOL_INFO, |w| {
            w.nested(ct::INFO_TCP, |w| {
                w.bytes(ct::TCP_STATE, &[ct::ESTABLISHED]);
                w.bytes(ct::TCP_FLAGS_ORIGINAL, &ct::LIBERAL);
                w.bytes(ct::TCP_FLAGS_REPLY, &ct::LIBERAL);
            });
        });
    });
}

fn tuple(w: &mut Writer<'_>, source: &SocketAddr, destination: &SocketAddr) {
    w.nested(ct::TUPLE_IP, |w| match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            w.bytes(ct::V4_SOURCE, &source.octets());
            w.bytes(ct::V4_DESTINATION, &destination.octets());
        }
        (source, destination) => {
            let octets = |ip| match ip {
                IpAddr::V4(v4) => std::net::Ipv4Addr::to_ipv6_mapped(&v4).octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            w.bytes(ct::V6_SOURCE, &octets(source));
            w.bytes(ct::V6_DESTINATION, &octets(destination));
        }
    });
    w.nested(ct::TUPLE_PROTOCOL, |w| {
        w.bytes(ct::NUMBER, &[TCP]);
        w.bytes(ct::SOURCE_PORT, &source.port().to_be_bytes());
        w.bytes(ct::DESTINATION_PORT, &destination.port().to_be_bytes());
    });
}
