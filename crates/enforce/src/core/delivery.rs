//! Reports on their way to the platform, without IO.
//!
//! ```text
//! a run's findings ─▶ outbox ── written with the positions ──▶ spool ── acknowledged ──▶ platform
//! ```
//!
//! The outbox is written in the same file as the positions up to which recorders, counters and logs were
//! read: a kill neither loses nor repeats what lies between two positions. Moving it into the spool may
//! happen twice; batch ids stay, and the platform counts each batch once.

use xshield_host::spool::{DeliveryOrder, Losses};
use xshield_wire::message::{Problem, Report, ReportBody, UnixSeconds};

use crate::progress::Progress;
use crate::step::Step;

/// No pause between deliveries that the platform asks for is longer, in seconds.
const LONGEST_PAUSE: u64 = 3_600;

/// Why the platform did not take a report.
pub(crate) enum Undelivered {
    /// It never will.
    Refused(Problem),
    /// It may later, after `pause` seconds if it named a time.
    Later {
        /// What went wrong.
        problem: Problem,
        /// Seconds.
        pause: Option<u64>,
    },
}

/// Disk and platform, as delivery uses them.
pub(crate) trait DeliveryIo {
    /// Names a record of the spool.
    type Record: Copy;
    /// Why something could not be made to outlive the run.
    type Error;

    /// What runs remember.
    fn progress(&mut self) -> &mut Progress;

    /// Writes to disk what runs remember.
    ///
    /// # Errors
    /// When it can't be written; what was written before is intact then.
    fn save(&mut self) -> Result<(), Self::Error>;

    /// Adds a report to the spool; `items`: how many findings are in it.
    ///
    /// # Errors
    /// When it can't be written. It is then counted as lost.
    fn append(
        &mut self,
        report: &Report,
        items: u64,
        order: DeliveryOrder,
    ) -> Result<(), Self::Error>;

    /// The records that wait, in the order in which they are to be delivered.
    fn pending(&self) -> Vec<Self::Record>;

    /// Reads a record; `None` when it is not there any more, or was damaged, which is counted as lost.
    ///
    /// # Errors
    /// When reading fails for a reason that may pass.
    fn read(&mut self, record: Self::Record) -> Result<Option<Vec<u8>>, Problem>;

    /// How many findings are in a record that waits.
    fn items(&self, record: Self::Record) -> u64;

    /// Removes a record that the platform has taken, or never will.
    ///
    /// # Errors
    /// When it can't be removed; it is then delivered again.
    fn acknowledge(&mut self, record: Self::Record) -> Result<(), Problem>;

    /// How many records wait.
    fn waiting(&self) -> usize;

    /// What the spool had to drop, and was not yet settled.
    fn losses(&self) -> Losses;

    /// Counts dropped records as reported.
    ///
    /// # Errors
    /// When the count can't be written; it is then reported again.
    fn settle(&mut self, reported: Losses) -> Result<(), Self::Error>;

    /// This moment.
    fn now(&self) -> UnixSeconds;

    /// Whether the platform answered when it was last asked.
    fn was_reached(&self) -> bool;

    /// Whether this run has no time left for deliveries.
    fn is_time_up(&self) -> bool;

    /// Delivers one record.
    ///
    /// # Errors
    /// Why the platform did not take it.
    fn send(&mut self, record: &[u8]) -> Result<(), Undelivered>;

    /// Something that an operator should know.
    fn note(&mut self, problem: Problem);

    /// A step is done.
    fn step(&mut self, step: Step);
}

/// A run's deliveries.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// What the spool had dropped, as it is counted in this run's events.
    losses: Losses,
    /// Reports that the platform took in this run.
    delivered: usize,
    /// Reports that still wait.
    waiting: usize,
}

impl Delivery {
    /// Looks what the spool had to drop; it is to be reported with this run's events.
    pub(crate) fn look_at_losses(&mut self, mail: &impl DeliveryIo) -> Losses {
        self.losses = mail.losses();
        self.losses
    }

    /// What the spool had dropped.
    pub(crate) fn losses(&self) -> Losses {
        self.losses
    }

    pub(crate) fn delivered(&self) -> usize {
        self.delivered
    }

