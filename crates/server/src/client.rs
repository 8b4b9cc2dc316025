//! The client of a connection.

use std::net::SocketAddr;

/// Address and port of the client that sent the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub SocketAddr);
