//! What a host remembers between runs.
//!
//! | file | holds | when it is lost or damaged |
//! |---|---|---|
//! | `identity.key` | the host's Ed25519 key | the platform asks an operator to approve the new one |
//! | `session` | token and session key | a new handshake |
//! | `trust` | the platform's new keys, see [`crate::trust`] | the configuration's pins count again |
//! | `enforced` | last-known-good ruleset and the facts it was bound with | `enforced.previous` is used |
//! | `progress` | sequence, recorder positions, routes, DNS answers, undelivered reports | counting starts again from the kernel's counters |
//! | `threat/` | threat order and list, see [`crate::threat`] | fetched again |
//! | `diagnostics/` | archives that the platform does not have yet | collected again |
//! | `filters` | the numbers by which events of Windows name our filters | events of filters replaced since are not attributed |
//! | `software` |  the inventory as last reported | reported again in full |
//! | `running` |  a crash is not told as one| a crash is not told as one |
//! | `spool/` | reports not yet acknowledged | what was in it is lost and counted |

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xshield_firewall::LiveGroup;
#[cfg(windows)]
use xshield_firewall::wfp::attribution::FilterNumbers;
use xshield_host::files::{self, Access, FileError};
use xshield_host::lock::{self, Guard, LockError};
use xshield_policy::{AssetId, Facts, Ruleset};
use xshield_wire::keys::{PolicyPublicKey, SessionKey};
use xshield_wire::message::{Problem, UnixSeconds};
use xshield_wire::session::Session;
use xshield_wire::{Bytes, RulesetVersion, Verified, envelope};

use crate::core::known_good::LastKnownGood;
use crate::problems::problem;
use crate::progress::Progress;

/// The state directory and what each file in it is called.
#[derive(Debug, Clone)]
pub struct StateDirectory {
    root: PathBuf,
}

/// The last-known-good ruleset on disk: the signed envelope, to be verified again.
#[derive(Debug, Serialize, Deserialize)]
struct Enforced {
    asset: AssetId,
    envelope: String,
    facts: Facts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    live: Option<LiveGroup>,
}

/// A session on disk.
#[derive(Serialize, Deserialize)]
struct StoredSession {
    key: Bytes<32>,
    asset: AssetId,
    token: String,
    expires: UnixSeconds,
    platform_time: UnixSeconds,
}

/// Problems with a file, and what was used instead.
pub type Repaired = Vec<Problem>;

