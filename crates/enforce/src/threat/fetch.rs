//! Fetches the files of a list from the platform to disk.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use ring::digest::{Context, SHA256};
use xshield_threat::Digest;
use xshield_wire::threat::{ListName, ThreatFile, ThreatFileKind, ThreatPath};

use super::error::ThreatFailure;
use super::make::{self, ExpectedList};
use super::work::ThreatWork;
use crate::problems::chain;
use crate::reached;
use crate::step::Step;
use crate::surroundings::Downloaded;

/// The most files of a path, and their total size in bytes.
const MOST_FILES: usize = 64;
const MOST_BYTES: u64 = 256 << 20;

impl ThreatWork<'_, '_> {
    /// Fetches a list by the smallest path that the platform offers, and puts it in force. If that fails
    /// because of the change, the whole list is fetched instead.
    pub(super) fn fetch_list(&mut self, wanted: &ListName) -> Result<(), ThreatFailure> {
        if !self.exchange.was_reached() {
            return Err(ThreatFailure::NotHere);
        }
        let from = self.threat.lists.current.as_ref().map(|list| list.digest());
        match self.follow_path(from, wanted) {
            Err(error) if from.is_some() && error.is_of_the_change() => {
                self.run.note("threat-delta-refused", chain(&error));
                self.fetch_whole_list(wanted)
            }
            result => result,
        }
    }

    /// Fetches a complete list, whatever the host has, and puts it in force.
    pub(super) fn fetch_whole_list(&mut self, wanted: &ListName) -> Result<(), ThreatFailure> {
        if !self.exchange.was_reached() {
            return Err(ThreatFailure::NotHere);
        }
        self.follow_path(None, wanted)
    }

    fn follow_path(
        &mut self,
        from: Option<Digest>,
        wanted: &ListName,
    ) -> Result<(), ThreatFailure> {
        let path = self.exchange.client.threat_path(from)?;
        check(&path, from, Digest(wanted.digest.0))?;
        self.threat.store.tidy_fetched();
        let result = self.take_path(&path, wanted);
        self.threat.store.tidy_fetched();
        result
    }

    fn take_path(&mut self, path: &ThreatPath, wanted: &ListName) -> Result<(), ThreatFailure> {
        let mut fetched = Vec::with_capacity(path.files.len());
        for (number, file) in path.files.iter().enumerate() {
            fetched.push(self.fetch_file(number, file)?);
        }
        reached::step(Step::ThreatFetched);
        for (file, fetched) in path.files.iter().zip(&fetched) {
            let current = self.threat.lists.current.as_ref();
            let before = current.map_or(0, |list| list.name.revision);
            let expected = ExpectedList { to: Digest(file.to.0), ordered: wanted, before };
            let store = &self.threat.store;
            let made = match (file.kind, current) {
                (ThreatFileKind::Snapshot, _) => make::from_snapshot(store, fetched, &expected)?,
                (ThreatFileKind::Delta, Some(base)) => {
                    make::from_change(store, fetched, base, &expected)?
                }
                (ThreatFileKind::Delta, None) => {
                    let reason = "it begins with a change, but the host has no list to change";
                    return Err(ThreatFailure::Path { reason });
                }
            };
            self.put_in_force(made)?;
        }
        Ok(())
    }

    fn fetch_file(&mut self, number: usize, file: &ThreatFile) -> Result<PathBuf, ThreatFailure> {
        let path = self.threat.store.fetched(number);
        let store = &self.threat.store;
        let (watch, whole) = (self.run.surroundings.watch, file.bytes);
        let begin = || {
            let file = store.begin(&path).map_err(io::Error::other)?;
            Ok(Summed { file, sum: Context::new(&SHA256), bytes: 0, whole, watch })
        };
        let Summed { sum, bytes, .. } = self.exchange.client.threat_file(file, begin)?;
        match bytes == file.bytes && sum.finish().as_ref() == file.sha256.0 {
            true => Ok(path),
            false => Err(ThreatFailure::WrongFile),
        }
    }
}

/// Checks that a path leads from the host's list to the ordered list, within limits.
fn check(path: &ThreatPath, from: Option<Digest>, target: Digest) -> Result<(), ThreatFailure> {
    let refuse = |reason| Err(ThreatFailure::Path { reason });
    let bytes = path.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.bytes));
    match (path.files.first(), path.files.last()) {
        (Some(first), _) if from.is_none() && first.kind == ThreatFileKind::Delta => {
            refuse("it begins with a change, but the host has no list to change")
        }
        (_, Some(last)) if last.to.0 != target.0 => refuse("it leads to another list"),
        (None, _) | (_, None) => refuse("it is empty"),
        _ if path.files.len() > MOST_FILES => refuse("it has too many files"),
        _ if bytes > MOST_BYTES => refuse("its files are too large"),
        _ => Ok(()),
    }
}

/// A file whose SHA-256 is computed while it is written.
struct Summed {
    file: File,
    sum: Context,
    bytes: u64,
    /// The expected number of bytes.
    whole: u64,
    watch: fn(Downloaded),
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sum.update(&bytes[..written]);
        self.bytes += written as u64;
        (self.watch)(Downloaded { bytes: self.bytes, whole: self.whole });
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