    /// Reports that wait, as they were last counted.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// What was dropped counts as reported.
    pub(crate) fn settle_losses<M: DeliveryIo>(&mut self, mail: &mut M) -> Result<(), M::Error> {
        mail.settle(self.losses)
    }

    /// Moves what was written together with the positions into the spool. A kill in between moves it
    /// again.
    pub(crate) fn move_outbox<M: DeliveryIo>(&mut self, mail: &mut M) -> Result<(), M::Error> {
        if mail.progress().outbox.is_empty() {
            return Ok(());
        }
        for report in std::mem::take(&mut mail.progress().outbox) {
            let (items, order) = (items(&report.body), order(&report.body));
            mail.append(&report, items, order)?;
        }
        mail.save()
    }

    /// Delivers what is waiting, smallest first, until the platform does not answer or has enough for now:
    /// then what waits stays in the spool until the time that it named.
    pub(crate) fn deliver<M: DeliveryIo>(&mut self, mail: &mut M) {
        let now = mail.now();
        if mail.progress().reports_after.is_some_and(|after| is_ahead(after, now)) {
            self.waiting = mail.waiting();
            return;
        }
        mail.progress().reports_after = None;
        for record in mail.pending() {
            if !mail.was_reached() || mail.is_time_up() {
                break;
            }
            let bytes = match mail.read(record) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(problem) => {
                    mail.note(problem);
                    continue;
                }
            };
            match mail.send(&bytes) {
                Ok(()) => self.delivered += 1,
                // What the platform will never take must not keep what comes after it waiting.
                Err(Undelivered::Refused(problem)) => {
                    let items = mail.items(record).max(1);
                    mail.progress().lost += items;
                    mail.note(problem);
                }
                Err(Undelivered::Later { problem, pause }) => {
                    let pause = pause.map(|seconds| seconds.min(LONGEST_PAUSE));
                    let after = pause.map(|seconds| now.saturating_add(seconds));
                    mail.progress().reports_after = after;
                    mail.note(problem);
                    break;
                }
            }
            mail.step(Step::Delivered);
            if let Err(problem) = mail.acknowledge(record) {
                mail.note(problem);
            }
        }
        self.waiting = mail.waiting();
    }
}

/// Whether a time up to which nothing is delivered is still to come. One that is further off than any
/// pause was named before the clock was set back.
fn is_ahead(after: UnixSeconds, now: UnixSeconds) -> bool {
    after > now && after - now <= LONGEST_PAUSE
}

/// How many findings are in a report, so that they can be counted as lost when the report is.
fn items(body: &ReportBody) -> u64 {
    match body {
        ReportBody::Events(events) => events.events.len() as u64 + events.lost,
        ReportBody::Threats(threats) => threats.matches.len() as u64 + threats.lost,
        ReportBody::Paths(paths) => paths.paths.len() as u64 + paths.lost,
        _ => 0,
    }
}

/// What adds up may come in any order; of everything else the last word counts, or the order itself.
fn order(body: &ReportBody) -> DeliveryOrder {
    match body {
        ReportBody::Events(_) | ReportBody::Threats(_) | ReportBody::Paths(_) => {
            DeliveryOrder::BySize
        }
        ReportBody::Programmed(_) => DeliveryOrder::InOrder(1),
        ReportBody::ListeningPorts { .. } => DeliveryOrder::InOrder(2),
        ReportBody::Commands { .. } => DeliveryOrder::InOrder(3),
        ReportBody::Host(_) => DeliveryOrder::InOrder(4),
        ReportBody::Software(_) => DeliveryOrder::InOrder(5),
        ReportBody::Live(_) => DeliveryOrder::InOrder(6),
        ReportBody::Agent { .. } => DeliveryOrder::InOrder(7),
        ReportBody::DebugLog(_) => DeliveryOrder::InOrder(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_even_if_the_clock_was_set_back() {
        for (after, now, ahead) in [
            (1_000, 999, true),
            (1_000, 1_000, false),
            (1_000, 1_001, false),
            (1_000 + LONGEST_PAUSE, 1_000, true),
            (1_001 + LONGEST_PAUSE, 1_000, false),
            (u64::MAX, 0, false),
        ] {
            assert_eq!(is_ahead(after, now), ahead, "{after} {now}");
        }
    }
}
