//! The list in the kernel: repaired, replaced, compared; and what is done about it.

use ipnet::IpNet;
use xshield_firewall::FirewallError;
use xshield_firewall::threat::{Difference, Posture, ThreatError, ThreatState};
use xshield_threat::keep::Elements;
use xshield_wire::threat::ListName;

use super::error::ThreatFailure;
use super::make::{ElementChange, Made};
use super::store::{KeptList, Stay};
use super::{Kernel, Threats};
use crate::cycle::Run;
use crate::outcome::ThreatChange;
use crate::state::problem;
use crate::step::step;

/// `ENOMEM`, `errno.h`.
const OUT_OF_MEMORY: i32 = 12;

impl Run<'_> {
    /// Sees to it that the kernel holds the list that is kept on disk. Free when no rule of this host
    /// was changed since the last run.
    pub(super) fn settle_list(&mut self) -> Result<(), ThreatFailure> {
        let lists = &self.threat.lists;
        if lists.current.is_none() && lists.prepared.is_none() {
            return Ok(());
        }
        if lists.stay == Stay::Leaving {
            return self.take_list_out();
        }
        let now = self.generation_now()?;
        if self.progress.threat.seen.as_ref() == Some(&now) && lists_are_settled(&self.threat) {
            self.threat.kernel = Kernel::AsLeft;
            return Ok(());
        }
        let state = self.threat.table()?.state()?;
        self.threat.promote_what_arrived(&state)?;
        let Some(current) = self.threat.lists.current.clone() else { return Ok(()) };
        let is_there = holds(&state, &current);
        let gone = match is_there {
            true => self.threat.a_missing_entry(&current)?,
            false => None,
        };
        let what = match (&state, gone) {
            (_, Some(entry)) => format!("{entry} is no longer in it"),
            (ThreatState::Disturbed(_), None) if is_there => {
                "the chains around the list were changed".to_owned()
            }
            _ if is_there => return Ok(()),
            (ThreatState::Broken { what }, None) => what.clone(),
            (ThreatState::Absent, None) => "the list is gone".to_owned(),
            _ => "another list is in force".to_owned(),
        };
        let seen = self.progress.threat.seen.as_ref();
        let had_it_in_this_boot = seen.is_some_and(|(boot, _)| *boot == now.0);
        if had_it_in_this_boot {
            self.note("drift", drift_text(&what));
        }
        if is_there && gone.is_none() {
            // Taking the posture again repairs the chains.
            self.threat_change(ThreatChange::Repaired);
            return Ok(());
        }
        self.threat.kernel = Kernel::Without;
        self.reload(&current)?;
        self.threat_change(ThreatChange::Repaired);
        Ok(())
    }

    /// Puts the list on disk into the kernel again.
    fn reload(&mut self, current: &KeptList) -> Result<(), ThreatFailure> {
        let Some(posture) = self.posture() else { return Ok(()) };
        self.before_a_first_list();
        match self.threat.load(current, &posture) {
            Ok(()) => self.threat.remember_posture(posture),
            Err(error) if error.is_of_the_change() => {
                // Without its file the list is fetched whole, like a first one.
                self.threat.lists.current = None;
                self.threat.store.save_lists(&self.threat.lists)?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The ordered list is in force, or will be fetched and then is.
    pub(super) fn bring_list(&mut self, wanted: &ListName) -> Result<(), ThreatFailure> {
        let current = self.threat.lists.current.as_ref();
        let prepared = self.threat.lists.prepared.clone();
        if let Some(current) = current.filter(|current| current.name == *wanted) {
            if prepared.is_some() {
                self.threat.drop_what_was_prepared()?;
            } else if !self.threat.store.has(current) {
                let text = "the threat list's file is gone; the whole list is fetched".to_owned();
                self.note("state-damaged", text);
                return self.fetch_whole_list(wanted);
            }
            return Ok(());
        }
        if let Some(current) = current.filter(|current| current.name.digest == wanted.digest) {
            let list = KeptList { name: wanted.clone(), ..current.clone() };
            let change = Some(ElementChange { adds: Vec::new(), removes: Vec::new() });
            return self.put_in_force(Made { list, change });
        }
        if let Some(list) = prepared.filter(|list| list.name == *wanted) {
            // Written down by a run that could not end.
            return self.put_in_force(Made { list, change: None });
        }
        self.fetch_list(wanted)
    }

    /// A list that is on disk becomes the one in the kernel.
    pub(super) fn put_in_force(&mut self, made: Made) -> Result<(), ThreatFailure> {
        let Some(posture) = self.posture() else { return Ok(()) };
        let was_empty = self.threat.lists.current.is_none();
        if was_empty {
            self.before_a_first_list();
        }
        self.threat.lists.prepared = Some(made.list.clone());
        self.threat.store.save_lists(&self.threat.lists)?;
        self.threat.store.tidy(&self.threat.lists);
        step("threat-prepared");
        let change = self.threat.program(&made, &posture)?;
        step("threat-programmed");
        self.threat.lists.current = self.threat.lists.prepared.take();
        self.threat.lists.posture = Some(posture);
        self.threat.store.save_lists(&self.threat.lists)?;
        self.threat.store.tidy(&self.threat.lists);
        step("threat-kept");
        self.threat_change(change);
        if was_empty {
            self.progress.threat.verified_at = None;
            self.progress.threat.verify_from = Some(self.cycle.surroundings.now());
        }
        Ok(())
    }

    /// Without a policy, it is the list's rules that connection tracking begins with.
    fn before_a_first_list(&mut self) {
        if self.known_good.is_none() {
            self.introduce_open_connections();
        }
    }

    /// The list leaves the kernel and the disk.
    pub(super) fn take_list_out(&mut self) -> Result<(), ThreatFailure> {
        let lists = &self.threat.lists;
        if lists.current.is_none() && lists.prepared.is_none() && lists.posture.is_none() {
            return Ok(());
        }
        self.threat.kernel = Kernel::Touched;
        self.threat.lists.stay = Stay::Leaving;
        self.threat.store.save_lists(&self.threat.lists)?;
        // The recorder goes with the table.
        let matches = self.read_matches();
        self.tell_matches(matches, &[], self.bound().as_ref());
        self.threat.table()?.remove()?;
        step("threat-removed");
        self.threat.lists = super::Lists::default();
        self.threat.store.save_lists(&self.threat.lists)?;
        self.threat.store.tidy(&self.threat.lists);
        self.threat_change(ThreatChange::Removed);
        Ok(())
    }

    /// Changes what is done about listed peers, and repairs the chains; the list stays as it is.
    pub(super) fn take_posture(&mut self, posture: Posture) -> Result<(), ThreatFailure> {
        let lists = &self.threat.lists;
        let same = lists.posture.as_ref() == Some(&posture);
        let nothing_to_do = match self.threat.kernel {
            Kernel::AsLeft => same,
            Kernel::Touched => false,
            Kernel::Without => true,
        };
        if lists.current.is_none() || nothing_to_do {
            return Ok(());
        }
        self.threat.table()?.set_posture(&posture)?;
        if same {
            return Ok(());
        }
        if self.outcome.threat.change == ThreatChange::None {
            self.threat_change(ThreatChange::Posture);
        }
        self.threat.remember_posture(posture)
    }

    /// Compares the kernel's list entry by entry with the one on disk, when the order says it is time.
    pub(super) fn verify_when_due(&mut self, every: u32) -> Result<(), ThreatFailure> {
        let now = self.cycle.surroundings.now();
        let Some(current) = self.threat.lists.current.clone() else { return Ok(()) };
        let from = *self.progress.threat.verify_from.get_or_insert(now);
        // A clock that was put back must not put off the comparison.
        let due = now >= from.saturating_add(every.into()) || now < from;
        if every == 0 || !due {
            return Ok(());
        }
        match self.threat.compare(&current) {
            Ok(differences) => {
                if let Some(first) = differences.first() {
                    self.note("drift", drift_text(&first.to_string()));
                    self.threat_change(ThreatChange::Repaired);
                    self.reload(&current)?;
                }
            }
            Err(error) if error.is_of_the_change() => {
                self.outcome.problems.push(problem("state-damaged", &error));
                self.fetch_whole_list(&current.name)?;
            }
            Err(error) => return Err(error),
        }
        self.progress.threat.verify_from = Some(now);
        self.progress.threat.verified_at = Some(now);
        Ok(())
    }

    /// Reads back what the kernel holds. Only then a run has done what was ordered; and only then the
    /// next run needs not look again.
    pub(super) fn see_that_it_stands(&mut self) -> Result<(), ThreatFailure> {
        if self.threat.kernel == Kernel::Without {
            return Ok(());
        }
        if self.threat.kernel == Kernel::AsLeft {
            // The policy may have been changed since; that leaves the list alone, but moves the
            // generation.
            let now = self.generation_now()?;
            if self.progress.threat.seen.as_ref() == Some(&now) {
                return Ok(());
            }
        }
        let Some(current) = self.threat.lists.current.clone() else { return Ok(()) };
        let now = self.generation_now()?;
        let state = self.threat.table()?.state()?;
        if matches!(state, ThreatState::InForce(_)) && holds(&state, &current) {
            self.progress.threat.seen = Some(now);
            return Ok(());
        }
        self.progress.threat.seen = None;
        if !holds(&state, &current) {
            self.threat.kernel = Kernel::Without;
        }
        let action = "reading the threat list back";
        let what = "the kernel does not hold what was programmed".to_owned();
        Err(ThreatError::NotInForce { action, what }.into())
    }

    /// Looks at the kernel without changing anything, for a host that is not ours to change.
    pub(crate) fn look_at_threats(&mut self) {
        let Some(current) = self.threat.lists.current.clone() else { return };
        let state = self.threat.table().and_then(|table| table.state());
        if !state.is_ok_and(|state| holds(&state, &current)) {
            self.threat.kernel = Kernel::Without;
        }
    }
}

fn drift_text(what: &str) -> String {
    format!("the kernel's threat list is not as it was programmed: {what}")
}

/// Whether a list is in the kernel, complete.
pub(super) fn holds(state: &ThreatState, list: &KeptList) -> bool {
    state.standing().is_some_and(|standing| standing.list == list.kernel_name())
}

fn lists_are_settled(threats: &Threats) -> bool {
    threats.lists.prepared.is_none() && threats.lists.current.is_some()
}

impl Threats {
    /// A run that was killed after the kernel took the list left it named as prepared.
    fn promote_what_arrived(&mut self, state: &ThreatState) -> Result<(), ThreatFailure> {
        if !self.lists.prepared.as_ref().is_some_and(|list| holds(state, list)) {
            return Ok(());
        }
        self.lists.current = self.lists.prepared.take();
        self.store.save_lists(&self.lists)?;
        self.store.tidy(&self.lists);
        Ok(())
    }

    fn drop_what_was_prepared(&mut self) -> Result<(), ThreatFailure> {
        self.lists.prepared = None;
        self.store.save_lists(&self.lists)?;
        self.store.tidy(&self.lists);
        Ok(())
    }

    fn remember_posture(&mut self, posture: Posture) -> Result<(), ThreatFailure> {
        self.kernel = Kernel::Touched;
        if self.lists.posture.as_ref() == Some(&posture) {
            return Ok(());
        }
        self.lists.posture = Some(posture);
        self.store.save_lists(&self.lists)
    }

    /// Changes the list in the kernel in one transaction where that is possible, or loads it whole.
    fn program(&mut self, made: &Made, posture: &Posture) -> Result<ThreatChange, ThreatFailure> {
        if let (Some(change), Some(base)) = (&made.change, self.lists.current.clone()) {
            let (from, to) = (base.kernel_name().digest, made.list.kernel_name());
            let ElementChange { adds, removes } = change;
            match self.table()?.apply_delta(from, &to, adds, removes, posture) {
                Ok(()) => {
                    self.kernel = Kernel::Touched;
                    return Ok(ThreatChange::Changed);
                }
                Err(error) if a_whole_load_helps(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.load(&made.list, posture)?;
        Ok(ThreatChange::Loaded)
    }

    /// Loads a list from disk into the kernel, in bounded memory.
    pub(super) fn load(&mut self, list: &KeptList, posture: &Posture) -> Result<(), ThreatFailure> {
        let elements = Elements::of(Box::new(self.store.open(list)?), list.expansion())?;
        let elements = elements.map(|element| element.map(IpNet::from));
        self.table()?.load_from(&list.kernel_name(), posture, elements)?;
        self.kernel = Kernel::Touched;
        Ok(())
    }

    /// An entry that the kernel lost, where a look at its numbers can't tell.
    fn a_missing_entry(&mut self, list: &KeptList) -> Result<Option<IpNet>, ThreatFailure> {
        // Without its file the list is fetched anew when the order is carried out.
        let Ok(file) = self.store.open(list) else { return Ok(None) };
        // A file that turns out to be damaged is found by the comparison that is due.
        let entries = Elements::of(Box::new(file), list.expansion())?.map_while(Result::ok);
        Ok(self.table()?.a_missing_entry(entries.map(IpNet::from))?)
    }

    fn compare(&mut self, list: &KeptList) -> Result<Vec<Difference>, ThreatFailure> {
        let mut broken = None;
        let elements = Elements::of(Box::new(self.store.open(list)?), list.expansion())?;
        let whole =
            elements.map_while(|element| element.map_err(|error| broken = Some(error)).ok());
        let differences = self.table()?.verify_full(whole.map(IpNet::from));
        match broken {
            Some(error) => Err(error.into()),
            None => Ok(differences?),
        }
    }
}

/// Whether the kernel may take the whole list though it did not take the change.
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
