//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// Address and port of the client whose request it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub SocketAddr);
