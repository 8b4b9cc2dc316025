//! Whose a socket is.

use std::net::SocketAddr;

use xshield_policy::{Direction, Protocol};

/// Who is behind a socket, as far as known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Program {
    /// The process's name (`comm`); `None` when the socket was gone before it was looked for.
    pub name: Option<String>,
    /// Full path of its executable.
    pub path: Option<String>,
    /// The user that made the socket.
    pub uid: Option<u32>,
    /// That user's name in `/etc/passwd`.
    pub user: Option<String>,
    /// The systemd unit or container scope in which the socket was made, e.g. `nginx.service`.
    pub service: Option<String>,
}

/// Where a flow's local end is: its own address and port when it serves, the other's when it asks.
pub type Place = (Direction, Protocol, SocketAddr);
