//! A `ureq` agent, set up for one route.

use std::sync::Arc;
use std::time::Duration;

use rustls::ProtocolVersion;
use rustls::crypto::{CryptoProvider, ring};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, AsSendBody, ProxyProtocol, http};

use crate::address::Endpoint;
use crate::config::{ConfigError, Proxy, Timeouts, certificates};
use crate::resolve::Adapter;

/// The settings shared by all routes.
#[derive(Clone)]
pub(crate) struct Builder {
    pub(crate) tls: TlsConfig,
    pub(crate) resolver: Adapter,
    pub(crate) user_agent: String,
}

/// TLS 1.3 only, trusting only the certificates of `ca_pem`.
pub(crate) fn tls_config(ca_pem: &str) -> Result<TlsConfig, ConfigError> {
    let roots = certificates(ca_pem)?;
    let roots: Vec<_> = roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(tls13_only()))
        .build())
}

/// TLS without verifying certificates: see [`crate::UnverifiedServer`].
pub(crate) fn blind_tls_config() -> TlsConfig {
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .disable_verification(true)
        .unversioned_rustls_crypto_provider(Arc::new(tls13_only()))
        .build()
}

/// A provider without the cipher suites of older TLS versions can't negotiate these versions, whatever
/// features of rustls other crates of the same build have switched on.
fn tls13_only() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites.retain(|suite| suite.version().version == ProtocolVersion::TLSv1_3);
    provider
}

/// The proxy as `ureq` expects it.
pub(crate) fn proxy(proxy: &Proxy) -> Result<ureq::Proxy, ConfigError> {
    let address: &Endpoint = &proxy.address;
    let mut builder =
        ureq::Proxy::builder(ProxyProtocol::Http).host(&address.url_host()).port(address.port());
    if let Some(user) = &proxy.user {
        builder = builder.username(user);
    }
    if let Some(password) = &proxy.password {
        builder = builder.password(password.expose());
    }
    builder.build().map_err(|_| ConfigError::Proxy { proxy: address.clone() })
}

/// Whether connections are kept for the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    Kept,
    UsedOnce,
}

/// Creates an agent. Redirects are returned as answers, not followed: the platform sends none, and requests
/// are signed for their path.
pub(crate) fn agent(
    builder: &Builder,
    proxy: Option<&ureq::Proxy>,
    connections: Connections,
) -> Agent {
    let idle = match connections {
        Connections::Kept => 1,
        Connections::UsedOnce => 0,
    };
    let config = Agent::config_builder()
        .tls_config(builder.tls.clone())
        .proxy(proxy.cloned())
        .https_only(true)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(builder.user_agent.as_str())
        .max_idle_connections(idle)
        .max_idle_connections_per_host(idle)
        .max_idle_age(Duration::from_secs(30))
        .input_buffer_size(32 * 1024)
        .output_buffer_size(32 * 1024)
        .build();
    Agent::with_parts(config, DefaultConnector::default(), builder.resolver.clone())
}

/// Sends a request with its own time limits, since connections are used longer than by the caller who opened
/// them.
pub(crate) fn run<B: AsSendBody>(
    agent: &Agent,
    request: http::Request<B>,
    timeouts: Timeouts,
) -> Result<http::Response<ureq::Body>, ureq::Error> {
    let by_proxy = agent.config().proxy().is_some();
    let connect = if by_proxy { timeouts.through_proxy } else { timeouts.connect };
    let request = agent
        .configure_request(request)
        .timeout_resolve(Some(timeouts.resolve))
        .timeout_connect(Some(connect))
        .timeout_per_read(Some(timeouts.stall))
        .timeout_per_write(Some(timeouts.stall))
        .timeout_global(Some(timeouts.exchange))
        .build();
    agent.run(request)
}
