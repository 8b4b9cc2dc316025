//! Finding out whom to trust, with nothing but a deployment key: how a new host comes to know its
//! platform.

use std::sync::Arc;

use xshield_host::operating_system::OperatingSystem;
use xshield_host::resolver::Patience;
use xshield_transport::{
    ConfigError, Method, PlatformUrl, ProxyList, Request, Stranger, Timeouts, Transport,
    TransportConfig, TransportError,
};
use xshield_wire::DeploymentKey;
use xshield_wire::message::{Message as _, MessageError, Program};
use xshield_wire::trust::{MAX_TRUST, PublicTrust, TrustError, VouchedTrust};

use crate::resolve::HostResolver;

/// Why a platform was not believed. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// A proxy can't be used.
    #[error("preparing the connection to the platform failed")]
    Setup(#[source] ConfigError),
    /// No answer.
    #[error(
        "fetching the platform's trust information failed; check its name and port, and the proxies"
    )]
    Unreachable(#[source] TransportError),
    /// An answer that says no.
    #[error(
        "{platform} has no trust information (HTTP status {status}): it is not a platform, or one \
         older than this program; for that one, register with --onboarding FILE"
    )]
    Refused {
        /// Where.
        platform: PlatformUrl,
        /// HTTP's.
        status: u16,
    },
    /// An answer that is none.
    #[error("the trust information from {platform} cannot be read")]
    Garbled {
        /// Where.
        platform: PlatformUrl,
        /// What is wrong with it.
        #[source]
        source: MessageError,
    },
    /// Not whom the key was made for.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The key vouches for something that is no certificate.
    #[error("the platform's CA can't be used")]
    Certificate(#[source] ConfigError),
    /// Whoever answered passes on what the platform gives to anyone, and is not the platform.
    #[error(
        "what answers at {platform} knows whom the key was made for, but does not prove to be that \
         platform: something on the way answers in its place, or this host's clock is wrong"
    )]
    Impostor {
        /// Where.
        platform: PlatformUrl,
        /// How each route failed.
        #[source]
        source: TransportError,
    },
}

/// Where a platform is looked for.
#[derive(Debug)]
pub struct Whereabouts<'a> {
    /// Its URL.
    pub platform: &'a PlatformUrl,
    /// Tried in this order before the platform itself.
    pub proxies: &'a ProxyList,
    /// Who asks.
    pub program: &'a Program,
}

/// Whom the platform's hosts trust, once the key has vouched for it and the platform has proven to be
/// the one meant.
///
/// # Errors
/// See [`DiscoverError`].
pub fn discover(
    place: &Whereabouts<'_>,
    key: &DeploymentKey,
    os: &dyn OperatingSystem,
) -> Result<VouchedTrust, DiscoverError> {
    let resolver = Arc::new(HostResolver::of_a_run(&os.resolver(Patience::default())));
    let config = |ca_pem: String| TransportConfig {
        platform: place.platform.clone(),
        ca_pem,
        proxies: place.proxies.clone().into(),
        last_route: None,
        timeouts: Timeouts::default(),
        max_response: MAX_TRUST as u64,
        user_agent: place.program.user_agent(),
    };
    // Nobody is trusted yet, so nothing secret is sent: the key stays here, and its digest tells the
    // right answer from all others.
    let mut stranger =
        Stranger::new(config(String::new()), resolver.clone()).map_err(DiscoverError::Setup)?;
    let shown = ask(&mut stranger, place.platform)?;
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

fn ask(stranger: &mut Stranger, platform: &PlatformUrl) -> Result<PublicTrust, DiscoverError> {
    let answer = stranger.ask("/host/v1/trust").map_err(DiscoverError::Unreachable)?;
    let platform = || platform.clone();
    if answer.status != 200 {
        return Err(DiscoverError::Refused { platform: platform(), status: answer.status });
    }
    PublicTrust::read(&answer.body)
        .map_err(|source| DiscoverError::Garbled { platform: platform(), source })
}
