//! Fills a whole list into the unreferenced slot, and puts it in force.

use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use ipnet::IpNet;

use super::check::{check_filled, refuse_everything};
use super::elements::{Elements, Verb};
use super::guard::{Guard, recorder_sets};
use super::names::TABLE;
use super::table::ThreatTable;
use crate::installed::Slot;
use crate::nft::socket::Batch;
use crate::threat::error::{ThreatError, Unreadable};
use crate::threat::list::{Counts, InstalledList, ListName};
use crate::threat::list_set::ListSet;
use crate::threat::posture::Posture;
use crate::threat::state::ThreatState;

/// The largest transaction of a load, in bytes, which limits the memory of this program and of the kernel.
const LOAD_BYTES: usize = 1 << 17;
/// The number of transactions encoded in advance, so that the kernel seldom waits for them on a busy machine.
const AHEAD: usize = 8;
const ACTION: &str = "loading a threat list";

impl ThreatTable {
    /// Creates empty sets in an unreferenced slot.
    pub(super) fn stage(&mut self, slot: Slot, counts: &Counts) -> Result<(), ThreatError> {
        self.change("making room for a threat list", |survey, batch| {
            batch.table();
            if matches!(survey.state, ThreatState::Broken { .. }) {
                batch.delete_table();
                batch.table();
            } else {
                batch.delete_slot(survey, slot);
            }
            for set in recorder_sets() {
                batch.flow_set(&set);
            }
            for set in ListSet::ALL {
                batch.list_set(set, slot, counts.of(set));
            }
            Ok(())
        })
    }

    /// Reads and encodes entries while another thread waits for the kernel to process the previous ones.
    pub(super) fn fill(
        &mut self,
        slot: Slot,
        list: &ListName,
        entries: &mut dyn Iterator<Item = Result<IpNet, Unreadable>>,
    ) -> Result<(), ThreatError> {
        let (full, batches) = sync_channel(AHEAD);
        let link = &mut self.link;
        let commit = move || batches.into_iter().try_for_each(|batch| link.commit(batch, ACTION));
        thread::scope(|scope| {
            let committer = thread::Builder::new().spawn_scoped(scope, commit);
            let committer = committer.map_err(|source| ThreatError::Thread { source })?;
            let encoded = encode(slot, list, entries, full);
            // An error of the kernel comes first, since it makes encoding end early.
            committer.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            encoded
        })
    }

    /// Makes the list in a slot the one that is looked up.
    pub(super) fn switch(
        &mut self,
        slot: Slot,
        list: &ListName,
        posture: &Posture,
    ) -> Result<(), ThreatError> {
        let guard = Guard::new(posture, &list.counts);
        let standing = InstalledList { slot, list: *list, guard: guard.digest() };
        self.change("putting a threat list in force", |survey, batch| {
            check_filled(survey, slot, list)?;
            batch.guard(survey, slot, &guard);
            batch.about(survey, &standing);
            Ok(())
        })
    }

    /// Deletes the content of an unreferenced slot.
    pub(super) fn clean(&mut self, slot: Slot, action: &'static str) -> Result<(), ThreatError> {
        self.change(action, |survey, batch| {
            batch.delete_slot(survey, slot);
            Ok(())
        })
    }
}

/// Sends batches with all entries until the other end is closed.
fn encode(
    slot: Slot,
    list: &ListName,
    entries: &mut dyn Iterator<Item = Result<IpNet, Unreadable>>,
    full: SyncSender<Batch>,
) -> Result<(), ThreatError> {
    let mut elements = Elements::new(Verb::Add, slot);
    let mut batch = Batch::of_table(TABLE, None);
    let mut found = Counts::default();
    for entry in entries {
        let unreadable = |source| ThreatError::Unreadable { revision: list.revision, source };
        let entry = entry.map_err(unreadable)?;
        refuse_everything(&[entry], ACTION)?;
        let count = found.of_mut(ListSet::of(&entry));
        *count = count.saturating_add(1);
        elements.put(&entry, &mut batch);
        if batch.len() > LOAD_BYTES {
            let whole = std::mem::replace(&mut batch, Batch::of_table(TABLE, None));
            if full.send(whole).is_err() {
                return Ok(());
            }
        }
    }
    elements.finish(&mut batch);
    if !batch.is_empty() {
        let _refused_earlier = full.send(batch);
    }
    match found == list.counts {
        true => Ok(()),
        false => {
            let (revision, named) = (list.revision, list.counts);
            Err(ThreatError::Miscounted { revision, named, found })
        }
    }
}
