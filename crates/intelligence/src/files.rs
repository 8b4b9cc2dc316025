//! Files named by the SHA-256 of their content: written to a temporary file, synced, then renamed, so that a
//! name always refers to the complete content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ring::digest::{self, SHA256};
use xshield_model::file_name::FileName;
use xshield_threat::Digest;

/// A failed file operation.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system call failed.
    #[error("could not {action} {path}; is the disk full or its owner another user?")]
    Io {
        /// The failed action.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The content does not match the name.
    #[error("{path} is damaged; it is fetched or created again")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// A directory of such files.
#[derive(Debug)]
pub struct Files {
    dir: PathBuf,
    written: AtomicU64,
}

const UNFINISHED: &str = "new-";

impl Files {
    /// Creates the directory (mode 0700) if missing, and removes incomplete files left by a crash.
    ///
    /// # Errors
    /// When that fails.
    pub fn open(dir: PathBuf) -> Result<Self, FileError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(failed("make", &dir))?;
        let files = Self { dir, written: AtomicU64::new(0) };
        for entry in files.entries()? {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
            }
        }
        Ok(files)
    }

    /// Writes the bytes durably and returns their name. Blocks.
    ///
    /// # Errors
    /// When the disk is full or fails; then there is no such file.
    pub fn put(&self, bytes: &[u8]) -> Result<FileName, FileError> {
        let name = FileName::of(bytes);
        // An existing file may be damaged, and is rewritten then.
        if matches!(self.get(name), Ok(Some(_))) {
            return Ok(name);
        }
        let path = self.path(name);
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let beside = self.dir.join(format!("{UNFINISHED}{number}"));
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|source| {
            // A partial file is useless, least of all on a full disk.
            drop(fs::remove_file(&beside));
            failed("write", &path)(source)
        })?;
        Ok(name)
    }

    /// The content; `None` if there is no such file. Blocks.
    ///
    /// # Errors
    /// When it can't be read, or does not match its name.
    pub fn get(&self, name: FileName) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.path(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        if FileName::of(&bytes) == name {
            Ok(Some(bytes))
        } else {
            Err(FileError::Damaged { path })
        }
    }

    /// The file, open at its beginning, and its length; `None` if there is no such file. Blocks. Memory use
    /// is small even for large files.
    ///
    /// # Errors
    /// As [`Files::get`].
    pub fn open_whole(&self, name: FileName) -> Result<Option<(File, u64)>, FileError> {
        let path = self.path(name);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let (found, length) = digest_of(&mut file).map_err(failed("read", &path))?;
        if found != name {
            return Err(FileError::Damaged { path });
        }
        file.rewind().map_err(failed("read", &path))?;
        Ok(Some((file, length)))
    }

    /// Removes a file if it exists.
    ///
    /// # Errors
    /// When that fails.
    pub fn remove(&self, name: FileName) -> Result<(), FileError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// The files that are older than `age`. Younger ones may not be referenced by the database yet.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn older_than(&self, age: Duration) -> Result<Vec<FileName>, FileError> {
        let now = SystemTime::now();
        let is_old = |entry: &fs::DirEntry| {
            let written = entry.metadata().and_then(|about| about.modified());
            written.is_ok_and(|written| now.duration_since(written).is_ok_and(|past| past > age))
        };
        let old = self.entries()?.into_iter().filter(is_old);
        Ok(old.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    fn entries(&self) -> Result<Vec<fs::DirEntry>, FileError> {
        let entries = fs::read_dir(&self.dir).map_err(failed("read", &self.dir))?;
        entries.collect::<io::Result<_>>().map_err(failed("read", &self.dir))
    }

    fn path(&self, name: FileName) -> PathBuf {
        self.dir.join(name.to_string())
    }
}

fn digest_of(file: &mut File) -> io::Result<(FileName, u64)> {
    let mut context = digest::Context::new(&SHA256);
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0_u64;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        context.update(piece);
        length += piece.len() as u64;
    }
    let mut name = [0; 32];
    name.copy_from_slice(context.finish().as_ref());
    Ok((FileName(Digest(name)), length))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_back_and_partial_ones_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("files");
        let files = Files::open(path.clone()).unwrap();
        let name = files.put(b"abc").unwrap();
        assert_eq!(files.put(b"abc").unwrap(), name);
        assert_eq!(files.get(name).unwrap().unwrap(), b"abc");
        let (mut file, length) = files.open_whole(name).unwrap().unwrap();
        assert_eq!(io::read_to_string(&mut file).unwrap(), "abc");
        assert_eq!(length, 3);
        fs::write(path.join("new-7"), b"ha").unwrap();
        let files = Files::open(path.clone()).unwrap();
        assert!(!path.join("new-7").exists());
        assert_eq!(files.older_than(Duration::from_secs(3600)).unwrap(), []);
        assert_eq!(files.older_than(Duration::ZERO).unwrap(), [name]);

        fs::write(path.join(name.to_string()), b"abd").unwrap();
        assert!(matches!(files.get(name), Err(FileError::Damaged { .. })));
        assert!(matches!(files.open_whole(name), Err(FileError::Damaged { .. })));
        assert_eq!(files.put(b"abc").unwrap(), name);
        assert_eq!(files.get(name).unwrap().unwrap(), b"abc");
        files.remove(name).unwrap();
        files.remove(name).unwrap();
        assert!(files.get(name).unwrap().is_none());
        assert!(files.open_whole(name).unwrap().is_none());
    }
}
