//! The installed software, from the package managers' own databases, read without running anything.
//!
//! Another program may be writing a database while it is read. If it changes, reading starts again; if it
//! can't be read completely, that is an error, never a partial inventory: a package missing in an inventory
//! counts as removed.

mod bdb;
mod dpkg;
mod header;
mod ndb;
mod rpm;
mod source;
mod sqlite;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use xshield_wire::telemetry::SoftwarePackage;

pub use crate::inventory::report;
pub use dpkg::packages as dpkg_packages;
pub use header::package as rpm_package;
pub use source::{Fault, Source};

/// Why the inventory can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SoftwareError {
    /// A database can't be read.
    #[error("could not read the package database {path}; check its permissions and the disk")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
    /// A database is damaged.
    #[error(
        "could not read the package database {path}: {what}; check it with its package manager \
         (rpm --verifydb, dpkg --audit)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How the damage was detected.
        what: &'static str,
    },
    /// It changed during every attempt.
    #[error(
        "could not read the package database {path}: packages are being installed; it is read again later"
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

/// Kinds of rpm databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RpmDatabase {
    /// `rpmdb.sqlite`: RHEL 9, Fedora 33 and later.
    Sqlite,
    /// `Packages`, a hash table of Berkeley DB: RHEL 7 and 8, Amazon Linux 2.
    BerkeleyDb,
    /// `Packages.db`: SLES 15, openSUSE.
    Ndb,
}

/// Reads all packages of one database. `log` is SQLite's write-ahead log, if there is one.
///
/// # Errors
/// When the database is damaged or can't be read.
pub fn rpm_packages(
    kind: RpmDatabase,
    database: &dyn Source,
    log: Option<&dyn Source>,
) -> Result<BTreeSet<SoftwarePackage>, Fault> {
    let mut packages = BTreeSet::new();
    let mut outcome = Ok(());
    let mut each = |blob: &[u8]| match header::package(blob) {
        Ok(package) => packages.extend(package),
        Err(fault) if outcome.is_ok() => outcome = Err(fault),
        Err(_) => {}
    };
    match kind {
        RpmDatabase::Sqlite => sqlite::headers(database, log, &mut each)?,
        RpmDatabase::BerkeleyDb => bdb::headers(database, &mut each)?,
        RpmDatabase::Ndb => ndb::headers(database, &mut each)?,
    }
    outcome.map(|()| packages)
}

/// Everything installed under `root`, by all package managers.
///
/// # Errors
/// When a database exists but can't be read completely.
pub fn inventory(root: &Path) -> Result<BTreeSet<SoftwarePackage>, SoftwareError> {
    let mut packages = dpkg::inventory(root)?;
    packages.append(&mut rpm::inventory(root)?);
    Ok(packages)
}

/// Changes with every installation and removal; it costs a few `stat` calls, so that an unchanged inventory
/// is not read again.
#[must_use]
pub fn stamp(root: &Path) -> Vec<(PathBuf, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    let files = dpkg::files(root).into_iter().chain(rpm::files(root));
    let stamp = |path: PathBuf| {
        let meta = path.metadata().ok()?;
        Some((path, meta.size(), meta.mtime(), meta.mtime_nsec()))
    };
    files.filter_map(stamp).collect()
}

#[cfg(test)]
mod tests;
