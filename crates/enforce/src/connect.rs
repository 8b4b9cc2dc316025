//! Setting up the transport for a host program.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use xshield_transport::{ConfigError, Resolve, Route, Timeouts, Transport, TransportConfig};
use xshield_wire::envelope::MAX_ENVELOPE;
use xshield_wire::message::Program;

use crate::config::Config;
use crate::resolve::HostResolver;

/// Sets up the transport; does not connect yet.
///
/// # Errors
/// When the CA certificates or a proxy can't be used.
pub(crate) fn transport(
    config: &Config,
    program: &Program,
    resolver: HostResolver,
    last_route: Option<Route>,
    timeouts: Timeouts,
) -> Result<Transport, ConfigError> {
    Transport::new(
        trusting(config, program, config.ca_pem.clone(), last_route, timeouts),
        Arc::new(resolver),
    )
}

/// Checks that the PEM text contains usable CA certificates.
///
/// # Errors
/// When it does not.
pub(crate) fn check_ca(
    config: &Config,
    program: &Program,
    ca_pem: &str,
) -> Result<(), ConfigError> {
    let config = trusting(config, program, ca_pem.to_owned(), None, Timeouts::default());
    Transport::new(config, Arc::new(NoNames)).map(drop)
}

/// A resolver for a transport that never connects.
#[derive(Debug)]
struct NoNames;

impl Resolve for NoNames {
    fn resolve(&self, _: &str, _: Duration) -> io::Result<Vec<IpAddr>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn trusting(
    config: &Config,
    program: &Program,
    ca_pem: String,
    last_route: Option<Route>,
    timeouts: Timeouts,
) -> TransportConfig {
    TransportConfig {
        platform: config.platform.clone(),
        ca_pem,
        proxies: config.proxies.clone().into(),
        last_route,
        timeouts,
        max_response: MAX_ENVELOPE as u64,
        user_agent: program.user_agent(),
    }
}
