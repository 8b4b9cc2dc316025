//! From the list at hand to the ordered one, file by file.

use xshield_threat::Digest;
use xshield_wire::threat::{ListName, ThreatFileKind, ThreatPath};

use super::failure::ThreatFailure;
use super::lists::ExpectedList;
use super::ports::ThreatWorld;
use super::work::ThreatWork;
use crate::problems::chain;
use crate::step::Step;

/// The most files of a path, and their bytes together.
const MOST_FILES: usize = 64;
const MOST_BYTES: u64 = 256 << 20;

impl<W: ThreatWorld> ThreatWork<'_, W> {
    /// Fetches a list as cheaply as the platform knows, and puts it in force. When that fails for the
    /// change's sake, the whole list is fetched instead.
    pub(super) fn fetch_list(&mut self, wanted: &ListName) -> Result<(), ThreatFailure> {
        if !self.world.was_reached() {
            return Err(ThreatFailure::NotHere);
        }
        let from = self.threat.lists.current.as_ref().map(|list| list.digest());
        match self.follow_path(from, wanted) {
            Err(error) if from.is_some() && error.whole_list_may_help() => {
                self.note("threat-delta-refused", chain(&error));
                self.fetch_whole_list(wanted)
            }
            result => result,
        }
    }

    /// Fetches a list whatever is at hand, and puts it in force.
    pub(super) fn fetch_whole_list(&mut self, wanted: &ListName) -> Result<(), ThreatFailure> {
        if !self.world.was_reached() {
            return Err(ThreatFailure::NotHere);
        }
        self.follow_path(None, wanted)
    }

    fn follow_path(
        &mut self,
        from: Option<Digest>,
        wanted: &ListName,
    ) -> Result<(), ThreatFailure> {
        let path = self.world.path(from)?;
        check(&path, from, Digest(wanted.digest.0))?;
        self.world.remove_downloads();
        let result = self.take_path(&path, wanted);
        self.world.remove_downloads();
        result
    }

    fn take_path(&mut self, path: &ThreatPath, wanted: &ListName) -> Result<(), ThreatFailure> {
        for (number, file) in path.files.iter().enumerate() {
            self.world.download(number, file)?;
        }
        self.world.step(Step::ThreatFetched);
        for (number, file) in path.files.iter().enumerate() {
            let current = self.threat.lists.current.as_ref();
            let before = current.map_or(0, |list| list.name.revision);
            let expected = ExpectedList { to: Digest(file.to.0), ordered: wanted, before };
            let base = match (file.kind, current) {
                (ThreatFileKind::Snapshot, _) => None,
                (ThreatFileKind::Delta, Some(base)) => Some(base),
                (ThreatFileKind::Delta, None) => return Err(NOTHING_TO_CHANGE),
            };
            let made = self.world.make_list(number, base, &expected)?;
            self.put_in_force(made)?;
        }
        Ok(())
    }
}

const NOTHING_TO_CHANGE: ThreatFailure =
    ThreatFailure::Path { reason: "it begins with a change, and there is nothing to change" };

/// A path that can be followed leads from what is at hand to the ordered list, within bounds.
fn check(path: &ThreatPath, from: Option<Digest>, target: Digest) -> Result<(), ThreatFailure> {
    let refuse = |reason| Err(ThreatFailure::Path { reason });
    let bytes = path.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.bytes));
    match (path.files.first(), path.files.last()) {
        (Some(first), _) if from.is_none() && first.kind == ThreatFileKind::Delta => {
            Err(NOTHING_TO_CHANGE)
        }
        (_, Some(last)) if last.to.0 != target.0 => refuse("it leads to another list"),
        (None, _) | (_, None) => refuse("it is empty"),
        _ if path.files.len() > MOST_FILES => refuse("it has too many files"),
        _ if bytes > MOST_BYTES => refuse("its files are too large"),
        _ => Ok(()),
    }
}
