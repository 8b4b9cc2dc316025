//! What a host keeps of threat orders and lists, in `threat/` of the state directory.
//!
//! | file | holds | when it is lost or damaged |
//! |---|---|---|
//! | `order` | the order in force, as it was signed | fetched again |
//! | `lists` | which lists are kept, how they stand in the kernel, and the posture | fetched whole |
//! | `DIGEST.list` | a list, prefix by prefix ([`xshield_threat::codec::flat`]) | fetched whole |
//!
//! Before the kernel gets a list, the list is a file here and `lists` names it as prepared; once it is
//! in the kernel, `lists` names it as the current one. So at every moment, also after a kill, the list
//! in the kernel is one of the two.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xshield_firewall::plan;
use xshield_firewall::threat::{Counts, ListName as KernelName, Posture};
use xshield_host::files::{self, FileError};
use xshield_policy::AssetId;
use xshield_threat::Digest;
use xshield_threat::keep::KeepError;
use xshield_threat::plan::Expansion;
use xshield_wire::keys::PolicyPublicKey;
use xshield_wire::threat::{ListName, ThreatOrder};
use xshield_wire::{Verified, envelope};

use super::error::ThreatFailure;
use crate::problems::problem;
use crate::state::{Repaired, StateDirectory, THREAT_DIRECTORY};

const ORDER: &str = "order";
const LISTS: &str = "lists";
const LIST: &str = "list";
/// A file of a path; its place in the path follows.
const FETCHED: &str = "fetched-";
/// A list that is still being written.
const UNFINISHED: &str = "unfinished";

/// An order as it lies on disk: verbatim, to be verified again.
#[derive(Serialize, Deserialize)]
struct StoredOrder {
    asset: AssetId,
    envelope: String,
}

/// A list on this host's disk, and how it stands in the kernel or is to stand there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptList {
    pub(crate) name: ListName,
    pub(crate) counts: Counts,
    /// From which length on IPv4 and IPv6 prefixes stand in the kernel as single addresses. Changes
    /// keep it: another one is another set of elements.
    pub(crate) expanded_from: (u8, u8),
}

impl KeptList {
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.name.digest.0)
    }

    pub(crate) fn expansion(&self) -> Expansion {
        let (v4_from, v6_from) = self.expanded_from;
        Expansion { v4_from, v6_from }
    }

    /// The list as the kernel names it.
    pub(crate) fn kernel_name(&self) -> KernelName {
        let digest = plan::Digest(self.name.digest.0);
        KernelName { revision: self.name.revision, digest, counts: self.counts }
    }

    pub(crate) fn elements(&self) -> u64 {
        let Counts { hosts4, nets4, hosts6, nets6 } = self.counts;
        [hosts4, nets4, hosts6, nets6].into_iter().map(u64::from).sum()
    }
}

/// Which lists are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lists {
    /// In the kernel.
    pub(crate) current: Option<KeptList>,
    /// On its way into the kernel, or just arrived.
    pub(crate) prepared: Option<KeptList>,
    /// What is done about the list in the kernel.
    pub(crate) posture: Option<Posture>,
    pub(crate) stay: Stay,
}

/// Whether the lists are to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stay {
    #[default]
    Staying,
    /// They are being taken out, which a kill may have stopped halfway.
    Leaving,
}

/// The directory.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// Makes nothing yet.
    pub(crate) fn new(state: &StateDirectory) -> Self {
        Self::at(state.path(THREAT_DIRECTORY))
    }

    /// For whoever only reads.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The order of the last run, verified again; a damaged one counts as none and is named.
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

    pub(crate) fn save_order(&self, order: &Verified<ThreatOrder>) -> Result<(), ThreatFailure> {
        let envelope = String::from_utf8_lossy(order.envelope()).into_owned();
        self.write(ORDER, &StoredOrder { asset: order.asset.clone(), envelope })
    }

    /// Which lists are kept; a damaged file counts as none and is named.
    pub(crate) fn lists(&self, repaired: &mut Repaired) -> Result<Lists, FileError> {
        Ok(self.read(LISTS, repaired)?.unwrap_or_default())
    }

    pub(crate) fn save_lists(&self, lists: &Lists) -> Result<(), ThreatFailure> {
        self.write(LISTS, lists)
    }

    /// Opens a list. What is read is the one that is asked for only when its end was reached.
    pub(crate) fn open(&self, list: &KeptList) -> Result<File, ThreatFailure> {
        open(&self.list(list.digest()))
    }

    /// Whether a list's file is there; its content shows when it is read.
    pub(crate) fn has(&self, list: &KeptList) -> bool {
        self.list(list.digest()).is_file()
    }

    /// Writes a list down. `write` ends with an error when it is not the list of this digest.
    pub(crate) fn write_list<T>(
        &self,
        digest: Digest,
        write: impl FnOnce(&mut File) -> Result<T, KeepError>,
    ) -> Result<T, ThreatFailure> {
        let unfinished = self.root.join(UNFINISHED);
        let mut file = self.begin(&unfinished)?;
        let written = write(&mut file)?;
        file.sync_all().map_err(failed("writing", &unfinished))?;
        let path = self.list(digest);
        fs::rename(&unfinished, &path).map_err(failed("naming", &path))?;
        let directory = File::open(&self.root).and_then(|directory| directory.sync_all());
        directory.map_err(failed("writing", &self.root))?;
        Ok(written)
    }

    /// Where the nth file of a path is downloaded to.
    pub(crate) fn fetched(&self, number: usize) -> PathBuf {
        self.root.join(format!("{FETCHED}{number}"))
    }

    /// A new file, for the owner alone, in the place of a leftover.
    pub(crate) fn begin(&self, path: &Path) -> Result<File, ThreatFailure> {
        self.make()?;
        files::private_file(path).map_err(failed("making", path))
    }

    /// Removes every list that is not kept. What can't be removed now is removed by the next run.
    pub(crate) fn tidy(&self, lists: &Lists) {
        let kept: Vec<PathBuf> = [&lists.current, &lists.prepared]
            .into_iter()
            .flatten()
            .map(|list| self.list(list.digest()))
            .collect();
        let is_list = |path: &Path| path.extension().is_some_and(|end| end == LIST);
        self.remove(|path| is_list(path) && !kept.iter().any(|kept| kept == path));
    }

    /// Removes what was fetched and is of no use any more, also by runs that were killed.
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

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), ThreatFailure> {
        self.make()?;
        Ok(files::write_state(&self.root.join(name), value)?)
    }

    fn make(&self) -> Result<(), ThreatFailure> {
        files::private_directory(&self.root).map_err(failed("making", &self.root))
    }
}

/// Opens a list or a fetched file.
pub(crate) fn open(path: &Path) -> Result<File, ThreatFailure> {
    let unreadable = |source| ThreatFailure::Unreadable { path: path.to_owned(), source };
    File::open(path).map_err(unreadable)
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> ThreatFailure + 'a {
    move |source| ThreatFailure::File { action, path: path.to_owned(), source }
}
