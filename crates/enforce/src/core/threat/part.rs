//! The threat list's part of a run: what is kept, and what stands in the kernel.

use xshield_firewall::FirewallError;
use xshield_firewall::threat::{ListTable, Posture, Unreadable};
use xshield_threat::ThreatMode;
use xshield_wire::Verified;
use xshield_wire::threat::{ThreatOrder, ThreatStanding};

use super::failure::ThreatFailure;
use super::lists::{Elements, KeptList, Lists};
use crate::core::result::ThreatChange;
use crate::threat::progress::ThreatProgress;

/// Opens the table of the list, whether it is there or not. Changes nothing.
pub(crate) type OpenTable = Box<dyn Fn() -> Result<Box<dyn ListTable>, FirewallError>>;

/// The threat list in the current run.
pub(crate) struct ThreatPart {
    pub(crate) order: Option<Verified<ThreatOrder>>,
    pub(crate) lists: Lists,
    table: Option<Box<dyn ListTable>>,
    open: OpenTable,
    pub(crate) knowledge: TableKnowledge,
    /// What was done to the kernel in this run.
    pub(crate) change: ThreatChange,
    /// Flows with listed peers found in this run.
    pub(crate) matches: usize,
}

/// What is known about the table in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TableKnowledge {
    /// It was not read in this run: nothing is claimed about it.
    #[default]
    Unread,
    /// Nobody changed any rule since the last run found it as it should be.
    AsLeft,
    /// It was read or changed in this run, and holds the list.
    Touched,
    /// It does not hold the list.
    Without,
}

impl ThreatPart {
    pub(crate) fn new(order: Option<Verified<ThreatOrder>>, lists: Lists, open: OpenTable) -> Self {
        let (knowledge, change) = (TableKnowledge::default(), ThreatChange::default());
        Self { order, lists, table: None, open, knowledge, change, matches: 0 }
    }

    /// Whether a list is in force, as far as is known.
    pub(crate) fn has_list(&self) -> bool {
        self.lists.current.is_some()
    }

    /// What was done to the kernel in this run.
    pub(crate) fn change(&self) -> ThreatChange {
        self.change
    }

    /// The order to be carried out.
    pub(crate) fn order(&self) -> Option<&Verified<ThreatOrder>> {
        self.order.as_ref()
    }

    /// No order older than this one is taken.
    pub(crate) fn floor(&self, progress: &ThreatProgress) -> u64 {
        let held = self.order.as_ref().map_or(0, |order| order.sequence);
        progress.floor.max(held)
    }

    pub(crate) fn table(&mut self) -> Result<&mut dyn ListTable, FirewallError> {
        let table = match &mut self.table {
            Some(table) => table,
            empty => empty.insert((self.open)()?),
        };
        Ok(table.as_mut())
    }

    /// What the check-in says about the list; `memory` and `budget` in bytes.
    pub(crate) fn standing(
        &self,
        progress: &ThreatProgress,
        memory: u64,
        budget: Option<u64>,
    ) -> ThreatStanding {
        let in_kernel = matches!(self.knowledge, TableKnowledge::AsLeft | TableKnowledge::Touched);
        let list = self.lists.current.as_ref().filter(|_| in_kernel);
        let posture = self.lists.posture.as_ref().filter(|_| list.is_some());
        ThreatStanding {
            order: self.order.as_ref().map(|order| order.name()),
            list: list.map(|list| list.name.clone()),
            inbound: posture.map_or(ThreatMode::Off, |posture| posture.inbound),
            outbound: posture.map_or(ThreatMode::Off, |posture| posture.outbound),
            elements: list.map_or(0, KeptList::elements),
            verified_at: list.and(progress.verified_at),
            memory,
            budget,
            failure: progress.failure.clone(),
        }
    }

    /// Looks at the kernel without changing anything, for a host that is not ours to change.
    pub(crate) fn look_only(&mut self) {
        let Some(current) = self.lists.current.clone() else { return };
        let state = self.table().and_then(|table| table.state());
        self.knowledge = match state.is_ok_and(|state| current.is_held_by(&state)) {
            true => TableKnowledge::Touched,
            false => TableKnowledge::Without,
        };
    }

    /// Loads a list whole into the kernel, in bounded memory.
    pub(crate) fn load(
        &mut self,
        list: &KeptList,
        posture: &Posture,
        elements: Elements,
    ) -> Result<(), ThreatFailure> {
        let mut elements =
            elements.map(|element| element.map_err(|error| Box::new(error) as Unreadable));
        self.table()?.load(&list.kernel_name(), posture, &mut elements)?;
        self.knowledge = TableKnowledge::Touched;
        Ok(())
    }
}
