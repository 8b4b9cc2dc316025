//! A Linux host: a Unix socket, signals, systemd, netlink. What the modules beside this one use of it has the
//! same names and signatures as in `windows`.

mod addresses;
pub mod control;
mod facts;
mod guard;
mod live;
mod metadata;
mod paths;
pub mod signals;
pub mod supervisor;
pub mod systemd;
pub mod watchers;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xshield_enforce::RunEnvironment;
use xshield_enforce::linux::Linux;
pub use xshield_enforce::linux::{this_host, this_system};

pub use facts::{Stamp, stamp, telemetry};
pub use systemd as manager;
pub use xshield_enforce::resident::host::software::{SoftwareError, inventory};

/// The path of the configuration unless another one is given.
#[must_use]
pub fn configuration_file() -> PathBuf {
    PathBuf::from("/etc/xshield/config.yaml")
}

/// The path of the control socket unless another one is given.
pub const DEFAULT_SOCKET: &str = "/run/xshield/agent.sock";

/// The system whose files are below `root`.
#[must_use]
pub fn system_at(root: &Path) -> Linux {
    Linux::new(root.to_owned())
}

/// The surroundings of a run on the system whose files are below `root`.
#[must_use]
pub fn host_at(root: &Path, config: PathBuf) -> RunEnvironment {
    RunEnvironment::new(Arc::new(system_at(root)), root.to_owned(), config)
}

/// The kernel ends a trial by itself.
pub fn say_what_expires() {}

/// Creates a directory, and those above it, without access for other users.
///
/// # Errors
/// If it can't be created.
pub fn private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
