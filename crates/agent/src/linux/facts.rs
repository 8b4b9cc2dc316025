//! Facts about this host and its software.

use std::path::PathBuf;

use xshield_enforce::RunEnvironment;
use xshield_enforce::resident::Asking;
use xshield_enforce::resident::host::machine::{self, cloud};
use xshield_enforce::resident::host::software;
use xshield_enforce::telemetry::HostTelemetry;

use super::metadata;

/// Changes with every installation and removal of software.
pub type Stamp = Vec<(PathBuf, u64, i64, i64)>;

/// Describes this host, and its instance in a cloud if its metadata service may be queried.
#[must_use]
pub fn telemetry(environment: &RunEnvironment, asking: Asking) -> HostTelemetry {
    let mut now = machine::telemetry(environment.now());
    if asking == Asking::Ask
        && let Some(provider) = cloud::provider(&environment.root)
    {
        now.cloud = cloud::instance(provider, metadata::send);
    }
    now
}

/// The stamp of the software that is installed.
#[must_use]
pub fn stamp(environment: &RunEnvironment) -> Option<Stamp> {
    Some(software::stamp(&environment.root))
}
