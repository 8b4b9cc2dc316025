//! The threat list's table over a filter engine.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::objects::{
    self, LIST_PROVIDER, LIST_SUBLAYER, Modes, blocks, direction, entry_of, guards, layers,
    mark_keys, marks, read_mark,
};
use crate::error::FirewallError;
use crate::flows::{FlowDump, Losses};
use crate::installed::Slot;
use crate::plan::Digest;
use crate::programmed::Generation;
use crate::threat::{
    Counts, Difference, InstalledList, ListName, ListTable, Listed, Posture, ThreatError,
    ThreatState, Unreadable,
};
use crate::wfp::filter_engine::{FilterEngine, ObjectChange, SessionKind, Transaction};
use crate::wfp::model::{Filter, ObjectKey};

/// Filters that one transaction adds while a list is loaded.
const AT_A_TIME: usize = 2_048;
/// Entries that are looked for at every run.
const SAMPLE: u64 = 64;

/// The threat list in a filter engine.
#[derive(Debug, Clone)]
pub struct WfpThreatTable<E> {
    engine: E,
}

/// What is in the list's sublayer.
#[derive(Default)]
struct Found {
    /// The keys of filters that block an entry, as we add them.
    blocks: BTreeSet<ObjectKey>,
    /// All others of our provider.
    others: BTreeSet<ObjectKey>,
}

impl<E: FilterEngine> WfpThreatTable<E> {
    /// The list in this engine.
    pub fn new(engine: E) -> Self {
        Self { engine }
    }

    /// The engine, to read or change it.
    pub fn engine_mut(&mut self) -> &mut E {
        &mut self.engine
    }

    /// The entry that contains an address. Reads every filter of the list.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub fn lookup(&mut self, address: IpAddr) -> Result<Option<Listed>, ThreatError> {
        let mut listed = None;
        self.each(&mut |filter| {
            if let Some(entry) = entry_of(filter).filter(|entry| entry.contains(&address)) {
                listed = Some(Listed { first: entry.network(), last: entry.broadcast() });
            }
        })?;
        Ok(listed)
    }

    fn each(&mut self, each: &mut dyn FnMut(&Filter)) -> Result<(), FirewallError> {
        for layer in layers() {
            self.engine.each_filter_of(LIST_PROVIDER, &layer, each)?;
        }
        Ok(())
    }

    fn found(&mut self) -> Result<Found, FirewallError> {
        let mut found = Found::default();
        self.each(&mut |filter| {
            let of = match entry_of(filter) {
                Some(_) => &mut found.blocks,
                None => &mut found.others,
            };
            of.insert(filter.key.clone());
        })?;
        Ok(found)
    }

    fn commit(&mut self, changes: Vec<ObjectChange>) -> Result<(), FirewallError> {
        if changes.is_empty() {
            return Ok(());
        }
        Ok(self.engine.commit(&Transaction { session: SessionKind::Lasting, changes })?)
    }

    /// Provider and sublayer, where they are missing.
    fn prepare(&mut self) -> Result<(), FirewallError> {
        let (provider, sublayer) = (objects::provider(), objects::sublayer());
        let there = self.engine.objects()?;
        let mut changes = Vec::new();
        if there.providers.iter().all(|known| known.key != provider.key) {
            changes.push(ObjectChange::AddProvider(provider));
        }
        if there.sublayers.iter().all(|known| known.key != sublayer.key) {
            changes.push(ObjectChange::AddSubLayer(sublayer));
        }
        self.commit(changes)
    }

    /// Adds what is missing of a list; returns the keys of all its filters, and of those that were added.
    fn add(
        &mut self,
        list: &ListName,
        posture: &Posture,
        found: &Found,
        entries: &mut dyn Iterator<Item = Result<IpNet, Unreadable>>,
        added: &mut Vec<ObjectKey>,
    ) -> Result<BTreeSet<ObjectKey>, ThreatError> {
        let mut wanted = BTreeSet::new();
        let mut counts = Counts::default();
        let mut changes = Vec::new();
        for entry in entries {
            let revision = list.revision;
            let entry = entry.map_err(|source| ThreatError::Unreadable { revision, source })?;
            if entry.prefix_len() == 0 {
                return Err(ThreatError::Everything { action: LOADING });
            }
            counts.add(&entry);
            for filter in blocks(&entry, posture) {
                let key = filter.key.clone();
                if wanted.insert(key.clone()) && !found.blocks.contains(&key) {
                    if found.others.contains(&key) {
                        // Another program put its own in the place of ours.
                        changes.push(ObjectChange::DeleteFilter(key.clone()));
                    }
                    changes.push(ObjectChange::AddFilter(Box::new(filter)));
                    added.push(key);
                }
            }
            if changes.len() >= AT_A_TIME {
                self.commit(std::mem::take(&mut changes))?;
            }
        }
        if counts != list.counts {
            let (revision, named) = (list.revision, list.counts);
            return Err(ThreatError::Miscounted { revision, named, found: counts });
        }
        self.commit(changes)?;
        Ok(wanted)
    }

    /// The changes that make this the list in force, with this posture. `present`: the filters around the
    /// entries. All of them are replaced, since another program may have changed one.
    fn named(
        list: &ListName,
        posture: &Posture,
        present: &BTreeSet<ObjectKey>,
    ) -> Vec<ObjectChange> {
        let gone = present.iter().cloned().map(ObjectChange::DeleteFilter);
        let new = guards(posture).into_iter().chain(marks(list, posture));
        gone.chain(new.map(|filter| ObjectChange::AddFilter(Box::new(filter)))).collect()
    }

    /// The list in force.
    fn settled(&mut self, action: &'static str) -> Result<InstalledList, ThreatError> {
        let state = ListTable::state(self)?;
        let missing = || ThreatError::NotInForce { action, what: state.describe() };
        state.standing().cloned().ok_or_else(missing)
    }

    /// The filters with these keys, as far as they are there.
    fn present(&mut self, keys: &[ObjectKey]) -> Result<Vec<Filter>, FirewallError> {
        Ok(self.engine.filters_by_key(keys)?)
    }
}

