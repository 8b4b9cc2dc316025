//! A Windows host: a named pipe, events of the console. What the modules beside this one use of it has the
//! same names and signatures as in `linux`.
//!
//! What this system does not tell yet is left to heartbeats: changes of addresses and of filters.

pub mod control;
mod facts;
pub mod manager;
pub mod signals;
pub mod supervisor;
pub mod watchers;

use std::io;
use std::path::{Path, PathBuf};

use xshield_enforce::windows::Windows;
pub use xshield_enforce::windows::{this_host, this_system};
use xshield_enforce::{RunEnvironment, RunStatus, files, places};

pub use facts::{Stamp, inventory, stamp, telemetry};
pub use xshield_enforce::resident::host::software::SoftwareError;

use crate::show;

/// The path of the configuration unless another one is given.
#[must_use]
pub fn configuration_file() -> PathBuf {
    places::state_directory().join("config.yaml")
}

/// The name of the control pipe unless another one is given.
pub const DEFAULT_SOCKET: &str = r"\\.\pipe\xshield-agent";

/// This system, whose files have one place only.
#[must_use]
pub fn system_at(_: &Path) -> Windows {
    this_system()
}

/// The surroundings of a run on this host.
#[must_use]
pub fn host_at(_: &Path, config: PathBuf) -> RunEnvironment {
    this_host(config)
}

/// Only the end of the program ends a trial: an agent that hangs in one ends when its time has passed.
pub fn say_what_expires() {
    let code = RunStatus::Reverted.exit_code();
    xshield_enforce::windows::on_expired_trial(expired, code.into());
}

fn expired() {
    show::complaint(
        "ctagent",
        "the new ruleset was not confirmed within probation-seconds, and the agent did not revert it: the \
         agent ends here, and with it the trial. The previous ruleset is in force again; start the agent \
         again to try the new one",
    );
}

/// Creates a directory, and those above it, that only SYSTEM and Administrators may use.
///
/// # Errors
/// If it can't be created.
pub fn private_directory(path: &Path) -> io::Result<()> {
    files::private_directory(path)
}
