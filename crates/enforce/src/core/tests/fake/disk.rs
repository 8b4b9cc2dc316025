//! The simulated host's disk.

use super::*;

/// What is on disk.
#[derive(Clone, Default)]
pub(in crate::core::tests) struct Disk {
    pub(super) known_good: Option<LastKnownGood>,
    /// What runs remember, as it is written.
    pub(super) progress: Vec<u8>,
    pub(super) order: Option<Verified<ThreatOrder>>,
    pub(super) lists: Lists,
    /// The lists whose files are there.
    pub(super) files: BTreeSet<u64>,
    pub(super) spool: BTreeMap<u64, Waiting>,
    pub(super) next_record: u64,
    pub(super) losses: Losses,
}

/// A record of the spool.
#[derive(Clone)]
pub(super) struct Waiting {
    pub(super) bytes: Vec<u8>,
    pub(super) items: u64,
}

impl Disk {
    pub(super) fn has(&self, list: &KeptList) -> bool {
        self.files.contains(&list.name.revision)
    }
}

/// What runs remember, from what was written.
pub(super) fn progress_of(bytes: &[u8]) -> Progress {
    match bytes {
        [] => Progress::default(),
        bytes => serde_json::from_slice(bytes).expect("a run wrote it"),
    }
}

/// A disk that takes nothing more.
pub(super) struct NotSaved;
