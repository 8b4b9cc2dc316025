//! Looks up a socket by its endpoints: sock_diag(7) without a list.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use xshield_policy::Protocol;

use super::super::netlink::{Attributes, ERROR, Link, Messages, RECEIVE_BYTES, ReceiveResult};

/// `SOCK_DIAG_BY_FAMILY`, linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `INET_DIAG_CGROUP_ID`, linux/inet_diag.h.
const CGROUP_ID: u16 = 21;
/// Size of `struct inet_diag_msg`, and offsets in it.
const HEAD_BYTES: usize = 72;
const DESTINATION_PORT_AT: usize = 6;
const DESTINATION_AT: usize = 24;
const UID_AT: usize = 64;
const INODE_AT: usize = 68;
/// The kernel answers before `send` returns; this is a limit in case it doesn't.
const ANSWER: Duration = Duration::from_millis(200);

/// What the kernel knows about a socket's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketOwner {
    /// Identifies the socket; 0 if no process holds it (any more).
    pub inode: u32,
    /// The user that created it.
    pub uid: u32,
    /// The cgroup v2 in which it was created; `None` on kernels before 5.7.
    pub cgroup: Option<u64>,
}

/// Looks up sockets one at a time.
#[derive(Debug)]
pub(super) struct Diag {
    link: Link,
    buffer: Vec<u8>,
}

impl Diag {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { link: Link::open(NETLINK_SOCK_DIAG)?, buffer: vec![0; 4096] })
    }

    /// The socket that receives packets from `remote` to `local`; `None` if there is none.
    pub(super) fn find(
        &mut self,
        protocol: Protocol,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> io::Result<Option<SocketOwner>> {
        let Some(request) = request(protocol, local, remote) else { return Ok(None) };
        let sequence = self.link.send(BY_FAMILY, 0, &request)?;
        while let ReceiveResult::Datagram(size) = self.link.receive(&mut self.buffer, ANSWER)? {
            for message in Messages(&self.buffer[..size]) {
                if message.sequence != sequence {
                    continue;
                }
                if message.kind != ERROR {
                    return Ok(owner(message.payload));
                }
                return match message.outcome() {
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
                    other => other.map(|()| None),
                };
            }
        }
        Ok(None)
    }

    /// The sockets with these remote endpoints; for each the first that a process holds, or else the first.
    pub(super) fn find_all_to(
        &mut self,
        protocol: Protocol,
        destinations: &HashSet<SocketAddr>,
    ) -> io::Result<HashMap<SocketAddr, SocketOwner>> {
        let mut found = HashMap::new();
        let mut buffer = vec![0; RECEIVE_BYTES];
        for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            let any = SocketAddr::new(any, 0);
            let Some(request) = request(protocol, any, any) else { return Ok(found) };
            self.link.dump(BY_FAMILY, &request, &mut buffer, |message| {
                let destination = destination(message.payload);
                let wanted = destination.filter(|there| destinations.contains(there));
                if let (Some(there), Some(owner)) = (wanted, owner(message.payload)) {
                    let known = found.entry(there).or_insert(owner);
                    // A closed socket that only waits for late packets has no program.
                    if known.inode == 0 {
                        *known = owner;
                    }
                }
            })?;
        }
        Ok(found)
    }
}

/// `struct inet_diag_req_v2`.
fn request(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Option<Vec<u8>> {
    let (local, remote) = match protocol {
        Protocol::Tcp => (local, remote),
        // "src and dst are swapped for historical reasons", net/ipv4/udp_diag.c
        Protocol::Udp => (remote, local),
        _ => return None,
    };
    let (family, number) = (
        if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 },
        if protocol == Protocol::Tcp { libc::IPPROTO_TCP } else { libc::IPPROTO_UDP },
    );
    let mut bytes = vec![u8::try_from(family).ok()?, u8::try_from(number).ok()?, 0, 0];
    // All states.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    for address in [local.ip(), remote.ip()] {
        match address {
            IpAddr::V4(v4) => {
                bytes.extend(v4.octets());
                bytes.extend([0; 12]);
            }
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    // Any interface; INET_DIAG_NOCOOKIE.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    Some(bytes)
}

/// `id.idiag_dport` and `id.idiag_dst`.
fn destination(payload: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*payload.get(DESTINATION_PORT_AT..)?.first_chunk()?);
    let address = payload.get(DESTINATION_AT..)?;
    let address = match i32::from(*payload.first()?) {
        libc::AF_INET => IpAddr::from(*address.first_chunk::<4>()?),
        _ => IpAddr::from(*address.first_chunk::<16>()?),
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

fn owner(payload: &[u8]) -> Option<SocketOwner> {
    let word = |at: usize| Some(u32::from_ne_bytes(*payload.get(at..)?.first_chunk()?));
    let attributes = Attributes(payload.get(HEAD_BYTES..)?);
    let cgroup = attributes.get(CGROUP_ID).and_then(|value| value.try_into().ok());
    Some(SocketOwner {
        inode: word(INODE_AT)?,
        uid: word(UID_AT)?,
        cgroup: cgroup.map(u64::from_ne_bytes),
    })
}
