//! What can be done with the threat list in the kernel.

use std::convert::Infallible;
use std::error::Error;
use std::net::IpAddr;

use ipnet::IpNet;
use rustix::thread::{MembarrierCommand, membarrier};

use super::check::{check_delta, refuse_everything, settled};
use super::elements::{Elements, Verb};
use super::guard::Guard;
use super::names::TABLE;
use super::read::{self, Survey};
use super::spots::Spots;
use super::table::ThreatTable;
use crate::error::FirewallError;
use crate::installed::Slot;
use crate::nft::socket::Batch;
use crate::plan::Digest;
use crate::programmed::Generation;
use crate::threat::error::{ThreatError, Unreadable};
use crate::threat::list::{InstalledList, ListName};
use crate::threat::list_set::{Holds, ListSet};
use crate::threat::posture::Posture;
use crate::threat::state::{Difference, Listed, ThreatState};
use crate::{FlowDump, Losses};

impl ThreatTable {
    /// Counts the changes that anyone made to nftables here. While it stays the same, so does the list.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn generation(&mut self) -> Result<Generation, FirewallError> {
        self.link.generation()
    }

    /// What stands in the kernel: names, numbers and everything around the list, without its entries.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn state(&mut self) -> Result<ThreatState, FirewallError> {
        Ok(Survey::read(&mut self.link)?.state)
    }

    /// Puts a whole list in force; see [`ThreatTable::load_from`].
    ///
    /// # Errors
    /// Those of [`ThreatTable::load_from`].
    pub fn load(
        &mut self,
        list: &ListName,
        posture: &Posture,
        entries: impl IntoIterator<Item = IpNet>,
    ) -> Result<(), ThreatError> {
        self.load_from(list, posture, entries.into_iter().map(Ok::<_, Infallible>))
    }

    /// Puts a whole list in force. `entries` are disjoint and in any order; they are read once, in
    /// bounded memory, and may turn out to be damaged until the very last.
    ///
    /// # Errors
    /// When an entry can't be read, the entries are not those that `list` names, or the kernel refuses
    /// one of them or its memory. Then what was in force before is in force, and what was loaded is taken
    /// out again.
    pub fn load_from<E: Error + Send + Sync + 'static>(
        &mut self,
        list: &ListName,
        posture: &Posture,
        entries: impl IntoIterator<Item = Result<IpNet, E>>,
    ) -> Result<(), ThreatError> {
        let mut entries =
            entries.into_iter().map(|entry| entry.map_err(|error| Box::new(error) as Unreadable));
        self.load_each(list, posture, &mut entries)
    }

    /// Not generic: this crate is built for speed, those that use it may be not.
    pub(super) fn load_each(
        &mut self,
        list: &ListName,
        posture: &Posture,
        entries: &mut dyn Iterator<Item = Result<IpNet, Unreadable>>,
    ) -> Result<(), ThreatError> {
        let state = Survey::read(&mut self.link)?.state;
        let slot = state.standing().map_or(Slot::A, |old| old.slot.other());
        self.stage(slot, &list.counts)?;
        let result = self.fill(slot, list, entries).and_then(|()| self.switch(slot, list, posture));
        if result.is_err() {
            // Nothing leads there. What can't be cleaned now is cleaned by the next load.
            let _ = self.clean(slot, "taking out the part of a threat list that was loaded");
            return result;
        }
        if state.standing().is_some() {
            // Two transactions on, a packet that is still on its way would find the old list gone. Where
            // the kernel can't wait for it, the window is that of one packet's processing.
            let _ = membarrier(MembarrierCommand::Global);
        }
        self.clean(slot.other(), "taking out the threat list that was in force before")
    }

    /// Turns the list in force into another one, in one transaction: every entry that is removed must be
    /// there, and none that is added.
    ///
    /// # Errors
    /// [`ThreatError::WrongBase`], [`ThreatError::NoRoom`], or the kernel's refusal of any entry; then
    /// nothing was changed.
    pub fn apply_delta(
        &mut self,
        base: Digest,
        list: &ListName,
        adds: &[IpNet],
        removes: &[IpNet],
        posture: &Posture,
    ) -> Result<(), ThreatError> {
        let action = "changing the threat list";
        refuse_everything(adds, action)?;
        self.change(action, |survey, batch| {
            let standing = settled(survey, action)?;
            let found = standing.list.digest;
            if found != base {
                return Err(ThreatError::WrongBase { base, found });
            }
            let slot = standing.slot;
            check_delta(survey, slot, list, &standing.list.counts, adds, removes)?;
            let mut elements = Elements::new(Verb::Remove, slot);
            removes.iter().for_each(|entry| elements.put(entry, batch));
            elements.finish(batch);
            let mut elements = Elements::new(Verb::Add, slot);
            adds.iter().for_each(|entry| elements.put(entry, batch));
            elements.finish(batch);
            let guard = Guard::new(posture, &list.counts);
            let new = InstalledList { slot, list: *list, guard: guard.digest() };
            let same_guard = new.guard == standing.guard
                && matches!(survey.state, ThreatState::InForce(_))
                && list.counts.looks_like(&standing.list.counts);
            if !same_guard {
                batch.guard(survey, slot, &guard);
            }
            batch.about(survey, &new);
            Ok(())
        })
    }

    /// Takes another posture, or repairs the chains, without touching the list. Does nothing when all is
    /// as it should be.
    ///
    /// # Errors
    /// [`ThreatError::NotInForce`] without a complete list, or the kernel's refusal; then nothing was
    /// changed.
    pub fn set_posture(&mut self, posture: &Posture) -> Result<(), ThreatError> {
        let action = "changing the modes of the threat list";
        self.change(action, |survey, batch| {
            let standing = settled(survey, action)?;
            let guard = Guard::new(posture, &standing.list.counts);
            let new = InstalledList { guard: guard.digest(), ..standing.clone() };
            if survey.state == ThreatState::InForce(new.clone()) {
                return Ok(());
            }
            batch.guard(survey, standing.slot, &guard);
            batch.about(survey, &new);
            Ok(())
        })
    }

    /// Reads the whole list and compares it with `entries`, in bounded memory: SHA-256 over every entry,
    /// added up. Takes some seconds for a million entries; nothing differs when the result is empty.
    ///
    /// # Errors
    /// [`ThreatError::NotInForce`], or [`FirewallError::Busy`] when the list was changed meanwhile.
    pub fn verify_full(
        &mut self,
        entries: impl IntoIterator<Item = IpNet>,
    ) -> Result<Vec<Difference>, ThreatError> {
        let action = "comparing the threat list with the kernel's";
        let before = Survey::read(&mut self.link)?;
        let standing = settled(&before, action)?;
        let differences = read::verify(&mut self.link, standing.slot, entries)?;
        let after = Survey::read(&mut self.link)?;
        match after.state.standing() == Some(standing) {
            true => Ok(differences),
            false => Err(FirewallError::Busy { action }.into()),
        }
    }

    /// Asks for some of `entries`, of those sets whose size the kernel does not tell: of prefixes none
    /// does, of addresses none before Linux 6.16. Returns one that is not there. That finds a set that was
    /// emptied, and any entry that is gone from a set of at most [`SPOTS`](super::SPOTS); of a larger one, only what is
    /// gone from among the evenly spread entries that are asked for. Takes some milliseconds.
    ///
    /// # Errors
    /// [`ThreatError::NotInForce`], or when the kernel can't be asked.
    pub fn a_missing_entry(
        &mut self,
        entries: impl IntoIterator<Item = IpNet>,
    ) -> Result<Option<IpNet>, ThreatError> {
        let action = "checking whether the threat list is complete";
        let survey = Survey::read(&mut self.link)?;
        let standing = settled(&survey, action)?;
        let mut spots = Spots::new(&survey, standing);
        for entry in entries {
            if let Some(set) = spots.takes(&entry) {
                let at =
                    read::element_at(&mut self.link, set, standing.slot, entry.network(), false)?;
                if at != Some(entry.network()) {
                    return Ok(Some(entry));
                }
            }
        }
        Ok(None)
    }

    /// The flows of listed peers that were counted; [`crate::FlowKind::Denied`] are those that were
    /// dropped, [`crate::FlowKind::WouldDeny`] those that were let through. Nothing is cleared: see
    /// [`crate::flows::Differ`].
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn matches(&mut self) -> Result<FlowDump, FirewallError> {
        crate::nft::read::flows(&mut self.link, TABLE)
    }

    /// The packets of listed peers that were not counted for want of room.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn losses(&mut self) -> Result<Losses, FirewallError> {
        crate::nft::read::losses(&mut self.link, TABLE)
    }

    /// Whether the list in force contains an address, and in which entry.
    ///
    /// # Errors
    /// [`ThreatError::NotInForce`], or when the kernel can't be asked.
    pub fn lookup(&mut self, address: IpAddr) -> Result<Option<Listed>, ThreatError> {
        let action = "looking up an address in the threat list";
        let survey = Survey::read(&mut self.link)?;
        let slot = settled(&survey, action)?.slot;
        let host = ListSet::of(&IpNet::from(address));
        let mut element =
            |set, is_end| read::element_at(&mut self.link, set, slot, address, is_end);
        if element(host, false)?.is_some() {
            return Ok(Some(Listed { first: address, last: address }));
        }
        let nets = ListSet { holds: Holds::Nets, ..host };
        let Some(first) = element(nets, false)? else { return Ok(None) };
        let last = match element(nets, true)? {
            Some(IpAddr::V4(end)) => IpAddr::V4(u32::from(end).wrapping_sub(1).into()),
            Some(IpAddr::V6(end)) => IpAddr::V6(u128::from(end).wrapping_sub(1).into()),
            None if first.is_ipv4() => IpAddr::V4(u32::MAX.into()),
            None => IpAddr::V6(u128::MAX.into()),
        };
        Ok(Some(Listed { first, last }))
    }

    /// Takes away table `inet xshield_threat` with all that is in it, and nothing else.
    ///
    /// # Errors
    /// When the kernel refuses; then nothing was changed.
    pub fn remove(&mut self) -> Result<(), FirewallError> {
        let mut batch = Batch::of_table(TABLE, None);
        batch.table();
        batch.delete_table();
        self.link.commit(batch, "removing the threat list's table")
    }
}
