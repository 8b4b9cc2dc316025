//! Where this host's files are unless the configuration or the command line says otherwise.

use std::path::PathBuf;

/// The configuration file of a single run.
#[cfg(target_os = "linux")]
#[must_use]
pub fn configuration_file() -> PathBuf {
    PathBuf::from("/etc/xshield/spark.yaml")
}

/// The state directory.
#[cfg(target_os = "linux")]
#[must_use]
pub fn state_directory() -> PathBuf {
    PathBuf::from("/var/lib/xshield")
}
