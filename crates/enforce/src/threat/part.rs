//! The threat list in the current run: what is on disk, and what is in the kernel.

use std::path::Path;

use ipnet::IpNet;
use xshield_firewall::FirewallError;
use xshield_firewall::threat::{
    Difference, ListTable, Posture, ThreatError, ThreatState, Unreadable,
};
use xshield_host::files::FileError;
use xshield_threat::ThreatMode;
use xshield_threat::keep::Elements;
use xshield_wire::Verified;
use xshield_wire::keys::PolicyPublicKey;
use xshield_wire::threat::{ThreatOrder, ThreatStanding};

use super::error::ThreatFailure;
use super::make::{ElementChange, Made};
use super::store::{KeptList, Lists, Store};
use crate::outcome::{ThreatChange, ThreatOutcome};
use crate::run::Run;
use crate::state::{Repaired, StateDirectory};

/// `ENOMEM`, `errno.h`.
const OUT_OF_MEMORY: i32 = 12;

/// Opens the list's table, whether it exists or not. Changes nothing.
pub(crate) type OpenTable = fn() -> Result<Box<dyn ListTable>, FirewallError>;

/// The threat list in the current run.
pub(crate) struct ThreatPart {
    pub(crate) store: Store,
    pub(crate) order: Option<Verified<ThreatOrder>>,
    pub(crate) lists: Lists,
    table: Option<Box<dyn ListTable>>,
    open: OpenTable,
    pub(crate) sight: TableSight,
    /// The host's memory in bytes; 0 if not known.
    pub(crate) memory: u64,
    /// What was done to the kernel in this run.
    pub(crate) change: ThreatChange,
    /// Flows with listed peers found in this run.
    pub(crate) matches: usize,
}

/// What is known about the table in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableSight {
    /// No rule was changed since the last run found the table correct.
    AsLeft,
    /// It was read or changed in this run.
    Touched,
    /// It does not hold the list.
    Without,
}

impl ThreatPart {
    /// Whether a list is in force, as far as known.
    pub(crate) fn has_list(&self) -> bool {
        self.lists.current.is_some()
    }

    /// Reads the stored order and lists.
    ///
    /// # Errors
    /// When a file exists but can't be read.
    pub(crate) fn of(
        state: &StateDirectory,
        keys: &[PolicyPublicKey],
        repaired: &mut Repaired,
        open: OpenTable,
    ) -> Result<Self, FileError> {
        let store = Store::new(state);
        let (order, lists) = (store.order(keys, repaired)?, store.lists(repaired)?);
        Ok(Self {
            store,
            order,
            lists,
            table: None,
            open,
            sight: TableSight::Touched,
            memory: 0,
            change: ThreatChange::None,
            matches: 0,
        })
    }

    /// What was done to the kernel in this run.
    pub(crate) fn change(&self) -> ThreatChange {
        self.change
    }

    /// The order to be carried out.
    pub(crate) fn order(&self) -> Option<&Verified<ThreatOrder>> {
        self.order.as_ref()
    }

    pub(crate) fn table(&mut self) -> Result<&mut dyn ListTable, FirewallError> {
        let table = match &mut self.table {
            Some(table) => table,
            empty => empty.insert((self.open)()?),
        };
        Ok(table.as_mut())
    }
}

impl ThreatPart {
    /// The threat list's state as a check-in reports it.
    pub(crate) fn standing(&self, run: &Run<'_>) -> ThreatStanding {
        let in_kernel = self.sight != TableSight::Without;
        let list = self.lists.current.as_ref().filter(|_| in_kernel);
        let posture = self.lists.posture.as_ref().filter(|_| list.is_some());
        ThreatStanding {
            order: self.order.as_ref().map(|order| order.name()),
            list: list.map(|list| list.name.clone()),
            inbound: posture.map_or(ThreatMode::Off, |posture| posture.inbound),
            outbound: posture.map_or(ThreatMode::Off, |posture| posture.outbound),
            elements: list.map_or(0, |list| list.elements()),
            verified_at: list.and(run.progress.threat.verified_at),
            memory: self.memory,
            budget: run.config.threat_budget,
            failure: run.progress.threat.failure.clone(),
        }
    }

    /// The result of the run for the threat list.
    pub(crate) fn outcome(&self, run: &Run<'_>) -> ThreatOutcome {
        let ThreatStanding { list, inbound, outbound, .. } = self.standing(run);
        let (inbound, outbound) = list.is_some().then_some((inbound, outbound)).unzip();
        ThreatOutcome { list, inbound, outbound, change: self.change, matches: self.matches }
    }

    /// Reads the kernel without changing anything, on a host whose firewall is not ours to change.
    pub(crate) fn look_only(&mut self) {
        let Some(current) = self.lists.current.clone() else { return };
        let state = self.table().and_then(|table| table.state());
        if !state.is_ok_and(|state| holds(&state, &current)) {
            self.sight = TableSight::Without;
        }
    }

