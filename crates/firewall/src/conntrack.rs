//! Keeps the kernel's connection tracking consistent with the open TCP connections.
//!
//! Every packet is judged by the opener of its flow, which connection tracking knows. It starts with the
//! first rule that uses it, and may lose its entries (`conntrack -F`). For an unknown connection it takes the
//! sender of the next packet for the opener. Therefore it is informed of open connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::error::FirewallError;
use crate::nft::constants::flag;
use crate::nft::socket::{Link, Reply};
use crate::nft::wire::{Attributes, Head, Writer, message};

/// An open TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The side that opened it.
    pub from: SocketAddr,
    /// The other side.
    pub to: SocketAddr,
}

/// What connection tracking knew, and what was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aligned {
    /// Connections that it did not know.
    pub new: usize,
    /// Connections for which it had taken the wrong side for the opener, since it first saw them in
    /// midstream.
    pub turned: usize,
    /// Connections that it knew, which are unchanged.
    pub known: usize,
    /// Unknown connections that were not added because there is no room.
    pub left_out: usize,
}

/// The parameters of updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateLimits {
    /// For how many seconds it keeps an idle connection.
    pub timeout_seconds: u32,
    /// The most unknown connections that may be added.
    pub room: usize,
}

/// Why connection tracking could not be updated completely.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// It could not be reached.
    #[error(transparent)]
    Link(#[from] FirewallError),
    /// It refused an entry.
    #[error(
        "informing connection tracking of open connections: the kernel accepted {taken} of {all} \
         and then refused"
    )]
    Refused {
        /// How many were accepted.
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
/// `… | IPCTNL_MSG_CT_GET`.
const GET: u16 = 1 << 8 | 1;
/// `… | IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 1 << 8 | 2;
const TCP: u8 = 6;
const ASKING: &str = "looking up open connections in connection tracking";
const TELLING: &str = "informing connection tracking of open connections";

/// `linux/netfilter/nfnetlink_conntrack.h` and `nf_conntrack_common.h`.
mod ct {
    pub(super) const TUPLE_ORIGINAL: u16 = 1;
    pub(super) const TUPLE_REPLY: u16 = 2;
    pub(super) const STATUS: u16 = 3;
    pub(super) const PROTOCOL_INFO: u16 = 4;
    pub(super) const TIMEOUT: u16 = 7;
    pub(super) const MARK: u16 = 8;
    pub(super) const ID: u16 = 12;
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
    /// `IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED`: both sides have sent packets.
    pub(super) const SEEN_BOTH_WAYS: u32 = 1 << 1 | 1 << 2 | 1 << 3;
    /// `IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL`: how the kernel marks a connection that it
    /// first sees in midstream (`tcp_new` in net/netfilter/nf_conntrack_proto_tcp.c).
    pub(super) const TAKEN_UP: u8 = 0x02 | 0x08;
    /// Flags and their mask. The window scaling of the sides is not known, so packets outside of the window
    /// are accepted, as the kernel does for connections first seen in midstream. Only this flag is set: with
    /// both, such a connection could not be distinguished from one that the kernel first saw in midstream.
    pub(super) const TOLD: [u8; 2] = [0x08, TAKEN_UP];
}

/// Makes connection tracking consistent with these connections: adds unknown ones, and corrects those that it
/// first saw in midstream with the wrong opener. Other entries stay unchanged, even if their opener differs:
/// connection tracking has seen them being opened.
///
/// # Errors
/// [`ConntrackError`]; what it accepted until then stays.
pub fn align(opened: &[Opened], limits: UpdateLimits) -> Result<Aligned, ConntrackError> {
    let mut link = Link::open()?;
    let mut done = Aligned::default();
    for chunk in opened.chunks(CHUNK) {
        let mut unknown = Vec::new();
        let mut taken_up = Vec::new();
        for (connection, found) in chunk.iter().zip(look_up(&mut link, chunk, opened.len(), done)?)
        {
            match found {
                Found::Nothing => unknown.push((*connection, None)),
                Found::PickedUp(entry) => taken_up.push((*connection, entry)),
                Found::Known => done.known += 1,
            }
        }
        let room = limits.room.saturating_sub(done.new);
        done.left_out += unknown.len().saturating_sub(room);
        unknown.truncate(room);
        let updated =
            update_entries(&mut link, &unknown, limits.timeout_seconds, opened.len(), done)?;
        done.new += updated;
        done.known += unknown.len() - updated;
        let removed = forget(&mut link, &taken_up)?;
        done.known += taken_up.len() - removed.len();
        let updated =
            update_entries(&mut link, &removed, limits.timeout_seconds, opened.len(), done)?;
        done.turned += updated;
        done.known += removed.len() - updated;
    }
    Ok(done)
}

impl Aligned {
    fn refused(self, all: usize, errno: i32) -> ConntrackError {
        let taken = self.new + self.turned + self.known;
        ConntrackError::Refused { taken, all, source: io::Error::from_raw_os_error(errno) }
    }
}

/// What connection tracking knows about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Known,
    PickedUp(PickedUp),
}

