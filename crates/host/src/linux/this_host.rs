//! [`OperatingSystem`] on Linux.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use xshield_wire::message::Problem;

use super::programs::behind::behind;
use super::{guarded, machine, name_servers, system};
use crate::operating_system::{OperatingSystem, UnguardedError};
use crate::program::{Place, Program};
use crate::resolver::{Resolver, ResolverTimeouts};

/// A Linux host.
#[derive(Debug, Clone)]
pub struct Linux {
    root: PathBuf,
}

impl Linux {
    /// The host whose files are under `root`: `/` except in tests.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

impl OperatingSystem for Linux {
    fn host_name(&self) -> String {
        system::host_name()
    }

    fn uptime_ms(&self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let rest = u64::try_from(time.tv_nsec).unwrap_or_default() / 1_000_000;
        seconds * 1000 + rest
    }

    fn memory(&self) -> u64 {
        machine::memory(&self.root)
    }

    fn resolver(&self, timeouts: ResolverTimeouts) -> Resolver {
        name_servers::resolver(&self.root, timeouts)
    }

    fn name_servers(&self) -> Vec<IpAddr> {
        name_servers::resolvers(&self.root)
    }

    fn programs_behind(&self, places: &HashSet<Place>) -> HashMap<Place, Program> {
        behind(places)
    }

    fn ours_alone(&self, path: &Path) -> Result<(), UnguardedError> {
        guarded::ours_alone(path)
    }

    fn exposed(&self, path: &Path, holds: &str) -> Option<Problem> {
        guarded::exposed(path, holds)
    }
}
