//! [`OperatingSystem`] on Windows.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;

use windows_sys::Win32::System::SystemInformation::GetTickCount64;
use xshield_wire::message::Problem;

use super::{guarded, machine, name_servers, sockets, system};
use crate::operating_system::{OperatingSystem, UnguardedError};
use crate::program::{Place, Program};
use crate::resolver::{Resolver, ResolverTimeouts};

/// A Windows host: the one that this program runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Windows;

impl OperatingSystem for Windows {
    fn host_name(&self) -> String {
        system::host_name()
    }

    #[allow(unsafe_code, reason = "the time since the start has no safe form in windows-sys")]
    fn uptime_ms(&self) -> u64 {
        // SAFETY: takes nothing.
        unsafe { GetTickCount64() }
    }

    fn memory(&self) -> u64 {
        machine::memory()
    }

    fn resolver(&self, timeouts: ResolverTimeouts) -> Resolver {
        Resolver::new(name_servers::conf(), name_servers::hosts(), timeouts)
    }

    fn name_servers(&self) -> Vec<IpAddr> {
        let servers = name_servers::conf().servers;
        // A forwarder on this host asks whomever it likes, and no list would be right.
        if servers.iter().any(IpAddr::is_loopback) { Vec::new() } else { servers }
    }

    fn programs_behind(&self, places: &HashSet<Place>) -> HashMap<Place, Program> {
        if places.is_empty() { HashMap::new() } else { sockets::programs_behind(places) }
    }

    fn ours_alone(&self, path: &Path) -> Result<(), UnguardedError> {
        guarded::ours_alone(path)
    }

    fn exposed(&self, path: &Path, holds: &str) -> Option<Problem> {
        guarded::exposed(path, holds)
    }
}
