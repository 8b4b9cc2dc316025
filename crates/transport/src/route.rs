//! The routes to the platform, and how they can fail.

use std::fmt;
use std::io;
use std::str::FromStr;

use rustls::CertificateError;
use serde::{Deserialize, Serialize};
use ureq::Timeout;

use crate::address::{Endpoint, EndpointError};

/// A route to the platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Route {
    /// Directly to the platform.
    Direct,
    /// Through the proxy at this address.
    Proxy(Endpoint),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Proxy(address) => write!(f, "proxy {address}"),
        }
    }
}

impl FromStr for Route {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.strip_prefix("proxy ") {
            Some(address) => address.parse().map(Self::Proxy),
            None if text == "direct" => Ok(Self::Direct),
            None => Err(EndpointError::Endpoint(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Route {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<Route> for String {
    fn from(route: Route) -> String {
        route.to_string()
    }
}

/// A route and the result of its last use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteState {
    /// The route.
    pub route: Route,
    /// Whether it is tried first.
    pub current: bool,
    /// Why it failed when it was last tried; `None` if it worked or was not tried.
    pub last_failure: Option<RouteError>,
}

/// What was awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A name's addresses.
    Resolving,
    /// TCP, the proxy's answer, TLS.
    Connecting,
    /// Sending the request.
    Sending,
    /// Receiving the answer.
    Receiving,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolving => "resolving the name",
            Self::Connecting => "connecting",
            Self::Sending => "sending the request",
            Self::Receiving => "receiving the answer",
        })
    }
}

/// Why a route failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The name of the first hop could not be resolved.
    #[error("the name of {at} could not be resolved; check it and this host's DNS")]
    NameNotFound {
        /// Platform or proxy.
        at: Endpoint,
    },
    /// The port is closed.
    #[error("{at} refused the connection; check that the service is running there")]
    Refused {
        /// Platform or proxy.
        at: Endpoint,
    },
    /// No answer in time.
    #[error(
        "{at} did not answer in time while {phase}; check the network and firewalls in between"
    )]
    TimedOut {
        /// Platform or proxy.
        at: Endpoint,
        /// What was awaited.
        phase: Phase,
    },
    /// There is no network route, or the connection broke.
    #[error("the connection to {at} failed: {reason}")]
    Broken {
        /// Platform or proxy.
        at: Endpoint,
        /// The error of the operating system.
        reason: String,
    },
    /// The proxy requires (other) credentials.
    #[error("the proxy {proxy} requires authentication (407); check its user name and password")]
    ProxyAuthentication {
        /// The proxy.
        proxy: Endpoint,
    },
    /// The proxy works, but did not connect to the platform.
    #[error("the proxy {proxy} did not connect to the platform: {reason}")]
    ProxyRefused {
        /// The proxy.
        proxy: Endpoint,
        /// Its status, or how it violated the protocol.
        reason: String,
    },
    /// The proxy works, but its rules forbid connecting to the platform (403).
    #[error("the proxy {proxy} did not connect to the platform: {reason}")]
    ProxyForbade {
        /// The proxy.
        proxy: Endpoint,
        /// Its status.
        reason: String,
    },
    /// The server is not the platform.
    #[error(
        "the certificate of {platform} is not trusted: {reason}; check that the pinned CA is this \
         platform's, that nothing in between intercepts TLS, and this host's clock"
    )]
    UntrustedCertificate {
        /// The server that presented the certificate.
        platform: Endpoint,
        /// The reason.
        reason: String,
    },
    /// TLS failed otherwise, e.g. because the other side does not support TLS 1.3.
    #[error("TLS with {platform} failed: {reason}")]
    Tls {
        /// The server.
        platform: Endpoint,
        /// The library's error.
        reason: String,
    },
    /// The other side violates HTTP/1.1.
    #[error("the answer of {platform} is not valid HTTP: {reason}")]
    Http {
        /// The server.
        platform: Endpoint,
        /// The library's error.
        reason: String,
    },
}

/// Classifies the failure. `platform` is the destination, `route` the way to it.
pub(crate) fn classify(error: &ureq::Error, route: &Route, platform: &Endpoint) -> RouteError {
    let platform = platform.clone();
    let at = match route {
        Route::Direct => platform.clone(),
        Route::Proxy(address) => address.clone(),
    };
    match error {
        ureq::Error::HostNotFound => RouteError::NameNotFound { at },
        ureq::Error::Timeout(timeout) => RouteError::TimedOut { at, phase: phase(*timeout) },
        // The library keeps only the status, as text; the test of a proxy that answers 407 pins it. tinyproxy
        // answers 401 to a wrong password and 407 to none.
        ureq::Error::ConnectProxyFailed(reason) if is_any(reason, &[" 401/", " 407/"]) => {
            RouteError::ProxyAuthentication { proxy: at }
        }
        ureq::Error::ConnectProxyFailed(reason) if is_any(reason, &[" 403/"]) => {
            RouteError::ProxyForbade { proxy: at, reason: reason.clone() }
        }
        ureq::Error::ConnectProxyFailed(reason) => {
            RouteError::ProxyRefused { proxy: at, reason: reason.clone() }
        }
        ureq::Error::Rustls(error) => tls(error, platform),
        ureq::Error::Io(error) => match tls_error(error) {
            Some(error) => tls(error, platform),
            None => io_failure(error, at),
        },
        ureq::Error::ConnectionFailed => {
            RouteError::Broken { at, reason: "no connection was established".to_owned() }
        }
        other => RouteError::Http { platform, reason: other.to_string() },
    }
}

fn is_any(text: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| text.contains(part))
}

fn phase(timeout: Timeout) -> Phase {
    match timeout {
        Timeout::Resolve => Phase::Resolving,
        Timeout::Connect => Phase::Connecting,
        Timeout::SendRequest | Timeout::SendBody | Timeout::PerWrite => Phase::Sending,
        _ => Phase::Receiving,
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn tls(error: &rustls::Error, platform: Endpoint) -> RouteError {
    match error {
        rustls::Error::InvalidCertificate(error) => {
            let reason = match error {
                // Another CA with the same name results in a bad signature.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "it was issued by another CA".to_owned()
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    "it is for another name".to_owned()
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "it has expired".to_owned()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "it is not valid yet".to_owned()
                }
                other => other.to_string(),
            };
            RouteError::UntrustedCertificate { platform, reason }
        }
        other => RouteError::Tls { platform, reason: other.to_string() },
    }
}

fn io_failure(error: &io::Error, at: Endpoint) -> RouteError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => RouteError::Refused { at },
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            RouteError::TimedOut { at, phase: Phase::Connecting }
        }
        _ => RouteError::Broken { at, reason: error.to_string() },
    }
}
