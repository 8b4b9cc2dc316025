//! The threat orders and lists that a host stores, in `threat/` of the state directory.
//!
//! | file | holds | when it is lost or damaged |
//! |---|---|---|
//! | `order` | the order in force, as it was signed | fetched again |
//! | `lists` | the stored lists, their form in the kernel, and the posture | fetched whole |
//! | `DIGEST.list` | a list, prefix by prefix ([`xshield_threat::codec::flat`]) | fetched whole |

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xshield_host::files::{self, FileError};
use xshield_policy::AssetId;
use xshield_threat::Digest;
use xshield_threat::keep::KeepError;
use xshield_wire::keys::PolicyPublicKey;
use xshield_wire::threat::ThreatOrder;
use xshield_wire::{Verified, envelope};

use super::error::ListFileError;
use crate::core::threat::lists::{KeptList, Lists};
use crate::problems::problem;
use crate::state::{Repaired, StateDirectory, THREAT_DIRECTORY};

const ORDER: &str = "order";
const LISTS: &str = "lists";
const LIST: &str = "list";
/// Prefix of the files of a path; the position in the path follows.
const FETCHED: &str = "fetched-";
/// Prefix of a list that is being written.
const UNFINISHED: &str = "unfinished";

/// An order on disk: the signed envelope, to be verified again.
#[derive(Serialize, Deserialize)]
struct StoredOrder {
    asset: AssetId,
    envelope: String,
}

/// The directory.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// Does not create anything yet.
    pub(crate) fn new(state: &StateDirectory) -> Self {
        Self::at(state.path(THREAT_DIRECTORY))
    }

    /// For read access only.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The order of the last run, verified again; a damaged one is ignored and a problem returned.
    pub(crate) fn order(
        &self,
        keys: &[PolicyPublicKey],
        repaired: &mut Repaired,
    ) -> Result<Option<Verified<ThreatOrder>>, FileError> {
        let stored: Option<StoredOrder> = self.read(ORDER, repaired)?;
        let Some(StoredOrder { asset, envelope }) = stored else { return Ok(None) };
        match envelope::open_order(envelope.as_bytes(), keys, &asset, 0) {
            Ok(order) => Ok(Some(order)),
            Err(error) => {
                repaired.push(problem("state-damaged", &error));
                Ok(None)
            }
        }
    }

    pub(crate) fn save_order(&self, order: &Verified<ThreatOrder>) -> Result<(), ListFileError> {
        let envelope = String::from_utf8_lossy(order.envelope()).into_owned();
        self.write(ORDER, &StoredOrder { asset: order.asset.clone(), envelope })
    }

    /// The stored lists; a damaged file counts as none and a problem is returned.
    pub(crate) fn lists(&self, repaired: &mut Repaired) -> Result<Lists, FileError> {
        Ok(self.read(LISTS, repaired)?.unwrap_or_default())
    }

    pub(crate) fn save_lists(&self, lists: &Lists) -> Result<(), ListFileError> {
        self.write(LISTS, lists)
    }

    /// Opens a list. What is read is the one that is asked for only when its end was reached.
    pub(crate) fn open(&self, list: &KeptList) -> Result<File, ListFileError> {
        open(&self.list(list.digest()))
    }

    /// Whether a list's file exists; its content is verified when it is read.
    pub(crate) fn has(&self, list: &KeptList) -> bool {
        self.list(list.digest()).is_file()
    }

    /// Saves a list. `write` returns an error if it is not the list with this digest.
    pub(crate) fn write_list<T>(
        &self,
        digest: Digest,
        write: impl FnOnce(&mut File) -> Result<T, KeepError>,
    ) -> Result<T, ListFileError> {
        let unfinished = self.root.join(UNFINISHED);
        let mut file = self.begin(&unfinished)?;
        let written = write(&mut file)?;
        file.sync_all().map_err(failed("writing", &unfinished))?;
        let path = self.list(digest);
        files::replace_file(&unfinished, &path).map_err(failed("naming", &path))?;
        Ok(written)
    }

    /// The path for downloading the nth file of a path.
    pub(crate) fn fetched(&self, number: usize) -> PathBuf {
        self.root.join(format!("{FETCHED}{number}"))
    }

    /// A new file, for the owner alone, in the place of a leftover.
    pub(crate) fn begin(&self, path: &Path) -> Result<File, ListFileError> {
        self.make()?;
        files::private_file(path).map_err(failed("making", path))
    }

    /// Deletes every list that is not needed. What can't be deleted now is deleted by the next run.
    pub(crate) fn tidy(&self, lists: &Lists) {
        let kept: Vec<PathBuf> = [&lists.current, &lists.prepared]
            .into_iter()
            .flatten()
            .map(|list| self.list(list.digest()))
            .collect();
        let is_list = |path: &Path| path.extension().is_some_and(|end| end == LIST);
        self.remove(|path| is_list(path) && !kept.iter().any(|kept| kept == path));
    }

    /// Deletes fetched files that are no longer needed, including those of killed runs.
    pub(crate) fn tidy_fetched(&self) {
        self.remove(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name == UNFINISHED || name.starts_with(FETCHED)
        });
    }

    fn remove(&self, is_meant: impl Fn(&Path) -> bool) {
        let Ok(directory) = fs::read_dir(&self.root) else { return };
        for path in directory.flatten().map(|entry| entry.path()) {
            if is_meant(&path) {
                let _ = fs::remove_file(&path);
            }
        }
    }

    fn list(&self, digest: Digest) -> PathBuf {
        self.root.join(format!("{digest}.{LIST}"))
    }

    fn read<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        repaired: &mut Repaired,
    ) -> Result<Option<T>, FileError> {
        match files::read_state(&self.root.join(name)) {
            Err(error @ FileError::Damaged { .. }) => {
                repaired.push(problem("state-damaged", &error));
                Ok(None)
            }
            other => other,
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), ListFileError> {
        self.make()?;
        Ok(files::write_state(&self.root.join(name), value)?)
    }

    fn make(&self) -> Result<(), ListFileError> {
        files::private_directory(&self.root).map_err(failed("making", &self.root))
    }
}

/// Opens a list or a fetched file.
pub(crate) fn open(path: &Path) -> Result<File, ListFileError> {
    let unreadable = |source| ListFileError::Unreadable { path: path.to_owned(), source };
    File::open(path).map_err(unreadable)
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> ListFileError + 'a {
    move |source| ListFileError::File { action, path: path.to_owned(), source }
}
