//! Finds rpm's database and its kind.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use xshield_wire::telemetry::SoftwarePackage;

use super::source::{Fault, Source};
use super::{RpmDatabase, SoftwareError, rpm_packages};

/// New and old directory. If both exist, one is a link to the other.
const DIRECTORIES: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];
/// In order of preference: after a conversion the old database may still exist.
const KINDS: [(&str, RpmDatabase); 3] = [
    ("rpmdb.sqlite", RpmDatabase::Sqlite),
    ("Packages.db", RpmDatabase::Ndb),
    ("Packages", RpmDatabase::BerkeleyDb),
];
/// The most attempts if the database changes while it is read.
const TRIES: u32 = 3;

pub(super) fn inventory(root: &Path) -> Result<BTreeSet<SoftwarePackage>, SoftwareError> {
    let Some((path, kind)) = database(root) else { return Ok(BTreeSet::new()) };
    for _ in 0..TRIES {
        let before = state(&path);
        let outcome = read(&path, kind);
        if state(&path) == before {
            return outcome.map_err(|fault| match fault {
                Fault::Io(source) => SoftwareError::Read { path, source },
                Fault::Damaged(what) => SoftwareError::Damaged { path, what },
            });
        }
    }
    Err(SoftwareError::Busy { path })
}

/// The files whose change indicates a change of the inventory.
pub(super) fn files(root: &Path) -> Vec<PathBuf> {
    database(root).map_or_else(Vec::new, |(path, _)| vec![log_of(&path), path])
}

fn database(root: &Path) -> Option<(PathBuf, RpmDatabase)> {
    DIRECTORIES.iter().find_map(|directory| {
        let directory = root.join(directory);
        let there = |(name, kind): &(&str, RpmDatabase)| {
            let path = directory.join(name);
            path.is_file().then_some((path, *kind))
        };
        KINDS.iter().find_map(there)
    })
}

/// SQLite stores the latest changes in a file beside the database.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

fn state(path: &Path) -> [Option<(u64, i64, i64)>; 2] {
    let state = |meta: Metadata| (meta.size(), meta.mtime(), meta.mtime_nsec());
    [path, &log_of(path)].map(|path| path.metadata().ok().map(state))
}

fn read(path: &Path, kind: RpmDatabase) -> Result<BTreeSet<SoftwarePackage>, Fault> {
    let log = match File::open(log_of(path)) {
        Ok(log) if kind == RpmDatabase::Sqlite => Some(log),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => None,
    };
    let database = File::open(path)?;
    rpm_packages(kind, &database, log.as_ref().map(|log| log as &dyn Source))
}
