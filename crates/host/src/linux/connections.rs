//! Open TCP connections, and which side opened them: sock_diag(7).
//!
//! The kernel does not store which side opened a connection. It is derived from sockets that still listen on
//! its port, and from the range of ephemeral ports.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::netlink::{Link, RECEIVE_BYTES};

/// `SOCK_DIAG_BY_FAMILY`, linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// Offsets in `struct inet_diag_req_v2` and `inet_diag_msg`, linux/inet_diag.h.
const STATES_AT: usize = 4;
const REQUEST_BYTES: usize = 56;
const STATE_AT: usize = 1;
const LOCAL_PORT_AT: usize = 4;
const REMOTE_PORT_AT: usize = 6;
const LOCAL_AT: usize = 8;
const REMOTE_AT: usize = 24;
/// net/tcp_states.h.
const LISTEN: u8 = 10;
/// ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING: packets may still follow.
const OPEN: [u8; 6] = [1, 4, 5, 8, 9, 11];
const PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Linux's default, if the setting can't be read.
const DEFAULT_PORTS: RangeInclusive<u16> = 32768..=60999;

/// A TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpenConnection {
    /// The side that opened it.
    pub from: SocketAddr,
    /// The other side.
    pub to: SocketAddr,
}

/// The connections of this network namespace with other hosts whose opener can be determined.
///
/// # Errors
/// When the kernel's sockets can't be listed.
pub fn open_connections() -> io::Result<Vec<OpenConnection>> {
    let sockets = sockets(libc::IPPROTO_TCP)?;
    Ok(opened(&sockets, &ports_of_openers()))
}

/// The other hosts with which this network namespace has an open TCP connection or a connected UDP socket.
///
/// # Errors
/// When the kernel's sockets can't be listed.
pub fn connected_peers() -> io::Result<HashSet<IpAddr>> {
    let mut peers = HashSet::new();
    for protocol in [libc::IPPROTO_TCP, libc::IPPROTO_UDP] {
        let sockets = sockets(protocol)?;
        let open = sockets.iter().filter(|socket| !socket.listens && socket.remote.port() != 0);
        peers.extend(open.map(|socket| socket.remote.ip()));
    }
    Ok(peers)
}

/// The open and the listening sockets of a protocol.
fn sockets(protocol: i32) -> io::Result<Vec<Socket>> {
    let mut link = Link::open(NETLINK_SOCK_DIAG)?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let listed = link.dump(BY_FAMILY, &request(family, protocol), &mut buffer, |message| {
            sockets.extend(Socket::read(message.payload));
        });
        match listed {
            // A kernel without IPv6 does not know the address family.
            Err(error)
                if family == libc::AF_INET6 && error.raw_os_error() == Some(libc::ENOENT) => {}
            other => drop(other?),
        }
    }
    Ok(sockets)
}

/// A socket with its two endpoints.
#[derive(Debug, Clone, Copy)]
struct Socket {
    listens: bool,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Socket {
    fn read(payload: &[u8]) -> Option<Self> {
        let family = i32::from(*payload.first()?);
        let end = |port_at: usize, address_at: usize| {
            let port = u16::from_be_bytes(*payload.get(port_at..)?.first_chunk()?);
            let address = payload.get(address_at..)?;
            let address = match family {
                libc::AF_INET => IpAddr::from(*address.first_chunk::<4>()?),
                _ => IpAddr::from(*address.first_chunk::<16>()?),
            };
            Some(SocketAddr::new(address.to_canonical(), port))
        };
        let listens = *payload.get(STATE_AT)? == LISTEN;
        let (local, remote) = (end(LOCAL_PORT_AT, LOCAL_AT)?, end(REMOTE_PORT_AT, REMOTE_AT)?);
        Some(Self { listens, local, remote })
    }
}

fn request(family: i32, protocol: i32) -> Vec<u8> {
    let number = |value: i32| u8::try_from(value).unwrap_or_default();
    let mut bytes = vec![0; REQUEST_BYTES];
    (bytes[0], bytes[1]) = (number(family), number(protocol));
    let states = OPEN.iter().chain([&LISTEN]).fold(0_u32, |mask, state| mask | 1 << state);
    bytes[STATES_AT..STATES_AT + 4].copy_from_slice(&states.to_ne_bytes());
    bytes
}

fn ports_of_openers() -> RangeInclusive<u16> {
    let text = fs::read_to_string(PORTS).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        _ => DEFAULT_PORTS,
    }
}