    /// Reads the host's memory: `MemTotal` of `/proc/meminfo`.
    pub(crate) fn read_memory(&mut self, root: &Path) {
        let text = std::fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        self.memory = kib.unwrap_or(0) * 1024;
    }
}

/// Whether the kernel holds a list, complete.
pub(crate) fn holds(state: &ThreatState, list: &KeptList) -> bool {
    state.standing().is_some_and(|standing| standing.list == list.kernel_name())
}

pub(super) fn lists_are_settled(threats: &ThreatPart) -> bool {
    threats.lists.prepared.is_none() && threats.lists.current.is_some()
}

impl ThreatPart {
    /// If a run was killed after the kernel had accepted a list, the list is still named as prepared; makes
    /// it the current one.
    pub(crate) fn promote_what_arrived(
        &mut self,
        state: &ThreatState,
    ) -> Result<(), ThreatFailure> {
        if !self.lists.prepared.as_ref().is_some_and(|list| holds(state, list)) {
            return Ok(());
        }
        self.lists.current = self.lists.prepared.take();
        self.store.save_lists(&self.lists)?;
        self.store.tidy(&self.lists);
        Ok(())
    }

    pub(super) fn drop_what_was_prepared(&mut self) -> Result<(), ThreatFailure> {
        self.lists.prepared = None;
        self.store.save_lists(&self.lists)?;
        self.store.tidy(&self.lists);
        Ok(())
    }

    pub(super) fn remember_posture(&mut self, posture: Posture) -> Result<(), ThreatFailure> {
        self.sight = TableSight::Touched;
        if self.lists.posture.as_ref() == Some(&posture) {
            return Ok(());
        }
        self.lists.posture = Some(posture);
        self.store.save_lists(&self.lists)
    }

    /// Changes the list in the kernel in one transaction if possible, or loads it as a whole.
    pub(super) fn program(
        &mut self,
        made: &Made,
        posture: &Posture,
    ) -> Result<ThreatChange, ThreatFailure> {
        if let (Some(change), Some(base)) = (&made.change, self.lists.current.clone()) {
            let (from, to) = (base.kernel_name().digest, made.list.kernel_name());
            let ElementChange { adds, removes } = change;
            match self.table()?.apply_delta(from, &to, adds, removes, posture) {
                Ok(()) => {
                    self.sight = TableSight::Touched;
                    return Ok(ThreatChange::Changed);
                }
                Err(error) if a_whole_load_helps(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.load(&made.list, posture)?;
        Ok(ThreatChange::Loaded)
    }

    /// Loads a list from disk into the kernel, with bounded memory.
    pub(crate) fn load(&mut self, list: &KeptList, posture: &Posture) -> Result<(), ThreatFailure> {
        let elements = Elements::of(Box::new(self.store.open(list)?), list.expansion())?;
        let mut elements = elements.map(|element| match element {
            Ok(prefix) => Ok(IpNet::from(prefix)),
            Err(error) => Err(Box::new(error) as Unreadable),
        });
        self.table()?.load(&list.kernel_name(), posture, &mut elements)?;
        self.sight = TableSight::Touched;
        Ok(())
    }

    /// An entry that the kernel's list lacks although the numbers are right.
    pub(super) fn a_missing_entry(
        &mut self,
        list: &KeptList,
    ) -> Result<Option<IpNet>, ThreatFailure> {
        // Without its file the list is fetched again when the order is carried out.
        let Ok(file) = self.store.open(list) else { return Ok(None) };
        // A damaged file is found by the comparison that is due.
        let entries = Elements::of(Box::new(file), list.expansion())?.map_while(Result::ok);
        Ok(self.table()?.a_missing_entry(&mut entries.map(IpNet::from))?)
    }

    pub(super) fn compare(&mut self, list: &KeptList) -> Result<Vec<Difference>, ThreatFailure> {
        let mut broken = None;
        let elements = Elements::of(Box::new(self.store.open(list)?), list.expansion())?;
        let whole =
            elements.map_while(|element| element.map_err(|error| broken = Some(error)).ok());
        let differences = self.table()?.verify_full(&mut whole.map(IpNet::from));
        match broken {
            Some(error) => Err(error.into()),
            None => Ok(differences?),
        }
    }
}

/// Whether the kernel may accept the whole list although it refused the change.
fn a_whole_load_helps(error: &ThreatError) -> bool {
    match error {
        ThreatError::Firewall(FirewallError::Refused { source, .. }) => {
            source.raw_os_error() != Some(OUT_OF_MEMORY)
        }
        ThreatError::Miscounted { .. }
        | ThreatError::WrongBase { .. }
        | ThreatError::NotInForce { .. }
        | ThreatError::NoRoom { .. } => true,
        _ => false,
    }
}
