//! Checks whether the platform accepts a key for a host that it already knows.

use xshield_host::identity::{Identity, IdentityError};
use xshield_host::resolver::ResolverTimeouts;
use xshield_transport::{ConfigError, PlatformUrl, Timeouts};
use xshield_wire::message::Program;

use crate::client::{Client, ContactError};
use crate::config::Config;
use crate::connect;
use crate::environment::RunEnvironment;
use crate::problems::chain;
use crate::resolve::HostResolver;

/// Why a key could not be checked or was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The platform refuses.
    #[error("{platform} does not accept this key for this host: {reason}")]
    Refused {
        /// The platform's URL.
        platform: PlatformUrl,
        /// The platform's reason.
        reason: String,
    },
    /// The host's identity can't be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The CA or a proxy can't be used.
    #[error("preparing the connection to the platform failed")]
    Setup(#[source] ConfigError),
}

/// Sets up a session with the configuration's key, as the next run would, and discards it.
///
/// A host that never ran has no identity, and none is created here: if its disk is copied later, all copies
/// would share it. If the platform can't be reached or can't answer at the moment, the key is not refused.
///
/// # Errors
/// See [`ProveError`].
pub fn prove(
    config: &Config,
    program: &Program,
    environment: &RunEnvironment,
) -> Result<(), ProveError> {
    let path = config.state_directory.join("identity.key");
    let Some(identity) = Identity::load(&path)? else { return Ok(()) };
    let resolver = environment.os.resolver(ResolverTimeouts::default());
    let transport = connect::transport(
        config,
        program,
        HostResolver::of_a_run(&resolver),
        None,
        Timeouts::default(),
    )
    .map_err(ProveError::Setup)?;
    let (key, name) = (&config.enforcement_key, config.host_name(environment.os.as_ref()));
    let mut client = Client::new(transport, key, identity.key(), &name, environment, None);
    match client.session() {
        Err(error @ ContactError::Refused { .. }) if !error.is_temporary() => {
            Err(ProveError::Refused { platform: config.platform.clone(), reason: chain(&error) })
        }
        _ => Ok(()),
    }
}
