//! Names of the platform, for the transport: resolved as this host is configured to.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use xshield_host::linux::resolver::Resolver;
use xshield_transport::Resolve;

/// The host's resolver, as the transport asks it.
#[derive(Debug)]
pub(crate) struct HostResolver(Resolver);

impl HostResolver {
    pub(crate) fn new(resolver: Resolver) -> Self {
        Self(resolver)
    }
}

impl Resolve for HostResolver {
    /// The resolver has a patience of its own, which is shorter than any timeout of the transport.
    fn resolve(&self, host: &str, _timeout: Duration) -> io::Result<Vec<IpAddr>> {
        self.0.resolve_host(host).map_err(io::Error::other)
    }
}
