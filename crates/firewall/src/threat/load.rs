//! Filling a whole list into the slot that nothing leads to, and leading packets to it.

use std::error::Error;

use ipnet::IpNet;
use rustix::thread::{MembarrierCommand, membarrier};

use super::check::{check_filled, refuse_everything};
use super::elements::{Elements, Verb};
use super::error::ThreatError;
use super::guard::{Guard, ListSet, Posture, recorder_sets};
use super::list::{Counts, ListName, Standing};
use super::read::ThreatState;
use super::{TABLE, ThreatTable};
use crate::nft::slot::Slot;
use crate::nft::socket::Batch;

/// What a transaction of a first load is kept below, in bytes: it bounds this program's memory and the
/// kernel's, and elements that are put in force while they are still in the processor's cache cost a
/// tenth less.
const LOAD_BYTES: usize = 1 << 17;

impl ThreatTable {
    /// Makes empty sets in a slot that nothing leads to.
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

    pub(super) fn fill<E: Error + Send + Sync + 'static>(
        &mut self,
        slot: Slot,
        list: &ListName,
        entries: impl IntoIterator<Item = Result<IpNet, E>>,
    ) -> Result<(), ThreatError> {
        let action = "loading a threat list";
        let mut elements = Elements::new(Verb::Add, slot);
        let mut batch = Batch::of_table(TABLE, None);
        let mut found = Counts::default();
        for entry in entries {
            let unreadable = |source| ThreatError::Unreadable {
                revision: list.revision,
                source: Box::new(source),
            };
            let entry = entry.map_err(unreadable)?;
            refuse_everything(&[entry], action)?;
            let count = found.of_mut(ListSet::of(&entry));
            *count = count.saturating_add(1);
            elements.put(&entry, &mut batch);
            if batch.len() > LOAD_BYTES {
                self.link.commit(batch, action)?;
                batch = Batch::of_table(TABLE, None);
            }
        }
        elements.finish(&mut batch);
        if !batch.is_empty() {
            self.link.commit(batch, action)?;
        }
        match found == list.counts {
            true => Ok(()),
            false => {
                let (revision, named) = (list.revision, list.counts);
                Err(ThreatError::Miscounted { revision, named, found })
            }
        }
    }

    /// Puts the list in a slot in force, and takes out the other one.
    pub(super) fn switch(
        &mut self,
        slot: Slot,
        list: &ListName,
        posture: &Posture,
    ) -> Result<(), ThreatError> {
        let guard = Guard::new(posture, &list.counts);
        let standing = Standing { slot, list: *list, guard: guard.digest() };
        self.change("putting a threat list in force", |survey, batch| {
            check_filled(survey, slot, list)?;
            batch.guard(survey, slot, &guard);
            batch.about(survey, &standing);
            Ok(())
        })?;
        // Two transactions on, a packet that is still on its way would find the old list gone. Where the
        // kernel can't wait for it, the window is that of one packet's processing.
        let _ = membarrier(MembarrierCommand::Global);
        self.clean(slot.other(), "taking out the threat list that was in force before")?;
        Ok(())
    }

    /// Takes out what is left in a slot that nothing leads to.
    pub(super) fn clean(&mut self, slot: Slot, action: &'static str) -> Result<(), ThreatError> {
        self.change(action, |survey, batch| {
            batch.delete_slot(survey, slot);
            Ok(())
        })
    }
}