/// An entry that the kernel created from a packet of the side that did not open the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PickedUp {
    id: u32,
    mark: u32,
}

fn look_up(
    link: &mut Link,
    chunk: &[Opened],
    all: usize,
    done: Aligned,
) -> Result<Vec<Found>, ConntrackError> {
    let mut bytes = Vec::new();
    for (Opened { from, to }, sequence) in chunk.iter().zip(1..) {
        message(&mut bytes, head(GET, flag::REQUEST, sequence, from), |w| {
            w.nested(ct::TUPLE_ORIGINAL, |w| tuple(w, from, to));
        });
    }
    let mut found = vec![Found::Nothing; chunk.len()];
    let mut refused = None;
    link.each_reply(&bytes, ASKING, |sequence, reply| {
        let Some(at) = usize::try_from(sequence).ok().and_then(|number| number.checked_sub(1))
        else {
            return;
        };
        match (reply, chunk.get(at), found.get_mut(at)) {
            (Reply::Content(entry), Some(connection), Some(place)) => {
                *place = judge(connection, entry);
            }
            (Reply::Error(libc::ENOENT), ..) | (_, None, _) | (_, _, None) => {}
            (Reply::Error(errno), ..) => refused = Some(errno),
        }
    })?;
    refused.map_or(Ok(found), |errno| Err(done.refused(all, errno)))
}

fn judge(connection: &Opened, entry: Attributes<'_>) -> Found {
    let Opened { from, to } = connection;
    let ends = |kind| entry.nested(kind).and_then(ends);
    let is_turned = ends(ct::TUPLE_ORIGINAL) == Some((*to, *from))
        && ends(ct::TUPLE_REPLY) == Some((*from, *to));
    match (is_turned && was_taken_up(entry), entry.be32(ct::ID)) {
        (true, Some(id)) => {
            Found::PickedUp(PickedUp { id, mark: entry.be32(ct::MARK).unwrap_or_default() })
        }
        _ => Found::Known,
    }
}

fn was_taken_up(entry: Attributes<'_>) -> bool {
    let tcp = entry.nested(ct::PROTOCOL_INFO).and_then(|info| info.nested(ct::INFO_TCP));
    [ct::TCP_FLAGS_ORIGINAL, ct::TCP_FLAGS_REPLY].into_iter().all(|kind| {
        let flags = tcp.and_then(|tcp| tcp.get(kind)?.first().copied());
        flags.is_some_and(|flags| flags & ct::TAKEN_UP == ct::TAKEN_UP)
    })
}

/// Adds connections, each with its mark; returns how many are new. The others have become known meanwhile.
fn update_entries(
    link: &mut Link,
    connections: &[(Opened, Option<u32>)],
    timeout_seconds: u32,
    all: usize,
    done: Aligned,
) -> Result<usize, ConntrackError> {
    let mut bytes = Vec::new();
    for ((connection, mark), sequence) in connections.iter().zip(1..) {
        describe(&mut bytes, connection, *mark, sequence, timeout_seconds);
    }
    let mut new = 0;
    let mut refused = None;
    link.each_reply(&bytes, TELLING, |_, reply| match reply {
        Reply::Error(0) => new += 1,
        Reply::Error(libc::EEXIST) | Reply::Content(_) => {}
        Reply::Error(errno) => refused = Some(errno),
    })?;
    match refused {
        None => Ok(new),
        Some(errno) => Err(Aligned { new: done.new + new, ..done }.refused(all, errno)),
    }
}

