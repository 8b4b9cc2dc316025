//! The directory that stands for a machine's filter engine.
//!
//! ```text
//! store.json     the objects, written beside and put in place
//! lock           held while a transaction runs: shared to read, alone to write
//! sessions/N     held by the program of a dynamic session; free once that is dead
//! calls          every call, with its answer
//! faults         what goes wrong
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::faults::Faults;
use crate::store::Store;

/// The environment variable that names the directory to programs under wine.
pub const DIRECTORY: &str = "WFP_DOUBLE";

/// How long to wait before a lock is tried again.
const PAUSE: Duration = Duration::from_millis(2);

/// The engine's files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Directory(PathBuf);

/// Why the engine's files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file.
    #[error("could not {action} {}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// What is in one.
    #[error("could not read {}: {reason}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The engine's lock, until it is dropped.
#[derive(Debug)]
pub struct EngineLock(#[expect(dead_code, reason = "holds the lock")] File);

/// A dynamic session of this program, until it is dropped.
#[derive(Debug)]
pub struct LiveSession(#[expect(dead_code, reason = "holds the lock")] File);

/// The calls, each with its answer.
#[derive(Debug, Clone)]
pub struct CallLog {
    file: Arc<File>,
    path: PathBuf,
}

impl Directory {
    /// Makes the directory, if it is not there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn at(path: &Path) -> Result<Self, DirectoryError> {
        let sessions = path.join("sessions");
        fs::create_dir_all(&sessions).map_err(failed("create", &sessions))?;
        Ok(Self(path.to_owned()))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Waits for the lock; `None` when others held it for all that time.
    ///
    /// # Errors
    /// The file can't be opened or locked.
    #[expect(clippy::disallowed_methods, reason = "the condition is another program's lock")]
    pub fn lock(&self, alone: bool, wait: Duration) -> Result<Option<EngineLock>, DirectoryError> {
        let path = self.0.join("lock");
        let file = open(&path)?;
        let end = Instant::now() + wait;
        loop {
            let tried = if alone { file.try_lock() } else { file.try_lock_shared() };
            match tried {
                Ok(()) => return Ok(Some(EngineLock(file))),
                Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(source)) => {
                    return Err(DirectoryError::File { action: "lock", path, source });
                }
            }
        }
    }

    /// Everything that the engine holds now: what sessions of dead programs added is gone.
    ///
    /// # Errors
    /// A file can't be read, or is damaged.
    pub fn load(&self) -> Result<Store, DirectoryError> {
        let path = self.0.join("store.json");
        let mut store: Store = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| DirectoryError::Content { path, reason: error.to_string() })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Store::default(),
            Err(source) => return Err(DirectoryError::File { action: "read", path, source }),
        };
        for session in store.sessions() {
            if !self.is_alive(session)? {
                store.end(session);
            }
        }
        Ok(store)
    }

    /// Puts a store in place of the one that is there.
    ///
    /// # Errors
    /// It can't be written.
    pub fn save(&self, store: &Store) -> Result<(), DirectoryError> {
        let path = self.0.join("store.json");
        let beside = self.0.join("store.new");
        let bytes = serde_json::to_vec(store).map_err(|error| DirectoryError::Content {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        fs::write(&beside, bytes).map_err(failed("write", &beside))?;
        fs::rename(&beside, &path).map_err(failed("replace", &path))
    }

    /// Changes what the engine holds from outside, as another program would.
    ///
    /// # Errors
    /// A file can't be read or written.
    pub fn edit(&self, edit: impl FnOnce(&mut Store)) -> Result<(), DirectoryError> {
        let mut store = self.load()?;
        edit(&mut store);
        self.save(&store)
    }

    /// The dynamic session of this number begins; it lives as long as the value.
    ///
    /// # Errors
    /// Its file can't be made or locked.
    pub fn begin_session(&self, number: u64) -> Result<LiveSession, DirectoryError> {
        let path = self.session(number);
        let file = open(&path)?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(LiveSession(file))
    }

    fn session(&self, number: u64) -> PathBuf {
        self.0.join("sessions").join(number.to_string())
    }

    fn is_alive(&self, number: u64) -> Result<bool, DirectoryError> {
        let path = self.session(number);
        if !path.exists() {
            return Ok(false);
        }
        is_locked(&open(&path)?).map_err(failed("lock", &path))
    }

    /// Says what goes wrong from now on; nothing if the text is empty.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn set_faults(&self, text: &str) -> Result<(), DirectoryError> {
        let path = self.0.join("faults");
        fs::write(&path, text).map_err(failed("write", &path))
    }

    /// What goes wrong.
    ///
    /// # Errors
    /// The file can't be read, or says something else.
    pub fn faults(&self) -> Result<Faults, DirectoryError> {
        let path = self.0.join("faults");
        match fs::read_to_string(&path) {
            Ok(text) => text.parse().map_err(|error: crate::faults::FaultsError| {
                DirectoryError::Content { path, reason: error.to_string() }
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Faults::default()),
            Err(source) => Err(DirectoryError::File { action: "read", path, source }),
        }
    }

    /// Where calls are noted.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn log(&self) -> Result<CallLog, DirectoryError> {
        let path = self.0.join("calls");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(CallLog { file: Arc::new(file.map_err(failed("open", &path))?), path })
    }

    /// The calls so far, each with its answer.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn calls(&self) -> Result<Vec<String>, DirectoryError> {
        let path = self.0.join("calls");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().map(ToOwned::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(DirectoryError::File { action: "read", path, source }),
        }
    }
}

impl CallLog {
    /// Notes a call and its answer.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn note(&mut self, name: &str, answer: &str) -> Result<(), DirectoryError> {
        let line = format!("{name} {answer}\n");
        (&*self.file).write_all(line.as_bytes()).map_err(failed("write", &self.path))
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::File { action, path, source }
}

fn open(path: &Path) -> Result<File, DirectoryError> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(failed("open", path))
}

/// Whether somebody else holds the lock of this file.
#[cfg(not(unix))]
fn is_locked(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether somebody else holds the lock of this file. Wine turns locks of its programs into those of
/// `fcntl`, which programs of this system that use `flock` do not see.
#[cfg(unix)]
fn is_locked(file: &File) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, fcntl_lock};
    use rustix::io::Errno;
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
