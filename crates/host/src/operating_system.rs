//! The interface to the operating system, independent of which it is.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use xshield_wire::message::Problem;

use crate::program::{Place, Program};
use crate::resolver::{Resolver, ResolverTimeouts};

/// Facts that every run needs. What only one system has is in that system's module.
pub trait OperatingSystem: fmt::Debug + Send + Sync {
    /// The host's name.
    fn host_name(&self) -> String;

    /// Milliseconds since boot, sleep included.
    fn uptime_ms(&self) -> u64;

    /// The host's memory in bytes; 0 if it is not known.
    fn memory(&self) -> u64;

    /// A resolver with the host's current configuration, as its programs use it.
    fn resolver(&self, timeouts: ResolverTimeouts) -> Resolver;

    /// The DNS servers whose answers this host depends on. Empty if not known: then any may be asked.
    fn name_servers(&self) -> Vec<IpAddr>;

    /// Finds the programs at these endpoints. A program that has ended is not found; one that serves a port
    /// mostly is.
    fn programs_behind(&self, places: &HashSet<Place>) -> HashMap<Place, Program>;

    /// Checks that only administrators and the user of this program can change or replace a file or
    /// directory.
    ///
    /// # Errors
    /// Who else can, and what to do.
    fn ours_alone(&self, path: &Path) -> Result<(), UnguardedError>;

    /// The problem to report if a file with secrets is accessible to other users. `holds` completes "it holds
    /// …".
    fn exposed(&self, path: &Path, holds: &str) -> Option<Problem>;
}

/// Why a file or a directory can't be trusted.
#[derive(Debug, thiserror::Error)]
pub enum UnguardedError {
    /// Other users can write it.
    #[error(
        "other users can change {path} (mode {mode:o}), so its content may come from them; check \
         whether they changed it, then: chmod go-w {path}", path = .path.display()
    )]
    Writable {
        /// The path, or a directory above it.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to another user.
    #[error(
        "{path} belongs to the user with id {owner}, who can change it; check whether that user \
         did, then: chown root {path}", path = .path.display()
    )]
    Owner {
        /// The path.
        path: PathBuf,
        /// The user's id.
        owner: u32,
    },
    /// Others may write to it, according to its access list.
    #[error(
        "{who} can change {path}, so its content may be theirs; check whether they changed it, then, as \
         an administrator: icacls \"{path}\" /inheritance:d /remove:g \"{who}\"",
        path = .path.display()
    )]
    WritableBy {
        /// It, or a directory above it.
        path: PathBuf,
        /// Who can.
        who: String,
    },
    /// It belongs to another account, according to its access list.
    #[error(
        "{path} belongs to {who}, who can change it; check whether they did, then, as an \
         administrator: takeown /A /F \"{path}\"",
        path = .path.display()
    )]
    OwnedBy {
        /// It.
        path: PathBuf,
        /// The owner.
        who: String,
    },
    /// It is a link: its owner can change its target.
    #[error(
        "{path} is a link, whose owner can change its target; replace it by a directory or a file",
        path = .path.display()
    )]
    Link {
        /// It.
        path: PathBuf,
    },
    /// It can't be checked.
    #[error("checking who may change {path} failed", path = .path.display())]
    Inspect {
        /// The path.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
}
