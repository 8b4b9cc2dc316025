//! Asking before there is trust.

use std::sync::Arc;

use crate::agent;
use crate::config::{ConfigError, TransportConfig};
use crate::resolve::Resolve;
use crate::send::{Method, Request, Response, Transport, TransportError};

/// Whoever answers where a platform should be. No certificate is checked: the answer may be anyone's,
/// and anyone may read along. So nothing can be sent but the path of a public document, and what comes
/// back is worth nothing until the caller knows it by other means, e.g. by its digest.
pub struct Stranger(Transport);

impl Stranger {
    /// Connects to nothing yet. The configuration's CA certificates are not looked at.
    ///
    /// # Errors
    /// When a proxy can't be used.
    pub fn new(config: TransportConfig, resolver: Arc<dyn Resolve>) -> Result<Self, ConfigError> {
        Transport::over(agent::blind_tls_config(), config, resolver).map(Self)
    }

    /// What the stranger answers: by the proxies in their order, then directly.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn ask(&mut self, path: &str) -> Result<Response, TransportError> {
        let request =
            Request { method: Method::Get, path_and_query: path, headers: &[], body: &[] };
        self.0.send(&request)
    }
}
