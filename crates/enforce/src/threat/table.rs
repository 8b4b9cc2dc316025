//! The list in the kernel: repaired, replaced, removed; and its posture.

use xshield_firewall::threat::{Posture, ThreatError, ThreatState};

use super::error::ThreatFailure;
use super::make::Made;
use super::part::{TableSight, holds, lists_are_settled};
use super::store::{KeptList, Lists, Stay};
use super::work::ThreatWork;
use crate::outcome::ThreatChange;
use crate::reached;
use crate::step::Step;

impl ThreatWork<'_, '_> {
    /// Ensures that the kernel holds the list on disk. Costs nothing if no rule of this host was changed
    /// since the last run.
    pub(super) fn settle_list(&mut self) -> Result<(), ThreatFailure> {
        let lists = &self.threat.lists;
        if lists.current.is_none() && lists.prepared.is_none() {
            return Ok(());
        }
        if lists.stay == Stay::Leaving {
            return self.take_list_out();
        }
        let now = self.generation_now()?;
        if self.run.progress.threat.seen.as_ref() == Some(&now) && lists_are_settled(self.threat) {
            self.threat.sight = TableSight::AsLeft;
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
        let seen = self.run.progress.threat.seen.as_ref();
        let had_it_in_this_boot = seen.is_some_and(|(boot, _)| *boot == now.0);
        if had_it_in_this_boot {
            self.run.note("drift", drift_text(&what));
        }
        if is_there && gone.is_none() {
            // Applying the posture again repairs the chains.
            self.changed(ThreatChange::Repaired);
            return Ok(());
        }
        self.threat.sight = TableSight::Without;
        self.reload(&current)?;
        self.changed(ThreatChange::Repaired);
        Ok(())
    }

    /// Puts the list on disk into the kernel again.
    pub(super) fn reload(&mut self, current: &KeptList) -> Result<(), ThreatFailure> {
        let Some(posture) = self.posture() else { return Ok(()) };
        self.before_a_first_list();
        match self.threat.load(current, &posture) {
            Ok(()) => self.threat.remember_posture(posture),
            Err(error) if error.is_of_the_change() => {
                // Without its file the list is fetched as a whole, like a first one.
                self.threat.lists.current = None;
                self.threat.store.save_lists(&self.threat.lists)?;
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
        self.threat.store.save_lists(&self.threat.lists)?;
        self.threat.store.tidy(&self.threat.lists);
        reached::step(Step::ThreatPrepared);
        let change = self.threat.program(&made, &posture)?;
        reached::step(Step::ThreatProgrammed);
        self.threat.lists.current = self.threat.lists.prepared.take();
        self.threat.lists.posture = Some(posture);
        self.threat.store.save_lists(&self.threat.lists)?;
        self.threat.store.tidy(&self.threat.lists);
        reached::step(Step::ThreatKept);
        self.changed(change);
        if was_empty {
            self.run.progress.threat.verified_at = None;
            self.run.progress.threat.verify_from = Some(self.run.now());
        }
        Ok(())
    }

    /// Without a policy, the list's rules are the first to use connection tracking.
    fn before_a_first_list(&mut self) {
        if self.policy.proven().is_none() {
            (self.introduce)(self.run);
        }
    }

    /// Removes the list from kernel and disk.
    pub(super) fn take_list_out(&mut self) -> Result<(), ThreatFailure> {
        let lists = &self.threat.lists;
        if lists.current.is_none() && lists.prepared.is_none() && lists.posture.is_none() {
            return Ok(());
        }
        self.threat.sight = TableSight::Touched;
        self.threat.lists.stay = Stay::Leaving;
        self.threat.store.save_lists(&self.threat.lists)?;
        // The recorder is deleted with the table.
        let matches = self.threat.read_matches(self.run);
        self.threat.tell_matches(self.run, matches, &[], self.policy.bound().as_ref());
        self.threat.table()?.remove()?;
        reached::step(Step::ThreatRemoved);
        self.threat.lists = Lists::default();
        self.threat.store.save_lists(&self.threat.lists)?;
        self.threat.store.tidy(&self.threat.lists);
        self.changed(ThreatChange::Removed);
        Ok(())
    }

    /// Changes the posture towards listed peers and repairs the chains; the list stays as it is.
    pub(super) fn take_posture(&mut self, posture: Posture) -> Result<(), ThreatFailure> {
        let lists = &self.threat.lists;
        let same = lists.posture.as_ref() == Some(&posture);
        let nothing_to_do = match self.threat.sight {
            TableSight::AsLeft => same,
            TableSight::Touched => false,
            TableSight::Without => true,
        };
        if lists.current.is_none() || nothing_to_do {
            return Ok(());
        }
        self.threat.table()?.set_posture(&posture)?;
        if same {
            return Ok(());
        }
        if self.threat.change == ThreatChange::None {
            self.changed(ThreatChange::Posture);
        }
        self.threat.remember_posture(posture)
    }

    /// Reads back what the kernel holds. Only then has a run carried out the order, and only then can the
    /// next run skip reading.
    pub(super) fn see_that_it_stands(&mut self) -> Result<(), ThreatFailure> {
        if self.threat.sight == TableSight::Without {
            return Ok(());
        }
        if self.threat.sight == TableSight::AsLeft {
            // The policy may have been changed since, which changes the generation but not the list.
            let now = self.generation_now()?;
            if self.run.progress.threat.seen.as_ref() == Some(&now) {
                return Ok(());
            }
        }
        let Some(current) = self.threat.lists.current.clone() else { return Ok(()) };
        let now = self.generation_now()?;
        let state = self.threat.table()?.state()?;
        if matches!(state, ThreatState::InForce(_)) && holds(&state, &current) {
            self.run.progress.threat.seen = Some(now);
            return Ok(());
        }
        self.run.progress.threat.seen = None;
        if !holds(&state, &current) {
            self.threat.sight = TableSight::Without;
        }
        let action = "reading the threat list back";
        let what = "the kernel does not hold what was programmed".to_owned();
        Err(ThreatError::NotInForce { action, what }.into())
    }
}

pub(super) fn drift_text(what: &str) -> String {
    format!("the kernel's threat list differs from what was programmed: {what}")
}
