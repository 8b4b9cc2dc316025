//! Which ports programs listen on, and which programs are behind flows.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use xshield_policy::Protocol;
use xshield_policy::facts::Listener;
use xshield_wire::message::ListeningPort;

use super::processes::{Process, Processes};
use super::tables::{self, Role, Socket};
use crate::program::{Place, Program};

/// Why the listening ports are not known.
#[derive(Debug, thiserror::Error)]
#[error("could not list the sockets of this host (GetExtendedTcpTable, GetExtendedUdpTable)")]
pub struct SocketsError(#[source] io::Error);

/// A socket that others can reach, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListeningSocket {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it is bound: an unspecified address stands for all of its family.
    pub local: SocketAddr,
    /// The process that made it; `None` when it has ended.
    pub process: Option<Arc<Process>>,
}

impl ListeningSocket {
    /// The port, as rules open it.
    #[must_use]
    pub fn listener(&self) -> Listener {
        Listener { protocol: self.protocol, port: self.local.port() }
    }
}

/// Every socket that a program listens on, loopback-only ones left out: TCP in LISTEN, UDP that is bound.
///
/// # Errors
/// When Windows does not list them.
pub fn listening_sockets() -> Result<Vec<ListeningSocket>, SocketsError> {
    let mut processes = Processes::now();
    let sockets = tables::sockets().map_err(SocketsError)?.into_iter();
    let reachable = sockets.filter(|socket| {
        socket.role == Role::Waits && !socket.local.ip().to_canonical().is_loopback()
    });
    Ok(reachable
        .map(|socket| ListeningSocket {
            protocol: socket.protocol,
            local: socket.local,
            process: maker(&mut processes, &socket),
        })
        .collect())
}

/// The rows of these sockets as they are reported, sorted.
#[must_use]
pub fn ports(sockets: &[ListeningSocket]) -> Vec<ListeningPort> {
    let row = |socket: &ListeningSocket| {
        let process = socket.process.as_deref();
        ListeningPort {
            protocol: socket.protocol,
            address: socket.local.ip(),
            port: socket.local.port(),
            process: process.and_then(|process| process.name.clone()),
            path: process.and_then(|process| process.path.clone()),
            uid: None,
            service: process.and_then(Process::only_service).map(str::to_owned),
        }
    };
    let mut ports: Vec<ListeningPort> = sockets.iter().map(row).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The process that made a socket, unless it has ended and another has its number.
fn maker(processes: &mut Processes, socket: &Socket) -> Option<Arc<Process>> {
    processes.get(socket.process).filter(|process| process.was_there(socket.since))
}

/// The peers of TCP connections, loopback left out.
///
/// # Errors
/// When Windows does not list them.
pub fn connected_peers() -> io::Result<HashSet<IpAddr>> {
    let peer = |socket: Socket| match socket.role {
        Role::Connected(peer) => Some(peer.ip().to_canonical()),
        Role::Waits => None,
    };
    let peers = tables::sockets()?.into_iter().filter_map(peer);
    Ok(peers.filter(|peer| !peer.is_loopback() && !peer.is_unspecified()).collect())
}

/// The programs behind flows that were counted, as far as they are still there.
pub(super) fn programs_behind(places: &HashSet<Place>) -> HashMap<Place, Program> {
    let Ok(sockets) = tables::sockets() else { return HashMap::new() };
    let mut processes = Processes::now();
    let mut found = HashMap::new();
    for (&place, socket) in behind(places, &sockets) {
        let Some(process) = maker(&mut processes, socket) else { continue };
        let user = process.user.as_ref().and_then(|user| processes.user_name(user));
        let program = Program {
            name: process.name.clone(),
            path: process.path.clone(),
            uid: None,
            user,
            service: process.only_service().map(str::to_owned),
        };
        found.insert(place, program);
    }
    found
}

/// The socket of each place: of those that serve a port, the one bound to the very address counts before
/// one bound to all; of those that ask, one that is connected to the place.
fn behind<'p, 's>(
    places: &'p HashSet<Place>,
    sockets: &'s [Socket],
) -> HashMap<&'p Place, &'s Socket> {
    use xshield_policy::Direction::{Inbound, Outbound};
    let mut found: HashMap<&Place, &Socket> = HashMap::new();
    for place in places {
        let &(direction, protocol, end) = place;
        let of_protocol = sockets.iter().filter(|socket| socket.protocol == protocol);
        let best = match direction {
            Outbound => {
                let mut of_protocol = of_protocol;
                of_protocol.find(|socket| socket.role == Role::Connected(end))
            }
            Inbound => {
                let serving = of_protocol.filter_map(|socket| Some((rank(socket, end)?, socket)));
                serving.min_by_key(|(rank, _)| *rank).map(|(_, socket)| socket)
            }
        };
        found.extend(best.map(|socket| (place, socket)));
    }
    found
}

/// How well a socket serves a place; the least is the best. An IPv6 socket for all addresses may serve
/// IPv4 as well.
fn rank(socket: &Socket, end: SocketAddr) -> Option<u8> {
    if socket.role != Role::Waits || socket.local.port() != end.port() {
        return None;
    }
    let (bound, wanted) = (socket.local.ip(), end.ip());
    match (bound == wanted, bound.is_unspecified(), bound.is_ipv4() == wanted.is_ipv4()) {
        (true, _, _) => Some(0),
        (false, true, true) => Some(1),
        (false, true, false) if bound.is_ipv6() => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshield_policy::Direction;

    fn socket(protocol: Protocol, local: &str, remote: Option<&str>, process: u32) -> Socket {
        let role = remote.map_or(Role::Waits, |peer| Role::Connected(peer.parse().unwrap()));
        Socket { protocol, local: local.parse().unwrap(), role, process, since: 0 }
    }

    #[test]
    fn the_program_of_a_flow() {
        let sockets = [
            socket(Protocol::Tcp, "0.0.0.0:80", None, 1),
            socket(Protocol::Tcp, "10.0.0.5:80", None, 2),
            socket(Protocol::Tcp, "[::]:443", None, 3),
            socket(Protocol::Udp, "0.0.0.0:80", None, 4),
            socket(Protocol::Tcp, "10.0.0.5:50000", Some("10.0.0.9:5432"), 5),
        ];
        for (direction, protocol, end, expected) in [
            (Direction::Inbound, Protocol::Tcp, "10.0.0.5:80", Some(2)),
            (Direction::Inbound, Protocol::Tcp, "10.0.0.6:80", Some(1)),
            (Direction::Inbound, Protocol::Tcp, "10.0.0.5:443", Some(3)),
            (Direction::Inbound, Protocol::Tcp, "[fd00::5]:443", Some(3)),
            (Direction::Inbound, Protocol::Tcp, "[fd00::5]:80", None),
            (Direction::Inbound, Protocol::Udp, "10.0.0.5:80", Some(4)),
            (Direction::Inbound, Protocol::Tcp, "10.0.0.5:50000", None),
            (Direction::Outbound, Protocol::Tcp, "10.0.0.9:5432", Some(5)),
            (Direction::Outbound, Protocol::Tcp, "10.0.0.9:80", None),
        ] {
            let place: Place = (direction, protocol, end.parse().unwrap());
            let places = HashSet::from([place]);
            let found = behind(&places, &sockets).get(&place).map(|socket| socket.process);
            assert_eq!(found, expected, "{place:?}");
        }
    }
}