/// Deletes entries, which are then added again. One that changed meanwhile is left unchanged.
fn forget(
    link: &mut Link,
    entries: &[(Opened, PickedUp)],
) -> Result<Vec<(Opened, Option<u32>)>, ConntrackError> {
    let mut bytes = Vec::new();
    for ((Opened { from, to }, entry), sequence) in entries.iter().zip(1..) {
        let head = head(DELETE, flag::REQUEST | flag::ACK, sequence, from);
        // Never without the addresses of one connection: that would delete all of them.
        message(&mut bytes, head, |w| {
            w.nested(ct::TUPLE_ORIGINAL, |w| tuple(w, to, from));
            w.be32(ct::ID, entry.id);
        });
    }
    let mut removed = Vec::new();
    link.each_reply(&bytes, TELLING, |sequence, reply| {
        let number = usize::try_from(sequence).ok().and_then(|number| number.checked_sub(1));
        let entry = number.and_then(|at| entries.get(at));
        if let (Reply::Error(0), Some((connection, PickedUp { mark, .. }))) = (reply, entry) {
            removed.push((*connection, Some(*mark)));
        }
    })?;
    Ok(removed)
}

fn head(kind: u16, flags: u16, sequence: u32, end: &SocketAddr) -> Head {
    let family = if end.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    Head { kind, flags, sequence, family: u8::try_from(family).unwrap_or_default(), resource: 0 }
}

fn describe(
    bytes: &mut Vec<u8>,
    Opened { from, to }: &Opened,
    mark: Option<u32>,
    sequence: u32,
    timeout_seconds: u32,
) {
    let flags = flag::REQUEST | flag::CREATE | flag::EXCLUSIVE | flag::ACK;
    message(bytes, head(NEW, flags, sequence, from), |w| {
        w.nested(ct::TUPLE_ORIGINAL, |w| tuple(w, from, to));
        w.nested(ct::TUPLE_REPLY, |w| tuple(w, to, from));
        w.be32(ct::STATUS, ct::SEEN_BOTH_WAYS);
        w.be32(ct::TIMEOUT, timeout_seconds);
        if let Some(mark) = mark.filter(|mark| *mark != 0) {
            w.be32(ct::MARK, mark);
        }
        w.nested(ct::PROTOCOL_INFO, |w| {
            w.nested(ct::INFO_TCP, |w| {
                w.bytes(ct::TCP_STATE, &[ct::ESTABLISHED]);
                w.bytes(ct::TCP_FLAGS_ORIGINAL, &ct::TOLD);
                w.bytes(ct::TCP_FLAGS_REPLY, &ct::TOLD);
            });
        });
    });
}

/// Source and destination of a tuple.
fn ends(tuple: Attributes<'_>) -> Option<(SocketAddr, SocketAddr)> {
    let ip = tuple.nested(ct::TUPLE_IP)?;
    let address = |v4: u16, v6: u16| -> Option<IpAddr> {
        match ip.get(v4) {
            Some(bytes) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
            None => Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(v6)?).ok()?).into()),
        }
    };
    let transport = tuple.nested(ct::TUPLE_PROTOCOL)?;
    let port = |kind: u16| Some(u16::from_be_bytes(transport.get(kind)?.try_into().ok()?));
    let source = SocketAddr::new(address(ct::V4_SOURCE, ct::V6_SOURCE)?, port(ct::SOURCE_PORT)?);
    let destination = SocketAddr::new(
        address(ct::V4_DESTINATION, ct::V6_DESTINATION)?,
        port(ct::DESTINATION_PORT)?,
    );
    Some((source, destination))
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
