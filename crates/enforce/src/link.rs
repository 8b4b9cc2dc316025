//! The transport, as every exchange of a host program uses it.

use std::sync::Arc;

use xshield_transport::{ConfigError, Route, Timeouts, Transport, TransportConfig};
use xshield_wire::envelope::MAX_ENVELOPE;
use xshield_wire::message::Program;

use crate::config::Config;
use crate::resolve::HostResolver;

/// Connects to nothing yet.
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
    let config = TransportConfig {
        platform: config.platform.clone(),
        ca_pem: config.ca_pem.clone(),
        proxies: config.proxies.clone().into(),
        last_route,
        timeouts,
        max_response: MAX_ENVELOPE as u64,
        user_agent: program.user_agent(),
    };
    Transport::new(config, Arc::new(resolver))
}
