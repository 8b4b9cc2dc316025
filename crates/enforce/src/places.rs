//! Where this host's files are unless the configuration or the command line says otherwise.

use std::path::PathBuf;

/// The configuration file of a single run.
#[cfg(target_os = "linux")]
#[must_use]
pub fn configuration_file() -> PathBuf {
    PathBuf::from("/etc/xshield/spark.yaml")
}

/// The configuration file of a single run.
#[cfg(windows)]
#[must_use]
pub fn configuration_file() -> PathBuf {
    state_directory().join("spark.yaml")
}

/// The state directory; where Windows does not say where programs keep theirs, below the usual place.
#[cfg(windows)]
#[must_use]
pub fn state_directory() -> PathBuf {
    let usual = |_| PathBuf::from(r"C:\ProgramData\Xshield");
    xshield_host::windows::state_directory().unwrap_or_else(usual)
}

/// The state directory.
#[cfg(target_os = "linux")]
#[must_use]
pub fn state_directory() -> PathBuf {
    PathBuf::from("/var/lib/xshield")
}
