//! The update path from the list that a host has to the desired one, with the fewest bytes.
//!
//! Snapshots exist for every kept revision and for every part assigned to hosts, and deltas from each
//! revision to the next. Any other delta is created when the first host requests it, and kept.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use xshield_model::Timestamp;
use xshield_model::file_name::FileName;
use xshield_store::threat_lists::StoredFile;
use xshield_store::{Store, StoreResult, commit, threat_lists};
use xshield_threat::codec::path::{File, cheapest};
use xshield_threat::{Digest, codec};

use crate::error::ThreatError;
use crate::files::{FileError, Files};
use crate::in_force::InForce;
use crate::parts::SharedSet;

/// The available files.
#[derive(Debug)]
pub struct Paths {
    store: Store,
    files: Arc<Files>,
    in_force: InForce,
    known: RwLock<Vec<StoredFile>>,
    /// One delta is created at a time: ten thousand hosts that request the same one wait for it.
    making: tokio::sync::Mutex<()>,
}

impl Paths {
    pub(crate) fn new(store: Store, files: Arc<Files>, in_force: InForce) -> Self {
        let making = tokio::sync::Mutex::default();
        Self { store, files, in_force, known: RwLock::default(), making }
    }

    /// Loads the files that the database knows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(&self) -> StoreResult<()> {
        let known = threat_lists::files(&mut *self.store.read().await?).await?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    pub(crate) fn add(&self, new: impl IntoIterator<Item = StoredFile>) {
        let mut files = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for file in new {
            files.retain(|known| known.name != file.name);
            files.push(file);
        }
    }

    /// Removes deleted files from all paths.
    pub fn forget(&self, names: &BTreeSet<FileName>) {
        let mut files = self.known.write().unwrap_or_else(PoisonError::into_inner);
        files.retain(|known| !names.contains(&known.name));
    }

    fn known(&self) -> Vec<StoredFile> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, base: Option<Digest>, target: Digest) -> Option<StoredFile> {
        let files = self.known.read().unwrap_or_else(PoisonError::into_inner);
        files.iter().find(|file| file.base == base && file.target == target).copied()
    }

    /// The list with this digest; `None` if its snapshot is not kept or is damaged. Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn set(&self, digest: Digest) -> Result<Option<SharedSet>, FileError> {
        let current = self.in_force.get();
        if current.revision.is_some_and(|name| name.digest == digest)
            && current.list.set().len() as u64 == current.revision.map_or(0, |name| name.entries)
        {
            return Ok(Some(Arc::new(current.list.set().clone())));
        }
        let Some(snapshot) = self.find(None, digest) else { return Ok(None) };
        let bytes = match self.files.get(snapshot.name) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(FileError::Damaged { path }) => {
                tracing::error!(path = %path.display(), "a stored threat list is damaged");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let set = codec::read_snapshot(bytes.as_slice(), codec::Limits::default());
        Ok(set.ok().filter(|set| set.digest() == digest).map(Arc::new))
    }

    /// The files that lead from the list `from` to the list `to`, in order.
    ///
    /// # Errors
    /// When database or disk fail, or the list is not kept.
    pub async fn lead(
        self: &Arc<Self>,
        from: Option<Digest>,
        to: Digest,
    ) -> Result<Vec<StoredFile>, ThreatError> {
        if from == Some(to) {
            return Ok(Vec::new());
        }
        if let Some(from) = from
            && self.find(Some(from), to).is_none()
            && self.find(None, from).is_some()
        {
            self.make_delta(from, to).await?;
        }
        if self.find(None, to).is_none() {
            self.make_snapshot(to).await?;
        }
        let known = self.known();
        let edge = |file: &StoredFile| match file.base {
            None => File::Snapshot { to: file.target, bytes: file.bytes },
            Some(from) => File::Delta { from, to: file.target, bytes: file.bytes },
        };
        let edges: Vec<_> = known.iter().map(edge).collect();
        let path = cheapest(from, to, &edges).ok_or_else(|| {
            tracing::error!(%to, "there is no update path to a list that a host should have");
            FileError::Damaged { path: to.to_string().into() }
        })?;
        let file = |step: File<Digest>| match step {
            File::Snapshot { to, .. } => self.find(None, to),
            File::Delta { from, to, .. } => self.find(Some(from), to),
        };
        Ok(path.into_iter().filter_map(file).collect())
    }

    async fn make_delta(self: &Arc<Self>, from: Digest, to: Digest) -> Result<(), ThreatError> {
        let _turn = self.making.lock().await;
        if self.find(Some(from), to).is_some() {
            return Ok(());
        }
        let worker = self.clone();
        let made = tokio::task::spawn_blocking(move || worker.delta(from, to)).await?;
        self.keep(made).await
    }

    /// Recreates a lost snapshot if its list is in memory.
    async fn make_snapshot(self: &Arc<Self>, of: Digest) -> Result<(), ThreatError> {
        let _turn = self.making.lock().await;
        let worker = self.clone();
        let made = tokio::task::spawn_blocking(move || worker.snapshot(of)).await?;
        self.keep(made).await
    }

    async fn keep(&self, made: Result<Option<StoredFile>, FileError>) -> Result<(), ThreatError> {
        let Some(file) = made? else { return Ok(()) };
        let mut tx = self.store.write().await?;
        threat_lists::put_file(&mut tx, &file).await?;
        commit(tx).await?;
        self.add([file]);
        Ok(())
    }

    /// The snapshot of a list; `None` if the list is not in memory.
    fn snapshot(&self, of: Digest) -> Result<Option<StoredFile>, FileError> {
        let Some(set) = self.set(of)? else { return Ok(None) };
        self.written(None, of, &codec::snapshot(&set)).map(Some)
    }

    /// The delta between two lists; `None` if one of them is not kept.
    fn delta(&self, from: Digest, to: Digest) -> Result<Option<StoredFile>, FileError> {
        let (Some(base), Some(target)) = (self.set(from)?, self.set(to)?) else { return Ok(None) };
        self.written(Some(from), to, &codec::delta(&base, &target)).map(Some)
    }

    fn written(
        &self,
        base: Option<Digest>,
        target: Digest,
        bytes: &[u8],
    ) -> Result<StoredFile, FileError> {
        let (bytes, name) = (bytes.len() as u64, self.files.put(bytes)?);
        Ok(StoredFile { name, base, target, bytes, created_at: Timestamp::now() })
    }
}
