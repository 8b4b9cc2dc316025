//! The operations on the threat list in the kernel.

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
use super::spots::EntrySelector;
use super::table::ThreatTable;
use crate::error::FirewallError;
use crate::installed::Slot;
use crate::nft::socket::Batch;
use crate::plan::Digest;
use crate::programmed::Generation;
use crate::threat::error::{ThreatError, Unreadable};
use crate::threat::list::{InstalledList, ListName};
use crate::threat::list_set::{ListSet, SetContent};
use crate::threat::posture::Posture;
use crate::threat::state::{Difference, Listed, ThreatState};
use crate::{FlowDump, Losses};

impl ThreatTable {
    /// The number of changes of nftables in this network namespace, by any program. As long as it stays the
    /// same, so does the list.
    ///
    /// # Errors
    /// When the kernel can't be read.
    pub fn generation(&mut self) -> Result<Generation, FirewallError> {
        self.link.generation()
    }

    /// The state of the kernel: names, numbers and everything around the list, without its entries.
    ///
    /// # Errors
    /// When the kernel can't be read.
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

    /// Puts a whole list in force. `entries` are disjoint and in any order; they are read once, with bounded
    /// memory, and damage may be found as late as at the last one.
    ///
    /// # Errors
    /// When an entry can't be read, the entries are not those that `list` names, or the kernel refuses one of
    /// them or its memory. Then the previous list is still in force, and what was loaded is deleted.
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

    /// Not generic, so that it is compiled with this crate's optimization level, whatever that of its users.
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
            // The slot is unreferenced. If it can't be cleaned now, the next load does it.
            let _ = self.clean(slot, "deleting the loaded part of a threat list");
            return result;
        }
        if state.standing().is_some() {
            // Two transactions later, a packet still being processed would find the old list gone. If the
            // kernel can't wait for it, the window is the processing of one packet.
            let _ = membarrier(MembarrierCommand::Global);
        }
        self.clean(slot.other(), "deleting the previous threat list")
    }

    /// Changes the list in force to another one in one transaction: every removed entry must exist, and no
    /// added one.
    ///
    /// # Errors
    /// [`ThreatError::WrongBase`], [`ThreatError::NoRoom`], or the kernel's refusal of any entry; nothing is
    /// changed then.
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

    /// Applies a posture, or repairs the chains, without touching the list. Does nothing if everything is as
    /// wanted.
    ///
    /// # Errors
    /// [`ThreatError::NotInForce`] without a complete list, or the kernel's refusal; nothing is changed then.
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

    /// Reads the whole list and compares it with `entries`, with bounded memory: by sums of the SHA-256 of
    /// every entry. Takes some seconds for a million entries; the result is empty if nothing differs.
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

    /// Looks up some of `entries` in those sets whose size the kernel does not report (prefixes, and
    /// addresses before Linux 6.16), and returns a missing one. That detects an emptied set, and any missing
    /// entry of a set of at most [`SPOTS`](super::SPOTS) entries; in a larger one, only those among the
    /// evenly spread entries that are looked up. Takes some milliseconds.
    ///
    /// # Errors
    /// [`ThreatError::NotInForce`], or when the kernel can't be read.
    pub fn a_missing_entry(
        &mut self,
        entries: impl IntoIterator<Item = IpNet>,
    ) -> Result<Option<IpNet>, ThreatError> {
        let action = "checking whether the threat list is complete";
        let survey = Survey::read(&mut self.link)?;
        let standing = settled(&survey, action)?;
        let mut spots = EntrySelector::new(&survey, standing);
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

    /// The recorded flows of listed peers; [`crate::FlowKind::Denied`] are those that were dropped,
    /// [`crate::FlowKind::WouldDeny`] those that passed. Nothing is reset: see [`crate::flows::Differ`].
    ///
    /// # Errors
    /// When the kernel can't be read.
    pub fn matches(&mut self) -> Result<FlowDump, FirewallError> {
        crate::nft::read::flows(&mut self.link, TABLE)
    }

    /// The packets of listed peers that were not counted because the recorder was full.
    ///
    /// # Errors
    /// When the kernel can't be read.
    pub fn losses(&mut self) -> Result<Losses, FirewallError> {
        crate::nft::read::losses(&mut self.link, TABLE)
    }

    /// Whether the list in force contains an address, and in which entry.
    ///
    /// # Errors
    /// [`ThreatError::NotInForce`], or when the kernel can't be read.
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
        let nets = ListSet { holds: SetContent::Nets, ..host };
        let Some(first) = element(nets, false)? else { return Ok(None) };
        let last = match element(nets, true)? {
            Some(IpAddr::V4(end)) => IpAddr::V4(u32::from(end).wrapping_sub(1).into()),
            Some(IpAddr::V6(end)) => IpAddr::V6(u128::from(end).wrapping_sub(1).into()),
            None if first.is_ipv4() => IpAddr::V4(u32::MAX.into()),
            None => IpAddr::V6(u128::MAX.into()),
        };
        Ok(Some(Listed { first, last }))
    }

    /// Deletes table `inet xshield_threat` with its content, and nothing else.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is changed then.
    pub fn remove(&mut self) -> Result<(), FirewallError> {
        let mut batch = Batch::of_table(TABLE, None);
        batch.table();
        batch.delete_table();
        self.link.commit(batch, "removing the threat list's table")
    }
}
