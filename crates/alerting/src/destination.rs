//! The addresses that mail and syslog channels may use: the same as for feeds and webhooks.

use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};
use xshield_http_client::guard::Reach;

use crate::outgoing::SendError;

/// A channel's receiver, by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) reach: Reach,
}

impl Destination<'_> {
    /// Its allowed addresses. Connect to one of these: resolving the name again may give others.
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, SendError> {
        const ACTION: &str = "find the receiver";
        let found = lookup_host((self.host, self.port)).await;
        let found: Vec<_> = found.map_err(|error| SendError::of(ACTION, &error))?.collect();
        if found.is_empty() {
            let reason = format!("{} has no address", self.host);
            return Err(SendError::Failed { action: ACTION, reason });
        }
        for address in &found {
            let checked = self.reach.check(self.host, address.ip());
            checked.map_err(|refused| SendError::of("reach the receiver", &refused))?;
        }
        Ok(found)
    }

    /// Connects to it.
    pub(crate) async fn connect(&self) -> Result<TcpStream, SendError> {
        let addresses = self.addresses().await?;
        let stream = TcpStream::connect(addresses.as_slice()).await;
        stream.map_err(|error| SendError::of("reach the receiver", &error))
    }
}
