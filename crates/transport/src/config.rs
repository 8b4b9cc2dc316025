//! The configuration of the transport.

use std::fmt;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::address::{Endpoint, PlatformUrl};
use crate::route::Route;

/// A text that `Debug` does not show and that is erased from memory when dropped.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// An HTTP proxy that is asked to CONNECT (RFC 9110, 9.3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its address. The connection to it is plain HTTP; the tunnel inside is TLS to the platform.
    pub address: Endpoint,
    /// For Basic authentication (RFC 7617).
    pub user: Option<String>,
    /// For Basic authentication.
    pub password: Option<Secret>,
}

/// Time limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// For resolving a name, on each route.
    pub resolve: Duration,
    /// For TCP and TLS together, on the direct route.
    pub connect: Duration,
    /// For TCP, the proxy's answer and TLS together, through each proxy. Shorter, since after a dead proxy
    /// other routes remain to be tried.
    pub through_proxy: Duration,
    /// For the other side to send or receive more data, once connected, on each route: a silent tunnel is
    /// abandoned for the next route.
    pub stall: Duration,
    /// For a whole exchange including the connection, on each route. Long, since a slow connection is no
    /// failed one.
    pub exchange: Duration,
    /// For the whole of [`crate::Transport::probe`].
    pub probe: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(10),
            through_proxy: Duration::from_secs(3),
            stall: Duration::from_secs(15),
            exchange: Duration::from_secs(300),
            probe: Duration::from_secs(5),
        }
    }
}

/// The configuration of the transport.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// The platform's URL.
    pub platform: PlatformUrl,
    /// One or more certificates in PEM; nothing else is trusted.
    pub ca_pem: String,
    /// In the order in which they are tried; followed by the direct route.
    pub proxies: Vec<Proxy>,
    /// The route that worked last, as the previous run remembered it; tried first.
    pub last_route: Option<Route>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// The longest answer that is accepted, in bytes.
    pub max_response: u64,
    /// For the `user-agent` header, e.g. `ctspark/0.1.0`.
    pub user_agent: String,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text holds no certificate.
    #[error("the CA file contains no certificate; expected PEM, as the platform provides it")]
    NoCertificate,
    /// The text is damaged PEM.
    #[error("reading the CA file failed; expected PEM, as the platform provides it")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The PEM contains something that is not a certificate.
    #[error(
        "the CA file contains a damaged certificate; expected PEM, as the platform provides it"
    )]
    Certificate(#[source] rustls::Error),
    /// The proxy can't be written as a URL.
    #[error("the proxy {proxy} can't be used: its user name or password is malformed")]
    Proxy {
        /// The proxy.
        proxy: Endpoint,
    },
}

/// The certificates in `pem`, each of them usable as a trust anchor.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(ConfigError::Pem)?;
    if found.is_empty() {
        return Err(ConfigError::NoCertificate);
    }
    let mut roots = RootCertStore::empty();
    for certificate in &found {
        roots.add(certificate.clone()).map_err(ConfigError::Certificate)?;
    }
    Ok(found)
}
