//! Facts about this host and its software.

use std::collections::BTreeSet;
use std::path::Path;

use xshield_enforce::RunEnvironment;
use xshield_enforce::resident::Asking;
use xshield_enforce::resident::host::machine;
use xshield_enforce::resident::host::software::{self, SoftwareError};
use xshield_enforce::telemetry::{HostTelemetry, SoftwarePackage};

/// Windows has nothing that changes with every installation and removal of software, so there is never one.
pub type Stamp = u64;

/// Describes this host. Clouds' metadata services are not queried on Windows.
#[must_use]
pub fn telemetry(environment: &RunEnvironment, _: Asking) -> HostTelemetry {
    machine::telemetry(environment.now(), environment.uptime_ms())
}

/// No stamp: the inventory is taken each time.
#[must_use]
pub fn stamp(_: &RunEnvironment) -> Option<Stamp> {
    None
}

/// Everything installed.
///
/// # Errors
/// When the registry can't be read.
pub fn inventory(_: &Path) -> Result<BTreeSet<SoftwarePackage>, SoftwareError> {
    software::inventory()
}
