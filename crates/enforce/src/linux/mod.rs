//! The cycle on a Linux host: nftables, `/proc`, systemd.

pub mod boot_unit;
pub(crate) mod connection_tracking;
pub mod cycle;
mod cycle_error;
mod diagnostic_facts;
pub mod explain;
mod facts;
mod forwarded;
mod ineffective;
mod nft_kernel;
mod observed;
mod parts;
pub mod preflight;
pub mod resident_live;
mod resident_usage;
pub mod resident_verbs;
mod shell;
pub mod threat_verbs;
mod time_servers;
mod verb_error;
pub mod verbs;

pub use resident_usage::Meter;

use std::path::PathBuf;
use std::sync::Arc;

pub use xshield_host::linux::Linux;

use crate::surroundings::Surroundings;

/// The surroundings of a run on this host.
#[must_use]
pub fn this_host(config: PathBuf) -> Surroundings {
    Surroundings::new(Arc::new(this_system()), PathBuf::from("/"), config)
}

/// This system.
#[must_use]
pub fn this_system() -> Linux {
    Linux::new(PathBuf::from("/"))
}