const LOADING: &str = "loading a threat list";
const CHANGING: &str = "changing the threat list";

impl<E: FilterEngine> ListTable for WfpThreatTable<E> {
    /// The filter engine does not count changes.
    fn generation(&mut self) -> Result<Option<Generation>, FirewallError> {
        Ok(None)
    }

    fn state(&mut self) -> Result<ThreatState, FirewallError> {
        let found = self.present(&mark_keys())?;
        let broken = |what: &str| Ok(ThreatState::Broken { what: what.to_owned() });
        let names: Option<Vec<ListName>> = found.iter().map(read_mark).collect();
        match names.as_deref() {
            Some([]) => Ok(ThreatState::Absent),
            Some([first, others @ ..]) if others.len() + 1 == mark_keys().len() => {
                if others.iter().any(|other| other != first) {
                    return broken("the filters that name the list name several");
                }
                let guard = found.first().map(|mark| mark.description.to_string());
                let guard = guard.unwrap_or_default();
                Ok(ThreatState::InForce(InstalledList { slot: Slot::A, list: *first, guard }))
            }
            Some(_) => broken("some filters that name the list are missing"),
            None => broken("a filter that names the list was changed"),
        }
    }

    fn load(
        &mut self,
        list: &ListName,
        posture: &Posture,
        entries: &mut dyn Iterator<Item = Result<IpNet, Unreadable>>,
    ) -> Result<(), ThreatError> {
        self.prepare()?;
        let found = self.found()?;
        let mut added = Vec::new();
        let wanted = match self.add(list, posture, &found, entries, &mut added) {
            Ok(wanted) => wanted,
            Err(error) => {
                // What was added of another list goes again, as far as it can.
                for keys in added.chunks(AT_A_TIME) {
                    let there = self.engine.filters_by_key(keys).unwrap_or_default();
                    let keys = there.into_iter().map(|filter| filter.key);
                    let _ = self.commit(keys.map(ObjectChange::DeleteFilter).collect());
                }
                return Err(error);
            }
        };
        let stale = found.blocks.iter().filter(|key| !wanted.contains(key)).cloned();
        let mut changes: Vec<_> = stale.map(ObjectChange::DeleteFilter).collect();
        let replaced = |key: &&ObjectKey| !wanted.contains(*key);
        let around = found.others.iter().filter(replaced).cloned().collect();
        changes.extend(Self::named(list, posture, &around));
        Ok(self.commit(changes)?)
    }

    fn apply_delta(
        &mut self,
        base: Digest,
        list: &ListName,
        adds: &[IpNet],
        removes: &[IpNet],
        posture: &Posture,
    ) -> Result<(), ThreatError> {
        let standing = self.settled(CHANGING)?;
        if standing.list.digest != base {
            return Err(ThreatError::WrongBase { base, found: standing.list.digest });
        }
        if adds.iter().any(|entry| entry.prefix_len() == 0) {
            return Err(ThreatError::Everything { action: CHANGING });
        }
        if !has_modes(&standing, posture) {
            return Err(modes_need_entries(CHANGING));
        }
        let counts = counts_after(standing.list.counts, adds, removes);
        if counts != Some(list.counts) {
            let (revision, named) = (list.revision, list.counts);
            let found = counts.unwrap_or_default();
            return Err(ThreatError::Miscounted { revision, named, found });
        }
        let filters = |entries: &[IpNet]| -> Vec<Filter> {
            entries.iter().flat_map(|entry| blocks(entry, posture)).collect()
        };
        let gone =
            filters(removes).into_iter().map(|filter| ObjectChange::DeleteFilter(filter.key));
        let new = filters(adds).into_iter().map(|filter| ObjectChange::AddFilter(Box::new(filter)));
        let mut changes: Vec<_> = gone.chain(new).collect();
        let around = self.found()?.others;
        changes.extend(Self::named(list, posture, &around));
        Ok(self.commit(changes)?)
    }