impl StateDirectory {
    /// Creates `root` if it is missing, with access for the owner only.
    ///
    /// # Errors
    /// When it can't be created.
    pub fn open(root: &Path) -> Result<Self, std::io::Error> {
        files::private_directory(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// The path of a file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Reads the progress file; if it is damaged, a default is used and a problem is returned.
    ///
    /// # Errors
    /// When the file exists but can't be read.
    pub fn progress(&self, repaired: &mut Repaired) -> Result<Progress, FileError> {
        read_or_default(&self.path("progress"), repaired)
    }

    /// Writes the progress file.
    ///
    /// # Errors
    /// When it can't be written; the old file is then intact.
    pub fn save_progress(&self, progress: &Progress) -> Result<(), FileError> {
        files::write_state(&self.path("progress"), progress)
    }

    /// Reads and verifies the last-known-good ruleset, or the one before it when the file is damaged. A
    /// ruleset without a valid signature is not used.
    ///
    /// # Errors
    /// When a file exists but can't be read.
    pub fn last_known_good(
        &self,
        keys: &[PolicyPublicKey],
        repaired: &mut Repaired,
    ) -> Result<Option<LastKnownGood>, FileError> {
        for name in ["enforced", "enforced.previous"] {
            let read: Option<Option<Enforced>> = match files::read_state(&self.path(name)) {
                Ok(read) => Some(read),
                Err(error @ FileError::Damaged { .. }) => {
                    repaired.push(problem("state-damaged", &error));
                    None
                }
                Err(error) => return Err(error),
            };
            let Some(read) = read else { continue };
            // No file: there never was a ruleset. The previous one is only for a damaged file.
            let Some(stored) = read else { return Ok(None) };
            match verify(&stored, keys) {
                Ok(ruleset) => {
                    let Enforced { facts, live, .. } = stored;
                    return Ok(Some(LastKnownGood { ruleset, facts, live }));
                }
                Err(error) => repaired.push(problem("state-damaged", &error)),
            }
        }
        Ok(None)
    }

    /// Makes a ruleset the last-known-good one. The current one is kept as the previous one.
    ///
    /// # Errors
    /// When a file can't be written; the last-known-good ruleset is then still the old one.
    pub fn save_last_known_good(&self, known: &LastKnownGood) -> Result<(), FileError> {
        let LastKnownGood { ruleset, facts, live } = known;
        let current = self.path("enforced");
        if let Ok(Some(sealed)) = files::read(&current)
            && files::unseal(&sealed).is_ok()
        {
            files::write(&self.path("enforced.previous"), &sealed, Access::Private)?;
        }
        let envelope = String::from_utf8_lossy(ruleset.envelope()).into_owned();
        let asset = ruleset.asset.clone();
        let (facts, live) = (facts.clone(), *live);
        files::write_state(&current, &Enforced { asset, envelope, facts, live })
    }

    /// The session of the last run; a damaged one is ignored and a problem returned.
    ///
    /// # Errors
    /// When the file exists but can't be read.
    pub fn session(&self, repaired: &mut Repaired) -> Result<Option<Session>, FileError> {
        let stored: Option<StoredSession> = read_or_default(&self.path("session"), repaired)?;
        Ok(stored.map(|stored| Session {
            key: SessionKey::from_bytes(stored.key.0),
            asset: stored.asset,
            token: stored.token,
            expires: stored.expires,
            platform_time: stored.platform_time,
        }))
    }

    /// Saves a session for the next run.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save_session(&self, session: &Session) -> Result<(), FileError> {
        let stored = StoredSession {
            key: Bytes(*session.key.expose_secret()),
            asset: session.asset.clone(),
            token: session.token.clone(),
            expires: session.expires,
            platform_time: session.platform_time,
        };
        files::write_state(&self.path("session"), &stored)
    }

    /// The numbers of filters that earlier runs read; a damaged file counts as none.
    ///
    /// # Errors
    /// When the file exists but can't be read.
    #[cfg(windows)]
    pub(crate) fn filter_numbers(
        &self,
        repaired: &mut Repaired,
    ) -> Result<FilterNumbers, FileError> {
        read_or_default(&self.path("filters"), repaired)
    }

    /// Saves the numbers of filters for the next run.
    ///
    /// # Errors
    /// When the file can't be written.
    #[cfg(windows)]
    pub(crate) fn save_filter_numbers(&self, numbers: &FilterNumbers) -> Result<(), FileError> {
        files::write_state(&self.path("filters"), numbers)
    }

    /// Reserves the directory for a resident program: no other resident program and no single run can use it.
    /// `None` if another program holds it.
    ///
    /// # Errors
    /// When the lock file can't be used.
    pub fn keep_for_a_resident(&self) -> Result<Option<Guard>, LockError> {
        lock::try_lock(&self.path("resident.lock"))
    }

    /// Whether a resident program has reserved the directory.
    ///
    /// # Errors
    /// When the lock file can't be used.
    pub fn is_kept_by_a_resident(&self) -> Result<bool, LockError> {
        Ok(self.path("resident.lock").exists() && self.keep_for_a_resident()?.is_none())
    }

    /// Removes our files, and the directory if it is empty then: an operator may have configured one that
    /// others use, too.
    ///
    /// # Errors
    /// When something of ours can't be removed.
    pub fn remove(self) -> std::io::Result<()> {
        for name in DIRECTORIES {
            tolerate_absence(std::fs::remove_dir_all(self.path(name)))?;
        }
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let ours = FILES.iter().any(|file| is_made_from(&name.to_string_lossy(), file));
            if ours && entry.file_type()?.is_file() {
                tolerate_absence(std::fs::remove_file(entry.path()))?;
            }
        }
        match std::fs::remove_dir(&self.root) {
            // Files of others stay; so does a file system mounted there, without our files.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::ResourceBusy
                ) =>
            {
                Ok(())
            }
            result => result,
        }
    }
}

/// The files of the table above.
const FILES: [&str; 9] = [
    "identity.key",
    "session",
    "enforced",
    "progress",
    "filters",
    "lock",
    "resident.lock",
    "running",
    "software",
];
/// The directories: undelivered reports, the boot unit's copy of the program, the threat list, pending
/// diagnostics.
const DIRECTORIES: [&str; 4] = ["spool", "bin", THREAT_DIRECTORY, DIAGNOSTICS_DIRECTORY];
/// Where threat order and lists are kept.
pub(crate) const THREAT_DIRECTORY: &str = "threat";
/// Diagnostics that wait for delivery to the platform.
pub(crate) const DIAGNOSTICS_DIRECTORY: &str = "diagnostics";

/// Whether `name` is `file` or one of its companions: `.previous`, `.damaged`, `.new`.
fn is_made_from(name: &str, file: &str) -> bool {
    name.strip_prefix(file).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn tolerate_absence(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn verify(
    stored: &Enforced,
    keys: &[PolicyPublicKey],
) -> Result<Verified<Ruleset>, envelope::EnvelopeError> {
    envelope::open(stored.envelope.as_bytes(), keys, &stored.asset, RulesetVersion::default())
}

fn read_or_default<T: Default + serde::de::DeserializeOwned>(
    path: &Path,
    repaired: &mut Repaired,
) -> Result<T, FileError> {
    match files::read_state(path) {
        Ok(value) => Ok(value.unwrap_or_default()),
        Err(error @ FileError::Damaged { .. }) => {
            repaired.push(problem("state-damaged", &error));
            Ok(T::default())
        }
        Err(error) => Err(error),
    }
}
