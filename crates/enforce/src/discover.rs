//! Discovery: how a new host with nothing but a deployment key finds out which platform to trust.

use std::sync::Arc;

use xshield_host::operating_system::OperatingSystem;
use xshield_host::resolver::ResolverTimeouts;
use xshield_transport::{
    ConfigError, Method, PlatformUrl, ProxyList, Request, Timeouts, Transport, TransportConfig,
    TransportError, UnverifiedServer,
};
use xshield_wire::DeploymentKey;
use xshield_wire::message::{Message as _, MessageError, Program};
use xshield_wire::trust::{MAX_TRUST, PublicTrust, TrustError, VouchedTrust};

use crate::resolve::HostResolver;

/// Why a platform was not trusted. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// A proxy can't be used.
    #[error("preparing the connection to the platform failed")]
    Setup(#[source] ConfigError),
    /// The platform could not be reached.
    #[error(
        "fetching the platform's trust information failed; check its name and port, and the proxies"
    )]
    Unreachable(#[source] TransportError),
    /// The platform answered with an error.
    #[error(
        "{platform} has no trust information (HTTP status {status}): it is not a platform, or it \
         is older than this program; in that case register with --onboarding FILE"
    )]
    Refused {
        /// The platform's URL.
        platform: PlatformUrl,
        /// The HTTP status.
        status: u16,
    },
    /// The answer can't be parsed.
    #[error("the trust information from {platform} cannot be read")]
    Garbled {
        /// The platform's URL.
        platform: PlatformUrl,
        /// The parser's error.
        #[source]
        source: MessageError,
    },
    /// The platform is not the one for which the key was created.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// What the key vouches for is not a certificate.
    #[error("the platform's CA can't be used")]
    Certificate(#[source] ConfigError),
    /// The server passes on public trust information without being that platform.
    #[error(
        "the server at {platform} presents the trust information for this key, but its TLS \
         certificate does not prove that it is that platform: something between this host and \
         the platform intercepts the connection, or this host's clock is wrong"
    )]
    Impostor {
        /// The platform's URL.
        platform: PlatformUrl,
        /// How each route failed.
        #[source]
        source: TransportError,
    },
}

/// How to reach the platform.
#[derive(Debug)]
pub struct PlatformLocation<'a> {
    /// Its URL.
    pub platform: &'a PlatformUrl,
    /// The proxies, in the order in which they are tried before a direct connection.
    pub proxies: &'a ProxyList,
    /// The requesting program.
    pub program: &'a Program,
}

/// The platform's trust information, after the key has vouched for it and the platform has proven its
/// identity.
///
/// # Errors
/// See [`DiscoverError`].
pub fn discover(
    place: &PlatformLocation<'_>,
    key: &DeploymentKey,
    os: &dyn OperatingSystem,
) -> Result<VouchedTrust, DiscoverError> {
    let resolver = Arc::new(HostResolver::of_a_run(&os.resolver(ResolverTimeouts::default())));
    let config = |ca_pem: String| TransportConfig {
        platform: place.platform.clone(),
        ca_pem,
        proxies: place.proxies.clone().into(),
        last_route: None,
        timeouts: Timeouts::default(),
        max_response: MAX_TRUST as u64,
        user_agent: place.program.user_agent(),
    };
    // No platform is trusted yet, so nothing secret is sent: the key stays here, and its digest identifies
    // the right answer.
    let mut server = UnverifiedServer::new(config(String::new()), resolver.clone())
        .map_err(DiscoverError::Setup)?;
    let shown = ask(&mut server, place.platform)?;
    let trust = key.vouch(shown)?;
    let mut platform =
        Transport::new(config(trust.ca_pem()), resolver).map_err(DiscoverError::Certificate)?;
    let hello =
        Request { method: Method::Get, path_and_query: "/healthz", headers: &[], body: &[] };
    match platform.send(&hello) {
        Ok(_) => Ok(trust),
        Err(source) if source.is_untrusted() => {
            Err(DiscoverError::Impostor { platform: place.platform.clone(), source })
        }
        Err(error) => Err(DiscoverError::Unreachable(error)),
    }
}

fn ask(
    server: &mut UnverifiedServer,
    platform: &PlatformUrl,
) -> Result<PublicTrust, DiscoverError> {
    let answer = server.ask("/host/v1/trust").map_err(DiscoverError::Unreachable)?;
    let platform = || platform.clone();
    if answer.status != 200 {
        return Err(DiscoverError::Refused { platform: platform(), status: answer.status });
    }
    PublicTrust::read(&answer.body)
        .map_err(|source| DiscoverError::Garbled { platform: platform(), source })
}
