//! A new file for a secret.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use crate::error::CliError;
use crate::progress::{AfterInterrupt, Shown, Waiting};
use crate::session::failed;

/// A file created before the secret, so that an invalid path does not waste a key.
pub(super) struct NewFile {
    path: PathBuf,
    file: File,
    state: Filled,
    waiting: Waiting,
}

#[derive(PartialEq, Eq)]
enum Filled {
    NotYet,
    Whole,
}

impl NewFile {
    /// Creates the empty file (mode 0600), which must not exist yet.
    pub(super) fn reserve(path: PathBuf) -> Result<Self, CliError> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(failed("make", &path))?;
        let left = format!(
            "{} was removed. The key may have been created, and its secret is lost: find it with \
             xshield key list, and revoke it",
            path.display()
        );
        let gone = path.clone();
        let waiting = Waiting::begin("create the key", AfterInterrupt::Said(left), Shown::WhenLong);
        // At worst, an empty file remains.
        let waiting = waiting.putting_back(move || drop(fs::remove_file(&gone)));
        Ok(Self { path, file, state: Filled::NotYet, waiting })
    }

    /// Writes the text and returns the path.
    pub(super) fn fill(mut self, text: &str) -> Result<PathBuf, CliError> {
        let Self { path, file, waiting, .. } = &mut self;
        let write = || file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        waiting.finish_file(path, write).map_err(failed("write", path))?;
        self.state = Filled::Whole;
        Ok(self.path.clone())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.state == Filled::NotYet {
            // The command has failed already; at worst, an empty file remains.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_for_a_secret_is_new_private_and_removed_on_failure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        drop(NewFile::reserve(path.clone()).unwrap());
        assert!(!path.exists());
        NewFile::reserve(path.clone()).unwrap().fill("a: b\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a: b\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(NewFile::reserve(path.clone()).is_err(), "an existing file is not overwritten");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a: b\n");
    }
}