    fn set_posture(&mut self, posture: &Posture) -> Result<(), ThreatError> {
        let action = "changing the modes of the threat list";
        let standing = self.settled(action)?;
        if !has_modes(&standing, posture) {
            return Err(modes_need_entries(action));
        }
        let guards = guards(posture);
        let keys: Vec<ObjectKey> = guards.iter().map(|guard| guard.key.clone()).collect();
        let there = self.present(&keys)?;
        let is_right = |guard: &Filter| there.iter().any(|known| known.is_same_as(guard));
        if guards.iter().all(is_right) {
            return Ok(());
        }
        let around = self.found()?.others;
        let changes = Self::named(&standing.list, posture, &around);
        Ok(self.commit(changes)?)
    }

    fn verify_full(
        &mut self,
        entries: &mut dyn Iterator<Item = IpNet>,
    ) -> Result<Vec<Difference>, ThreatError> {
        let standing = self.settled("comparing the threat list")?;
        let modes = modes_of(&standing);
        let mut found = BTreeSet::new();
        let mut foreign = 0;
        self.each(&mut |filter| match entry_of(filter) {
            Some(entry) => {
                found.insert((direction(&filter.layer), entry));
            }
            None => foreign += 1,
        })?;
        let mut wanted = 0;
        let mut missing = 0;
        for entry in entries {
            for direction in modes.blocked() {
                wanted += 1;
                missing += u64::from(!found.contains(&(direction, entry.trunc())));
            }
        }
        let count = found.len() as u64;
        if missing == 0 && count == wanted {
            return Ok(Vec::new());
        }
        let set = format!("{LIST_SUBLAYER} ({foreign} other filters)");
        Ok(vec![Difference { set, wanted, found: count }])
    }

    fn a_missing_entry(
        &mut self,
        entries: &mut dyn Iterator<Item = IpNet>,
    ) -> Result<Option<IpNet>, ThreatError> {
        let standing = self.settled("checking whether the threat list is complete")?;
        let modes = modes_of(&standing);
        let Counts { hosts4, nets4, hosts6, nets6 } = standing.list.counts;
        let total: u64 = [hosts4, nets4, hosts6, nets6].into_iter().map(u64::from).sum();
        let step = usize::try_from(total / SAMPLE).unwrap_or(usize::MAX).max(1);
        for entry in entries.step_by(step) {
            let blocked = layers().into_iter().filter(|layer| {
                let is_of_family = layer.family() == Some(objects::family(&entry));
                is_of_family && modes.blocked().any(|blocked| blocked == direction(layer))
            });
            let wanted: Vec<Filter> =
                blocked.map(|layer| objects::block(&layer, &entry.trunc())).collect();
            let keys: Vec<ObjectKey> = wanted.iter().map(|filter| filter.key.clone()).collect();
            let there = self.present(&keys)?;
            let is_there = |wanted: &Filter| there.iter().any(|known| known.is_same_as(wanted));
            if !wanted.iter().all(is_there) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// None: matches are in the events of flows.
    fn matches(&mut self) -> Result<FlowDump, FirewallError> {
        Ok(FlowDump::default())
    }

    fn losses(&mut self) -> Result<Losses, FirewallError> {
        Ok(Losses::default())
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        let mut keys = Vec::new();
        self.each(&mut |filter| keys.push(filter.key.clone()))?;
        let there = self.engine.objects()?;
        let mut changes: Vec<_> = keys.into_iter().map(ObjectChange::DeleteFilter).collect();
        if there.sublayers.iter().any(|known| known.key == LIST_SUBLAYER.into()) {
            changes.push(ObjectChange::DeleteSubLayer(LIST_SUBLAYER.into()));
        }
        if there.providers.iter().any(|known| known.key == LIST_PROVIDER.into()) {
            changes.push(ObjectChange::DeleteProvider(LIST_PROVIDER.into()));
        }
        self.commit(changes)
    }
}

/// The modes with which a list is in force, as the filters that name it say.
fn modes_of(installed: &InstalledList) -> Modes {
    objects::read_modes(&installed.guard).unwrap_or_default()
}

fn has_modes(installed: &InstalledList, posture: &Posture) -> bool {
    modes_of(installed) == Modes::of(posture)
}

/// Filters of a direction are there if the list blocks in it, so another mode needs the entries.
fn modes_need_entries(action: &'static str) -> ThreatError {
    let what = "it is in force with other modes, for which its entries must be read".to_owned();
    ThreatError::NotInForce { action, what }
}

/// The numbers after a change; `None` if there are too many entries, or more are removed than there are.
fn counts_after(base: Counts, adds: &[IpNet], removes: &[IpNet]) -> Option<Counts> {
    let more = Counts::count(adds.iter().copied());
    let less = Counts::count(removes.iter().copied());
    let after = |base: u32, more: u32, less: u32| base.checked_add(more)?.checked_sub(less);
    Some(Counts {
        hosts4: after(base.hosts4, more.hosts4, less.hosts4)?,
        nets4: after(base.nets4, more.nets4, less.nets4)?,
        hosts6: after(base.hosts6, more.hosts6, less.hosts6)?,
        nets6: after(base.nets6, more.nets6, less.nets6)?,
    })
}
