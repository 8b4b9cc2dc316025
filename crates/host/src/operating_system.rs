//! What is asked of the operating system, whichever it is.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use xshield_wire::message::Problem;

use crate::program::{Place, Program};
use crate::resolver::{Patience, Resolver};

/// What every run asks. What is of one system alone is in that system's module.
pub trait OperatingSystem: fmt::Debug + Send + Sync {
    /// The name that the host calls itself.
    fn host_name(&self) -> String;

    /// Milliseconds since boot, sleep included.
    fn uptime_ms(&self) -> u64;

    /// Asks for names as programs of this host do, as it is configured now.
    fn resolver(&self, patience: Patience) -> Resolver;

    /// The DNS servers whose answers this host depends on. Empty when that isn't known: then any may be
    /// asked.
    fn name_servers(&self) -> Vec<IpAddr>;

    /// Looks for what is behind these places. A program that has ended meanwhile is not found; what serves
    /// a port mostly is.
    fn programs_behind(&self, places: &HashSet<Place>) -> HashMap<Place, Program>;

    /// Sees that nobody but administrators, and whoever runs this program, can change a file or a
    /// directory, or put another in its place.
    ///
    /// # Errors
    /// Who can, and what to do.
    fn ours_alone(&self, path: &Path) -> Result<(), UnguardedError>;

    /// Says when a file that holds secrets is open to other users. `holds` completes "it holds …".
    fn exposed(&self, path: &Path, holds: &str) -> Option<Problem>;
}

/// Why a file or a directory can't be trusted.
#[derive(Debug, thiserror::Error)]
pub enum UnguardedError {
    /// Others may write to it.
    #[error(
        "other users can change {path} (mode {mode:o}), so its content may be theirs; check whether they changed it, then: chmod go-w {path}", path = .path.display()
    )]
    Writable {
        /// It, or a directory above it.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to someone else.
    #[error(
        "{path} belongs to the user with number {owner}, who can change it; check whether that user did, then: chown root {path}", path = .path.display()
    )]
    Owner {
        /// It.
        path: PathBuf,
        /// The user.
        owner: u32,
    },
    /// It can't be looked at.
    #[error("checking who may change {path} failed", path = .path.display())]
    Look {
        /// It.
        path: PathBuf,
        /// What the OS said.
        #[source]
        source: io::Error,
    },
}
