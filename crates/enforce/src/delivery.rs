//! Delivery of reports: outbox, spool, acknowledgement.

use std::time::Instant;

use xshield_host::files::FileError;
use xshield_host::spool::{Lane, Losses, Spool, SpoolError};
use xshield_wire::message::{ReportBody, UnixSeconds};

use crate::client::{pack, to_json};
use crate::exchange::Exchange;
use crate::problems::problem;
use crate::reached;
use crate::run::Run;
use crate::step::Step;

/// The longest pause between deliveries that the platform may ask for, in seconds.
const LONGEST_PAUSE: u64 = 3_600;

/// Why reports could not be saved beyond the run.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The progress file can't be written.
    #[error("using the state directory failed")]
    State(#[from] FileError),
    /// The spool can't be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// The delivery of reports in a run.
pub(crate) struct Delivery {
    spool: Spool,
    /// What the spool had to drop, as counted in this run's events.
    losses: Losses,
    /// The number of reports that the platform accepted in this run.
    delivered: usize,
    /// The number of reports still waiting.
    waiting: usize,
}

impl Delivery {
    pub(crate) fn new(spool: Spool) -> Self {
        Self { spool, losses: Losses::default(), delivered: 0, waiting: 0 }
    }

    /// Reads what the spool had to drop, to be reported with this run's events.
    pub(crate) fn look_at_losses(&mut self) -> Losses {
        self.losses = self.spool.losses();
        self.losses
    }

    /// What the spool had to drop.
    pub(crate) fn losses(&self) -> Losses {
        self.losses
    }

    pub(crate) fn delivered(&self) -> usize {
        self.delivered
    }

    /// The number of waiting reports when they were last counted.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Counts the waiting reports.
    pub(crate) fn waiting_now(&self) -> usize {
        self.spool.waiting()
    }

    /// Records that the dropped reports were reported.
    pub(crate) fn settle_losses(&mut self) -> Result<(), DeliveryError> {
        Ok(self.spool.settle(self.losses)?)
    }

    /// Moves the outbox, which is saved together with the positions, into the spool. After a kill in between
    /// it is moved again; batch ids stay the same, and the platform counts each once.
    pub(crate) fn move_outbox(&mut self, run: &mut Run<'_>) -> Result<(), DeliveryError> {
        if run.progress.outbox.is_empty() {
            return Ok(());
        }
        for report in std::mem::take(&mut run.progress.outbox) {
            let items = match &report.body {
                ReportBody::Events(events) => events.events.len() as u64 + events.lost,
                ReportBody::Threats(threats) => threats.matches.len() as u64 + threats.lost,
                ReportBody::Paths(paths) => paths.paths.len() as u64 + paths.lost,
                _ => 0,
            };
            self.spool.append(&pack(&to_json(&report)), items, lane(&report.body))?;
        }
        run.state.save_progress(&run.progress)?;
        Ok(())
    }

    /// Delivers waiting reports, smallest first, until the platform does not answer or asks for a pause: then
    /// the rest stays in the spool until the time that it named.
    pub(crate) fn deliver(&mut self, run: &mut Run<'_>, exchange: &mut Exchange<'_>) {
        let now = run.now();
        if run.progress.reports_after.is_some_and(|after| is_ahead(after, now)) {
            self.waiting = self.spool.waiting();
            return;
        }
        run.progress.reports_after = None;
        let limit = run.options.patience.map(|patience| Instant::now() + patience);
        for id in self.spool.pending() {
            if !exchange.was_reached() || limit.is_some_and(|limit| Instant::now() >= limit) {
                break;
            }
            let record = match self.spool.read(id) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(error) => {
                    run.problems.push(problem("spool", &error));
                    continue;
                }
            };
            match exchange.client.report(&record) {
                Ok(_) => self.delivered += 1,
                // A report that the platform will never accept must not block those after it.
                Err(error) if error.is_final() => {
                    run.progress.lost += self.spool.items(id).max(1);
                    run.problems.push(problem("report-refused", &error));
                }
                Err(error) => {
                    let pause = error.retry_after().map(|seconds| seconds.min(LONGEST_PAUSE));
                    run.progress.reports_after = pause.map(|seconds| now.saturating_add(seconds));
                    run.problems.push(problem("report-undelivered", &error));
                    break;
                }
            }
            reached::step(Step::Delivered);
            if let Err(error) = self.spool.acknowledge(id) {
                run.problems.push(problem("spool", &error));
            }
        }
        self.waiting = self.spool.waiting();
    }
}

/// Whether a pause has not ended yet. One that ends later than the longest pause allows was set before the
/// clock went back.
fn is_ahead(after: UnixSeconds, now: UnixSeconds) -> bool {
    after > now && after - now <= LONGEST_PAUSE
}

/// Whether reports of this kind add up, so that their order does not matter, or the last one counts, or their
/// order must be kept.
fn lane(body: &ReportBody) -> Lane {
    match body {
        ReportBody::Events(_) | ReportBody::Threats(_) | ReportBody::Paths(_) => Lane::BySize,
        ReportBody::Programmed(_) => Lane::InOrder(1),
        ReportBody::ListeningPorts { .. } => Lane::InOrder(2),
        ReportBody::Commands { .. } => Lane::InOrder(3),
        ReportBody::Host(_) => Lane::InOrder(4),
        ReportBody::Software(_) => Lane::InOrder(5),
        ReportBody::Live(_) => Lane::InOrder(6),
        ReportBody::Agent { .. } => Lane::InOrder(7),
        ReportBody::DebugLog(_) => Lane::InOrder(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_and_a_clock_that_was_set_back_does_not_prolong_it() {
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
