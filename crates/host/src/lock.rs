//! A lock file that prevents overlapping runs. The kernel releases it when its holder ends, in whatever way.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::files;

/// Holds the lock until it is dropped or the process ends.
#[derive(Debug)]
pub struct Guard {
    _file: File,
}

/// Why the lock file could not be used. It is no error if another run holds it.
#[derive(Debug, thiserror::Error)]
#[error("could not lock {path}; check that its directory exists and is writable")]
pub struct LockError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Takes the lock, or returns `None` at once if another run holds it. The file stays afterwards: if it were
/// removed, two runs could lock two files of the same name.
///
/// # Errors
/// When the file can't be created or locked.
pub fn try_lock(path: &Path) -> Result<Option<Guard>, LockError> {
    let failed = |source| LockError { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        files::private_directory(parent).map_err(failed)?;
    }
    let file = open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Guard { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/lock");
        let held = try_lock(&path).unwrap().expect("free");
        assert!(try_lock(&path).unwrap().is_none(), "a second run");
        drop(held);
        assert!(try_lock(&path).unwrap().is_some(), "free again");
    }

    /// Where the holder below finds the lock file.
    const LOCK_FILE: &str = "XSHIELD_TEST_LOCK";

    /// Another process, started by the test below: says when it holds the lock, and holds it until its
    /// input ends.
    #[test]
    #[ignore = "started by a_killed_holder_releases_the_lock"]
    fn holder() {
        let Some(path) = std::env::var_os(LOCK_FILE) else { return };
        let _held = try_lock(Path::new(&path)).unwrap().expect("free");
        eprintln!("held");
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
    }

    #[test]
    fn a_killed_holder_releases_the_lock() {
        use std::io::{BufRead as _, BufReader};
        use std::process::{Command, Stdio};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        drop(try_lock(&path).unwrap());
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lock::tests::holder", "--ignored", "--nocapture"])
            .env(LOCK_FILE, &path)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(holder.stderr.take().unwrap());
        assert!(said.lines().any(|line| line.unwrap() == "held"), "the holder ended");
        assert!(try_lock(&path).unwrap().is_none(), "another process holds it");
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(try_lock(&path).unwrap().is_some(), "the kernel let go of it");
    }
}
