//! The list in the kernel: repaired, replaced, removed; and its posture.

use ipnet::IpNet;
use xshield_firewall::FirewallError;
use xshield_firewall::threat::{Difference, Posture, ThreatError, ThreatState};

use super::failure::ThreatFailure;
use super::lists::{ElementChange, KeptList, Lists, Made, Retention};
use super::part::TableKnowledge;
use super::ports::ThreatWorld;
use super::work::ThreatWork;
use crate::core::result::ThreatChange;
use crate::step::Step;

/// Whether a list was found in the kernel that no run has named as the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promotion {
    Nothing,
    Promoted,
}

/// `ENOMEM`, `errno.h`.
const OUT_OF_MEMORY: i32 = 12;

impl<W: ThreatWorld> ThreatWork<'_, W> {
    /// Sees to it that the kernel holds the list that is kept on disk. Free when no rule of this host
    /// was changed since the last run.
    pub(super) fn settle_list(&mut self) -> Result<(), ThreatFailure> {
        let lists = &self.threat.lists;
        if lists.current.is_none() && lists.prepared.is_none() {
            return Ok(());
        }
        if lists.retention == Retention::Remove {
            return self.take_list_out();
        }
        let now = self.generation_now()?;
        if self.is_unchanged_since_seen(&now) && self.threat.lists.are_settled() {
            self.threat.knowledge = TableKnowledge::AsLeft;
            return Ok(());
        }
        let state = self.threat.table()?.state()?;
        let promotion = self.promote_what_arrived(&state)?;
        let Some(current) = self.threat.lists.current.clone() else { return Ok(()) };
        let is_there = current.is_held_by(&state);
        let gone = match is_there {
            true => self.a_missing_entry(&current)?,
            false => None,
        };
        let what = match (&state, gone) {
            (_, Some(entry)) => format!("{entry} is no longer in it"),
            (ThreatState::Disturbed(_), None) if is_there => {
                "the chains around the list were changed".to_owned()
            }
            _ if is_there => {
                // With which posture it arrived is not known: it is taken again first.
                if promotion == Promotion::Nothing {
                    self.threat.knowledge = TableKnowledge::Touched;
                }
                return Ok(());
            }
            (ThreatState::Broken { what }, None) => what.clone(),
            (ThreatState::Absent, None) => "the list is gone".to_owned(),
            _ => "another list is in force".to_owned(),
        };
        let seen = self.world.progress().seen.as_ref();
        let had_it_in_this_boot = seen.is_some_and(|(boot, _)| *boot == now.boot);
        if had_it_in_this_boot {
            self.note("drift", drift_text(&what));
        }
        if is_there && gone.is_none() {
            if promotion == Promotion::Nothing {
                self.threat.knowledge = TableKnowledge::Touched;
            }
            // Taking the posture again repairs the chains.
            self.changed(ThreatChange::Repaired);
            return Ok(());
        }
        self.threat.knowledge = TableKnowledge::Without;
        self.reload(&current)?;
        self.changed(ThreatChange::Repaired);
        Ok(())
    }

    /// Puts the list on disk into the kernel again.
    pub(super) fn reload(&mut self, current: &KeptList) -> Result<(), ThreatFailure> {
        let Some(posture) = self.posture() else { return Ok(()) };
        self.before_a_first_list();
        match self.load(current, &posture) {
            Ok(()) => self.remember_posture(posture),
            Err(error) if error.whole_list_may_help() => {
                // Without its file the list is fetched whole, like a first one.
                self.threat.lists.current = None;
                self.world.save_lists(&self.threat.lists)?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a list on disk the one in the kernel.
    pub(super) fn put_in_force(&mut self, made: Made) -> Result<(), ThreatFailure> {
        let Some(posture) = self.posture() else { return Ok(()) };
        let was_empty = self.threat.lists.current.is_none();
        if was_empty {
            self.before_a_first_list();
        }
        self.threat.lists.prepared = Some(made.list.clone());
        self.world.save_lists(&self.threat.lists)?;
        self.world.remove_other_lists(&self.threat.lists);
        self.world.step(Step::ThreatPrepared);
        let programmed = self.program(&made, &posture);
        let change = match programmed {
            Ok(change) => change,
            Err(error) => {
                self.look_again(posture);
                return Err(error);
            }
        };
        self.world.step(Step::ThreatProgrammed);
        self.threat.lists.current = self.threat.lists.prepared.take();
        self.threat.lists.posture = Some(posture);
        self.world.save_lists(&self.threat.lists)?;
        self.world.remove_other_lists(&self.threat.lists);
        self.world.step(Step::ThreatKept);
        self.changed(change);
        if was_empty {
            let now = self.world.now();
            let progress = self.world.progress();
            progress.verified_at = None;
            progress.verify_from = Some(now);
        }
        Ok(())
    }

    /// After a change whose answer may be lost: what the kernel holds is what is claimed.
    fn look_again(&mut self, posture: Posture) {
        let state = self.threat.table().and_then(|table| table.state());
        let Ok(state) = state else {
            self.threat.knowledge = TableKnowledge::Unread;
            return;
        };
        if let Some(prepared) = self.threat.lists.prepared.as_ref()
            && prepared.is_held_by(&state)
        {
            // The list and its posture come in one transaction. When that can't be written to disk, the
            // next run finds it.
            self.threat.lists.posture = Some(posture);
            let _ = self.promote_what_arrived(&state);
        }
        let current = self.threat.lists.current.as_ref();
        self.threat.knowledge = match current.is_some_and(|current| current.is_held_by(&state)) {
            true => TableKnowledge::Touched,
            false => TableKnowledge::Without,
        };
    }

    /// Without a policy, it is the list's rules that connection tracking begins with.
    fn before_a_first_list(&mut self) {
        if self.policy.proven().is_none() {
            self.world.introduce_open_connections();
        }
    }

    /// Removes the list from kernel and disk.
    pub(super) fn take_list_out(&mut self) -> Result<(), ThreatFailure> {
        let lists = &self.threat.lists;
        if lists.current.is_none() && lists.prepared.is_none() && lists.posture.is_none() {
            return Ok(());
        }
        self.threat.knowledge = TableKnowledge::Unread;
        self.threat.lists.retention = Retention::Remove;
        self.world.save_lists(&self.threat.lists)?;
        // The recorder goes with the table.
        self.world.report_last_matches(self.threat, self.policy.bound().as_ref());
        self.threat.table()?.remove()?;
        self.world.step(Step::ThreatRemoved);
        self.threat.lists = Lists::default();
        self.world.save_lists(&self.threat.lists)?;
        self.world.remove_other_lists(&self.threat.lists);
        self.changed(ThreatChange::Removed);
        Ok(())
    }

    /// Changes the posture towards listed peers and repairs the chains; the list stays as it is.
    pub(super) fn take_posture(&mut self, posture: Posture) -> Result<(), ThreatFailure> {
        let lists = &self.threat.lists;
        let same = lists.posture.as_ref() == Some(&posture);
        let nothing_to_do = match self.threat.knowledge {
            TableKnowledge::AsLeft => same,
            TableKnowledge::Touched | TableKnowledge::Unread => false,
            TableKnowledge::Without => true,
        };
        if lists.current.is_none() || nothing_to_do {
            return Ok(());
        }
        // Whether it was done is not known when the answer is lost.
        self.threat.knowledge = TableKnowledge::Unread;
        match self.threat.table()?.set_posture(&posture) {
            // Some systems need the entries for other modes.
            Err(ThreatError::NotInForce { .. }) => {
                let current = self.threat.lists.current.clone();
                current.map_or(Ok(()), |current| self.load(&current, &posture))?;
            }
            set => set?,
        }
        self.threat.knowledge = TableKnowledge::Touched;
        if same {
            return Ok(());
        }
        if self.threat.change == ThreatChange::None {
            self.changed(ThreatChange::Posture);
        }
        self.remember_posture(posture)
    }

    /// Reads back what the kernel holds. Only then has a run carried out the order, and only then can the
    /// next run skip reading.
    pub(super) fn see_that_it_stands(&mut self) -> Result<(), ThreatFailure> {
        if self.threat.knowledge == TableKnowledge::Without {
            return Ok(());
        }
        if self.threat.knowledge == TableKnowledge::AsLeft {
            // The policy may have been changed since, which changes the generation but not the list.
            let now = self.generation_now()?;
            if self.is_unchanged_since_seen(&now) {
                return Ok(());
            }
        }
        let Some(current) = self.threat.lists.current.clone() else { return Ok(()) };
        let now = self.generation_now()?;
        let state = self.threat.table()?.state()?;
        if matches!(state, ThreatState::InForce(_)) && current.is_held_by(&state) {
            self.remember_seen(now);
            self.threat.knowledge = TableKnowledge::Touched;
            return Ok(());
        }
        self.world.progress().seen = None;
        if !current.is_held_by(&state) {
            self.threat.knowledge = TableKnowledge::Without;
        }
        let action = "reading the threat list back";
        let what = "the kernel does not hold what was programmed".to_owned();
        Err(ThreatError::NotInForce { action, what }.into())
    }
}

pub(super) fn drift_text(what: &str) -> String {
    format!("the kernel's threat list differs from what was programmed: {what}")
}

impl<W: ThreatWorld> ThreatWork<'_, W> {
    /// A run that was killed after the kernel took the list left it named as prepared. Whether it is now
    /// the current one.
    fn promote_what_arrived(&mut self, state: &ThreatState) -> Result<Promotion, ThreatFailure> {
        if !self.threat.lists.prepared.as_ref().is_some_and(|list| list.is_held_by(state)) {
            return Ok(Promotion::Nothing);
        }
        self.threat.lists.current = self.threat.lists.prepared.take();
        self.world.save_lists(&self.threat.lists)?;
        self.world.remove_other_lists(&self.threat.lists);
        Ok(Promotion::Promoted)
    }

    pub(super) fn drop_what_was_prepared(&mut self) -> Result<(), ThreatFailure> {
        self.threat.lists.prepared = None;
        self.world.save_lists(&self.threat.lists)?;
        self.world.remove_other_lists(&self.threat.lists);
        Ok(())
    }

    fn remember_posture(&mut self, posture: Posture) -> Result<(), ThreatFailure> {
        self.threat.knowledge = TableKnowledge::Touched;
        if self.threat.lists.posture.as_ref() == Some(&posture) {
            return Ok(());
        }
        self.threat.lists.posture = Some(posture);
        self.world.save_lists(&self.threat.lists)
    }

    /// Changes the list in the kernel in one transaction where that is possible, or loads it whole.
    fn program(&mut self, made: &Made, posture: &Posture) -> Result<ThreatChange, ThreatFailure> {
        if let (Some(change), Some(base)) = (&made.change, self.threat.lists.current.clone()) {
            let (from, to) = (base.kernel_name().digest, made.list.kernel_name());
            let ElementChange { adds, removes } = change;
            match self.threat.table()?.apply_delta(from, &to, adds, removes, posture) {
                Ok(()) => {
                    self.threat.knowledge = TableKnowledge::Touched;
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
    pub(crate) fn load(&mut self, list: &KeptList, posture: &Posture) -> Result<(), ThreatFailure> {
        let elements = self.world.elements(list)?;
        self.threat.load(list, posture, elements)
    }

    /// An entry that the kernel lost, where a look at its numbers can't tell.
    fn a_missing_entry(&mut self, list: &KeptList) -> Result<Option<IpNet>, ThreatFailure> {
        // Without its file the list is fetched anew when the order is carried out; a file that turns out
        // to be damaged is found by the comparison that is due.
        let Ok(elements) = self.world.elements(list) else { return Ok(None) };
        Ok(self.threat.table()?.a_missing_entry(&mut elements.map_while(Result::ok))?)
    }

    /// Compares the kernel's list with the one on disk, element by element.
    pub(super) fn compare(&mut self, list: &KeptList) -> Result<Vec<Difference>, ThreatFailure> {
        let mut broken = None;
        let elements = self.world.elements(list)?;
        let mut whole =
            elements.map_while(|element| element.map_err(|error| broken = Some(error)).ok());
        let differences = self.threat.table()?.verify_full(&mut whole);
        drop(whole);
        match broken {
            Some(error) => Err(error),
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
