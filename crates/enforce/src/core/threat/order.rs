//! The threat order: fetched, verified, carried out. This is the threat part's cycle on one page.

use xshield_wire::envelope;
use xshield_wire::message::CheckInAnswer;
use xshield_wire::threat::{ListName, ThreatWanted};

use super::failure::ThreatFailure;
use super::lists::{ElementChange, KeptList, Made};
use super::part::TableKnowledge;
use super::ports::ThreatWorld;
use super::table::drift_text;
use super::work::ThreatWork;
use crate::core::result::ThreatChange;
use crate::problems::chain;
use crate::step::Step;

impl<W: ThreatWorld> ThreatWork<'_, W> {
    /// Before the check-in: the kernel holds what the last run left, and the way to the platform is
    /// open. What others damaged is repaired from disk.
    pub(crate) fn settle(&mut self) {
        let result = self.settle_list().and_then(|()| match self.posture() {
            Some(posture) => self.take_posture(posture),
            None => Ok(()),
        });
        if let Err(error) = result {
            self.failed(&error);
        }
    }

    /// After the check-in and the policy part: carries out the order that the platform wants, or the last one
    /// if the platform did not answer.
    pub(crate) fn follow(&mut self, answer: Option<&CheckInAnswer>) {
        let wanted = answer.and_then(|answer| answer.threat);
        let taken = wanted.map_or(Ok(()), |wanted| self.take_order(wanted));
        let carried_out = self.carry_out_order().and_then(|()| self.see_that_it_stands());
        match taken.and(carried_out) {
            // The reason why it could not be repaired has been reported.
            Ok(()) if self.threat.knowledge == TableKnowledge::Without => {}
            Ok(()) => self.world.progress().failure = None,
            Err(error) => self.failed(&error),
        }
        self.name_what_is_left_out();
    }

    /// Fetches and verifies the order that the platform wants, unless the host has it. One that can't be
    /// trusted is refused, and the host's order stays in effect.
    fn take_order(&mut self, wanted: ThreatWanted) -> Result<(), ThreatFailure> {
        let have = self.threat.order.as_ref().map(|order| order.name());
        if have == Some(wanted) {
            return Ok(());
        }
        let floor = self.threat.floor(self.world.progress());
        if wanted.sequence < floor {
            let (wanted, floor) = (wanted.sequence, floor);
            let (told, had) = (format!("threat order {wanted}"), format!("order {floor}"));
            self.world.stays_behind(&told, &had);
            return Err(ThreatFailure::Behind { wanted, floor });
        }
        let Some((envelope, asset)) = self.world.order()? else { return Ok(()) };
        match envelope::open_order(&envelope, &self.world.trusted_keys(), &asset, floor) {
            Ok(order) => {
                self.world.save_order(&order)?;
                let progress = self.world.progress();
                progress.floor = order.sequence;
                progress.newest = Some(String::from_utf8_lossy(order.envelope()).into_owned());
                self.threat.order = Some(order);
                self.world.step(Step::ThreatOrdered);
                Ok(())
            }
            Err(error) => {
                self.note("threat-order-refused", chain(&error));
                Err(error.into())
            }
        }
    }

    fn carry_out_order(&mut self) -> Result<(), ThreatFailure> {
        let Some(order) = &self.threat.order else { return Ok(()) };
        let (list, verify_every) = (order.list.clone(), order.verify_every);
        let Some(wanted) = list else { return self.take_list_out() };
        // Nothing is fetched for a system that has no table for it.
        self.threat.table()?;
        self.bring_list(&wanted)?;
        if self.threat.knowledge == TableKnowledge::Without {
            return Ok(());
        }
        if let Some(posture) = self.posture() {
            self.take_posture(posture)?;
        }
        self.verify_when_due(verify_every)
    }

    /// Puts the ordered list in force, fetching it if necessary.
    fn bring_list(&mut self, wanted: &ListName) -> Result<(), ThreatFailure> {
        let current = self.threat.lists.current.as_ref();
        let prepared = self.threat.lists.prepared.clone();
        if let Some(current) = current.filter(|current| current.name == *wanted) {
            if prepared.is_some() {
                self.drop_what_was_prepared()?;
            } else if !self.world.has_list(current) {
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
            // A run that did not complete has saved it.
            return match self.put_in_force(Made { list, change: None }) {
                Err(error) if error.whole_list_may_help() => {
                    self.note("state-damaged", chain(&error));
                    self.fetch_whole_list(wanted)
                }
                result => result,
            };
        }
        self.fetch_list(wanted)
    }

    /// Compares the kernel's list entry by entry with the one on disk, when the order says it is time.
    fn verify_when_due(&mut self, every: u32) -> Result<(), ThreatFailure> {
        let now = self.world.now();
        let Some(current) = self.threat.lists.current.clone() else { return Ok(()) };
        let from = *self.world.progress().verify_from.get_or_insert(now);
        // A clock that was put back must not put off the comparison.
        let due = now >= from.saturating_add(every.into()) || now < from;
        if every == 0 || !due {
            return Ok(());
        }
        match self.compare(&current) {
            Ok(differences) => {
                if let Some(first) = differences.first() {
                    self.note("drift", drift_text(&first.to_string()));
                    self.changed(ThreatChange::Repaired);
                    self.reload(&current)?;
                }
            }
            Err(error) if error.whole_list_may_help() => {
                self.note("state-damaged", chain(&error));
                self.fetch_whole_list(&current.name)?;
            }
            Err(error) => return Err(error),
        }
        let progress = self.world.progress();
        progress.verify_from = Some(now);
        progress.verified_at = Some(now);
        Ok(())
    }

    /// Reports in every run what does not fit into the host's memory budget.
    fn name_what_is_left_out(&mut self) {
        let Some(list) = self.threat.order.as_ref().and_then(|order| order.list.as_ref()) else {
            return;
        };
        if !list.is_part() {
            return;
        }
        let text = format!(
            "the threat list has {} entries, this host's memory budget holds {}; entries with \
             less than {} % confidence are not enforced",
            list.whole_entries, list.entries, list.least_confidence
        );
        self.note("threat-part", text);
    }
}
