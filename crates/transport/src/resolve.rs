//! Name resolution by the caller.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Resolves names. Not called for addresses.
pub trait Resolve: Debug + Send + Sync {
    /// The addresses of `host`, best first; within `timeout`.
    ///
    /// # Errors
    /// The reason why the name could not be resolved. An empty answer counts as a failure, too.
    fn resolve(&self, host: &str, timeout: Duration) -> io::Result<Vec<IpAddr>>;
}

/// The most addresses that are tried; the capacity of [`ResolvedSocketAddrs`].
const MAX_ADDRESSES: usize = 16;

/// Adapts a [`Resolve`] to `ureq`'s interface.
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    pub(crate) inner: Arc<dyn Resolve>,
    pub(crate) longest: Duration,
}

impl Resolver for Adapter {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let port =
            uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = match bare.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                let left = timeout.not_zero().map_or(self.longest, |left| *left);
                // If the resolver fails, the route fails without an address.
                let answer = self.inner.resolve(bare, left.min(self.longest));
                answer.map_err(|_| ureq::Error::HostNotFound)?
            }
        };
        if addresses.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        let mut resolved = self.empty();
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            resolved.push(SocketAddr::new(address, port));
        }
        Ok(resolved)
    }
}
