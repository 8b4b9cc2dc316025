//! The bytes of files that hosts upload: `uploads/ID` in the data directory, `uploads/ID.part` while
//! incomplete. Ids are made by the platform; nothing that a host sends names a file.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use ring::digest::{Context, SHA256};
use xshield_wire::Bytes;

use crate::keys::DataDir;

/// A failed file operation.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} the upload {path}; is the disk full?")]
pub struct UploadError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The files.
#[derive(Debug, Clone)]
pub struct Files {
    dir: PathBuf,
}

/// Whether a chunk was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk.
    Written,
    /// Bytes before it are missing: after a power failure, or someone removed the file.
    Missing,
}

/// Whether a complete file is what was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It is, and is in its final place.
    Right,
    /// It is not, and was removed.
    Wrong,
}

impl Files {
    /// The files of a data directory.
    #[must_use]
    pub fn of(dir: &DataDir) -> Self {
        Self { dir: dir.file("uploads") }
    }

    /// The path of a complete upload.
    #[must_use]
    pub fn whole(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    fn part(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.part"))
    }

    /// Writes a chunk after the first `offset` bytes. Leftovers of an interrupted attempt are overwritten. It
    /// is on disk on return.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn append(&self, id: &str, offset: u64, piece: &[u8]) -> Result<Appended, UploadError> {
        let path = self.part(id);
        let write = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let mut file = options.open(&path)?;
            if file.metadata()?.len() < offset {
                return Ok(Appended::Missing);
            }
            file.set_len(offset)?;
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(piece)?;
            file.sync_data()?;
            Ok(Appended::Written)
        };
        write().map_err(failed("write", &path))
    }

    /// Checks a complete file and moves it to its place if it matches. Idempotent.
    ///
    /// # Errors
    /// When the file can't be read or moved.
    pub fn finish(&self, id: &str, digest: Bytes<32>) -> Result<Checked, UploadError> {
        let (part, whole) = (self.part(id), self.whole(id));
        if whole.exists() && !part.exists() {
            return Ok(Checked::Right);
        }
        match sha256_of(&part) {
            Ok(found) if found == digest.0 => {}
            Ok(_) => {
                fs::remove_file(&part).map_err(failed("remove", &part))?;
                return Ok(Checked::Wrong);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Checked::Wrong),
            Err(error) => return Err(failed("read", &part)(error)),
        }
        let settle = || {
            File::open(&part)?.sync_all()?;
            fs::rename(&part, &whole)?;
            File::open(&self.dir)?.sync_all()
        };
        settle().map_err(failed("keep", &whole))?;
        Ok(Checked::Right)
    }

    /// Removes the files of an upload.
    ///
    /// # Errors
    /// When a file exists and can't be removed.
    pub fn remove(&self, id: &str) -> Result<(), UploadError> {
        for path in [self.part(id), self.whole(id)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the files of all uploads but these.
    ///
    /// # Errors
    /// When the directory can't be read or a file can't be removed.
    pub fn keep_only(&self, ids: &BTreeSet<String>) -> Result<(), UploadError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("list", &self.dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed("list", &self.dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let id = name.strip_suffix(".part").unwrap_or(&name);
            if !ids.contains(id) {
                fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
            }
        }
        Ok(())
    }
}

fn sha256_of(path: &std::path::Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => context.update(buffer.get(..read).unwrap_or_default()),
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}

fn failed(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> UploadError {
    let path = path.to_owned();
    move |source| UploadError { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(bytes: &[u8]) -> Bytes<32> {
        let mut digest = [0; 32];
        digest.copy_from_slice(ring::digest::digest(&SHA256, bytes).as_ref());
        Bytes(digest)
    }

    #[test]
    fn chunks_form_a_file_despite_an_interrupted_upload() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { dir: dir.path().join("uploads") };
        files.append("up-1", 0, b"hello garbage").unwrap();
        assert_eq!(files.append("up-1", 6, b"world").unwrap(), Appended::Written);
        assert_eq!(files.append("up-1", 100, b"x").unwrap(), Appended::Missing, "no holes");
        assert_eq!(files.finish("up-1", digest_of(b"hello world")).unwrap(), Checked::Right);
        assert_eq!(files.finish("up-1", digest_of(b"hello world")).unwrap(), Checked::Right);
        assert_eq!(fs::read(files.whole("up-1")).unwrap(), b"hello world");
    }

    #[test]
    fn a_file_with_a_wrong_digest_is_deleted_and_others_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { dir: dir.path().join("uploads") };
        files.append("up-1", 0, b"hello").unwrap();
        assert_eq!(files.finish("up-1", digest_of(b"hallo")).unwrap(), Checked::Wrong);
        assert_eq!(files.finish("up-1", digest_of(b"hallo")).unwrap(), Checked::Wrong, "gone");
        files.append("up-1", 0, b"hallo").unwrap();
        files.append("up-2", 0, b"x").unwrap();
        files.keep_only(&["up-1".to_owned()].into()).unwrap();
        let left: Vec<_> =
            fs::read_dir(&files.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["up-1.part"]);
        files.remove("up-1").unwrap();
        files.remove("up-1").unwrap();
        assert_eq!(fs::read_dir(&files.dir).unwrap().count(), 0);
    }
}
