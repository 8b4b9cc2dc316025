//! The platform's own keys, created at the first start and stored in the data directory (mode 0600 in 0700).
//! Losing `policy.key` or `ca.key` means reconfiguring every host: back them up. None is recreated
//! automatically once there is a database.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use xshield_operations::ids::{NoRandomness, random};
use xshield_wire::{Bytes, PolicyKey};

use crate::platform_key::PlatformKey;
use crate::sealed::{Seal, SealError};

/// Why keys could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or directory failed.
    #[error("could not {action} {path}")]
    File {
        /// The failed action.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A key file with invalid content.
    #[error("{path} is damaged: {reason}. Restore it from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected.
        reason: String,
    },
    /// A key file is missing next to a database that depends on it.
    #[error(
        "{path} is missing beside the database. Restore it from a backup, and nothing is lost. Without \
         one: xshield admin new-key {key} --data-dir {data_dir}; then {}", .key.another_means()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The key.
        key: PlatformKey,
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The key to be recreated exists.
    #[error("{0} exists; a key is only recreated when its file is missing")]
    IsThere(PathBuf),
    /// There is no platform's data.
    #[error("there is no platform in {0}: it has no database; see --data-dir")]
    NoPlatform(PathBuf),
    /// Others can change the data directory, or could until now.
    #[error(
        "other users can change {path}, so its content may not be trustworthy: {reason}. Check \
         it, then: chown -R to the platform's user, chmod 700"
    )]
    Unguarded {
        /// The data directory.
        path: PathBuf,
        /// How they can.
        reason: String,
    },
    /// Another platform runs on the same data.
    #[error("another xshield serve is running on {path}; stop it first, or use another --data-dir")]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// A certificate could not be created.
    #[error("could not create a certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS rejects a key or a certificate.
    #[error("TLS rejects the platform's certificate")]
    Tls(#[from] rustls::Error),
    /// The key is invalid for sealing.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The data directory, locked for the lifetime of this value.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if missing, restricts its mode and locks it.
    ///
    /// # Errors
    /// When that fails, or another platform uses it.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("make", path))?;
        guard(path)?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(KeyError::Locked { path: path.to_owned() }),
            Err(error) => Err(failed("lock", &lock_path)(error.into())),
        }
    }

    /// The database file.
    pub const DATABASE: &str = "xshield.db";

    /// Opens the directory of a platform that has been started before.
    ///
    /// # Errors
    /// When there is none, or another platform uses it.
    pub fn open_existing(path: &Path) -> Result<Self, KeyError> {
        match fs::exists(path.join(Self::DATABASE)) {
            Ok(true) => Self::open(path),
            Ok(false) => Err(KeyError::NoPlatform(path.to_owned())),
            Err(error) => Err(failed("look for a database in", path)(error)),
        }
    }

    /// Whether a platform has its database here: then its keys must be here, too.
    ///
    /// # Errors
    /// When the check fails.
    pub fn has_database(&self) -> Result<bool, KeyError> {
        let path = self.file(Self::DATABASE);
        fs::exists(&path).map_err(failed("look for", &path))
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Restricts the mode of files with secrets that were readable by others, and logs it.
    ///
    /// # Errors
    /// When that fails.
    pub fn close_secrets(&self) -> Result<(), KeyError> {
        for name in SECRETS {
            let path = self.file(name);
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.mode() & OPEN == 0 {
                continue;
            }
            fs::set_permissions(&path, Permissions::from_mode(0o600))
                .map_err(failed("close to other users", &path))?;
            tracing::warn!(
                path = %path.display(),
                mode = format!("{:o}", metadata.mode() & 0o777),
                "other users could read a secret; its mode is corrected now. If they are not \
                 trusted, replace it"
            );
        }
        Ok(())
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// When it exists and can't be read.
    pub fn read(&self, name: &str) -> Result<Option<String>, KeyError> {
        let path = self.file(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Writes a file (mode 0600) atomically: a power failure leaves the old or the new content.
    ///
    /// # Errors
    /// When that fails.
    pub fn write(&self, name: &str, text: &str) -> Result<(), KeyError> {
        let path = self.file(name);
        let new = self.file(&format!("{name}.new"));
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(failed("write", &path))
    }

    /// The policy key in a file; `None` if there is no such file.
    pub(crate) fn policy_key_in(&self, name: &str) -> Result<Option<PolicyKey>, KeyError> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        self.seed_of(name, &text).map(|seed| Some(PolicyKey::from_seed(seed)))
    }

    /// Creates a policy key.
    pub(crate) fn make_policy_key_in(&self, name: &str) -> Result<PolicyKey, KeyError> {
        let seed = random::<32>()?;
        self.write(name, &Bytes(seed).to_base64())?;
        Ok(PolicyKey::from_seed(seed))
    }

    fn seed_of(&self, name: &str, text: &str) -> Result<[u8; 32], KeyError> {
        let damaged = |error: xshield_wire::bytes::BytesError| KeyError::Damaged {
            path: self.file(name),
            reason: error.to_string(),
        };
        Ok(Bytes::<32>::from_base64(text).map_err(damaged)?.0)
    }

    /// Renames a file, replacing any file of the new name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), KeyError> {
        let path = self.file(from);
        let rename = || {
            fs::rename(&path, self.file(to))?;
            File::open(&self.path)?.sync_all()
        };
        rename().map_err(failed("rename", &path))
    }

    /// Removes a file, if it exists.
    pub(crate) fn remove(&self, name: &str) -> Result<(), KeyError> {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// The 32 secret bytes of a key, created at the first start. `missing`: the error for a missing key.
    pub(crate) fn missing(&self, key: PlatformKey) -> KeyError {
        KeyError::Missing { path: self.file(key.file()), key, data_dir: self.path().to_owned() }
    }

    fn seed(&self, key: PlatformKey) -> Result<[u8; 32], KeyError> {
        let name = key.file();
        if let Some(text) = self.read(name)? {
            return self.seed_of(name, &text);
        }
        if self.has_database()? {
            return Err(self.missing(key));
        }
        self.new_seed(key)
    }

    fn new_seed(&self, key: PlatformKey) -> Result<[u8; 32], KeyError> {
        let seed = random::<32>()?;
        self.write(key.file(), &Bytes(seed).to_base64())?;
        Ok(seed)
    }

    /// Creates the 32 secret bytes of a lost key.
    pub(crate) fn make_seed_again(&self, key: PlatformKey) -> Result<(), KeyError> {
        if self.read(key.file())?.is_some() {
            return Err(KeyError::IsThere(self.file(key.file())));
        }
        self.new_seed(key).map(drop)
    }
}

/// Files that others must not read.
const SECRETS: [&str; 9] = [
    "next-policy.key",
    "next-ca.key",
    "policy.key",
    "storage.key",
    "ca.key",
    "tls.key",
    "xshield.db",
    "xshield.db-wal",
    "xshield.db-shm",
];
/// Any permission for group or others.
const OPEN: u32 = 0o077;
/// Write permission for group or others.
const WRITABLE: u32 = 0o022;

/// Restricts the mode of the data directory. One with data that others could change until now is refused.
fn guard(path: &Path) -> Result<(), KeyError> {
    let metadata = fs::metadata(path).map_err(failed("look at", path))?;
    let refuse = |reason| Err(KeyError::Unguarded { path: path.to_owned(), reason });
    let (owner, mode) = (metadata.uid(), metadata.mode());
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return refuse(format!("it belongs to the user with id {owner}"));
    }
    let mut entries = fs::read_dir(path).map_err(failed("list", path))?;
    if mode & WRITABLE != 0 && entries.next().is_some() {
        return refuse(format!("its mode is {:o}", mode & 0o7777));
    }
    fs::set_permissions(path, Permissions::from_mode(0o700))
        .map_err(failed("close to other users", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::File { action, path, source }
}

/// The keys other than those for TLS.
pub struct Keys {
    /// Signs rulesets.
    pub policy: Arc<PolicyKey>,
    /// Seals session tokens and stored secrets.
    pub seal: Arc<Seal>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Reads the keys; at the first start, before there is a database, creates them.
    ///
    /// # Errors
    /// When a file can't be read or written, is damaged, or is missing next to a database.
    pub fn open(dir: &DataDir) -> Result<Self, KeyError> {
        Ok(Self {
            policy: Arc::new(PolicyKey::from_seed(dir.seed(PlatformKey::Policy)?)),
            seal: Arc::new(Seal::new(&dir.seed(PlatformKey::Storage)?)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_persist_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = {
            let data = DataDir::open(&path).unwrap();
            assert!(matches!(DataDir::open(&path), Err(KeyError::Locked { .. })));
            Keys::open(&data).unwrap().policy.public()
        };
        let data = DataDir::open(&path).unwrap();
        assert_eq!(Keys::open(&data).unwrap().policy.public(), first);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("policy.key")), 0o600);
        assert_eq!(mode(&path.join("storage.key")), 0o600);
    }

    #[test]
    fn data_writable_by_others_is_refused_and_readable_data_is_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let with_mode = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        fs::create_dir(&path).unwrap();
        with_mode(&path, 0o777);
        drop(Keys::open(&DataDir::open(&path).unwrap()).unwrap());
        for mode in [0o777, 0o770, 0o1777] {
            with_mode(&path, mode);
            let refused = DataDir::open(&path).unwrap_err();
            let said = refused.to_string();
            assert!(matches!(refused, KeyError::Unguarded { .. }), "{said}");
            assert!(said.contains(&format!("{mode:o}")) && said.contains("chmod 700"), "{said}");
        }
        with_mode(&path, 0o755);
        with_mode(&path.join("policy.key"), 0o644);
        let data = DataDir::open(&path).unwrap();
        data.close_secrets().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("policy.key"))), (0o700, 0o600));
    }

    #[test]
    fn a_missing_key_is_not_recreated_if_a_database_exists() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        drop(Keys::open(&data).unwrap());
        fs::write(data.file(DataDir::DATABASE), "").unwrap();
        for key in [PlatformKey::Policy, PlatformKey::Storage] {
            assert!(matches!(data.make_seed_again(key), Err(KeyError::IsThere(_))));
            fs::remove_file(data.file(key.file())).unwrap();
            let said = Keys::open(&data).unwrap_err().to_string();
            let way = format!("xshield admin new-key {key} --data-dir {}", dir.path().display());
            assert!(said.contains("Restore it from a backup") && said.contains(&way), "{said}");
            assert!(!data.file(key.file()).exists());
            data.make_seed_again(key).unwrap();
            drop(Keys::open(&data).unwrap());
        }
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        data.write("policy.key", "half a ke").unwrap();
        assert!(matches!(Keys::open(&data), Err(KeyError::Damaged { .. })));
        assert_eq!(data.read("policy.key").unwrap().unwrap(), "half a ke");
    }
}
