//! Requests before the platform is trusted.

use std::sync::Arc;

use crate::agent;
use crate::config::{ConfigError, TransportConfig};
use crate::resolve::Resolve;
use crate::send::{Method, Request, Response, Transport, TransportError};

/// A server that is not trusted. No certificate is verified: the answer may come from anyone, and anyone may
/// read along. So only the path of a public document is sent, and the answer must not be used until the
/// caller has verified it by other means, e.g. by its digest.
pub struct UnverifiedServer(Transport);

impl UnverifiedServer {
    /// Does not connect yet. The configuration's CA certificates are not used.
    ///
    /// # Errors
    /// When a proxy can't be used.
    pub fn new(config: TransportConfig, resolver: Arc<dyn Resolve>) -> Result<Self, ConfigError> {
        Transport::over(agent::blind_tls_config(), config, resolver).map(Self)
    }

    /// Requests a public document: through the proxies in their order, then directly.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn ask(&mut self, path: &str) -> Result<Response, TransportError> {
        let request =
            Request { method: Method::Get, path_and_query: path, headers: &[], body: &[] };
        self.0.send(&request)
    }
}
