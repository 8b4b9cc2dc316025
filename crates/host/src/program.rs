//! The program of a socket.

use std::net::SocketAddr;

use xshield_policy::{Direction, Protocol};

/// The program of a socket, as far as known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Program {
    /// The process's name (`comm`); `None` if the socket was closed before the search.
    pub name: Option<String>,
    /// Full path of its executable.
    pub path: Option<String>,
    /// The user that created the socket.
    pub uid: Option<u32>,
    /// That user's name in `/etc/passwd`.
    pub user: Option<String>,
    /// The systemd unit or container scope in which the socket was created, e.g. `nginx.service`.
    pub service: Option<String>,
}

/// The endpoint by which a flow's program is found: the local address and port if it serves, the remote one
/// if it is the client.
pub type Place = (Direction, Protocol, SocketAddr);