/// If no socket listens any more, an ephemeral port belongs to the opener; with no such port at either end it
/// is the local one, as with NFS. In the remaining case a remote opener and a closed listener are likely but
/// not certain, and the result is `None`.
fn opened(sockets: &[Socket], openers: &RangeInclusive<u16>) -> Vec<OpenConnection> {
    let everywhere = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
    let listening: HashSet<SocketAddr> =
        sockets.iter().filter(|socket| socket.listens).map(|socket| socket.local).collect();
    let mut connections = Vec::new();
    for Socket { local, remote, .. } in sockets.iter().filter(|socket| !socket.listens) {
        let (here, there) = (local.ip(), remote.ip());
        if here.is_loopback() || there.is_loopback() || here == there {
            continue;
        }
        let listened =
            |address: &IpAddr| listening.contains(&SocketAddr::new(*address, local.port()));
        if everywhere.iter().chain([&here]).any(listened) {
            connections.push(OpenConnection { from: *remote, to: *local });
        } else if openers.contains(&local.port()) || !openers.contains(&remote.port()) {
            connections.push(OpenConnection { from: *local, to: *remote });
        }
    }
    connections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_those_of_open_connections() {
        let here = |peer: IpAddr| connected_peers().unwrap().contains(&peer);
        let peer: IpAddr = "127.9.8.7".parse().unwrap();
        assert!(!here(peer), "nobody speaks with it yet");
        let listener = std::net::TcpListener::bind((peer, 0)).unwrap();
        assert!(!here(peer), "a listener is no connection");
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(here(peer));
        drop((stream, listener));
        let peer: IpAddr = "127.9.8.6".parse().unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!here(peer));
        socket.connect((peer, 123)).unwrap();
        assert!(here(peer));
    }

    #[test]
    fn the_opener_of_a_connection_is_found() {
        let socket = |local: &str, remote: &str| {
            let (listens, remote) = (remote.is_empty(), Some(remote).filter(|r| !r.is_empty()));
            let remote = remote.unwrap_or("0.0.0.0:0").parse().unwrap();
            Socket { listens, local: local.parse().unwrap(), remote }
        };
        let listeners = ["0.0.0.0:22", "[::]:443", "192.0.2.1:40000"].map(|l| socket(l, ""));
        // Local end, remote end, and which of them opened it.
        let cases = [
            ("192.0.2.1:22", "192.0.2.9:50000", Some("remote")),
            ("192.0.2.1:22", "192.0.2.9:22", Some("remote")),
            ("192.0.2.1:443", "192.0.2.9:50000", Some("remote")),
            ("[2001:db8::1]:443", "[2001:db8::9]:1000", Some("remote")),
            ("192.0.2.1:40000", "192.0.2.9:50000", Some("remote")),
            ("192.0.2.2:40000", "192.0.2.9:50000", Some("local")),
            ("192.0.2.1:50000", "192.0.2.9:22", Some("local")),
            ("192.0.2.1:789", "192.0.2.9:2049", Some("local")),
            ("192.0.2.1:8080", "192.0.2.9:50000", None),
            ("127.0.0.1:22", "127.0.0.1:50000", None),
            ("[::1]:443", "[::1]:50000", None),
            ("192.0.2.1:22", "192.0.2.1:50000", None),
        ];
        for (local, remote, opener) in cases {
            let sockets = [&listeners[..], &[socket(local, remote)]].concat();
            let (local, remote): (SocketAddr, SocketAddr) =
                (local.parse().unwrap(), remote.parse().unwrap());
            let wanted = opener.map(|opener| match opener {
                "local" => OpenConnection { from: local, to: remote },
                _ => OpenConnection { from: remote, to: local },
            });
            let found = opened(&sockets, &DEFAULT_PORTS);
            assert_eq!(found, wanted.into_iter().collect::<Vec<_>>(), "{local} {remote}");
        }
    }
}
