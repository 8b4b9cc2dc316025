//! Delivery on a real host: the state directory, the spool, the connection.

use std::time::Instant;

use xshield_host::files::FileError;
use xshield_host::spool::{DeliveryOrder, Losses, RecordId, Spool, SpoolError};
use xshield_wire::message::{Problem, Report, UnixSeconds};

use crate::client::{pack, to_json};
use crate::core::delivery::{Delivery, DeliveryIo, Undelivered};
use crate::exchange::Exchange;
use crate::problems::problem;
use crate::progress::Progress;
use crate::reached;
use crate::run::Run;
use crate::step::Step;

/// Why reports could not be made to outlive the run.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// What runs remember can't be written.
    #[error("using the state directory failed")]
    State(#[from] FileError),
    /// The spool can't be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Disk and platform of a run.
pub(crate) struct HostDelivery<'r, 'a> {
    pub(crate) run: &'r mut Run<'a>,
    pub(crate) exchange: &'r mut Exchange<'a>,
    pub(crate) spool: &'r mut Spool,
    /// When the run has no time left for deliveries.
    until: Option<Instant>,
}

impl<'r, 'a> HostDelivery<'r, 'a> {
    pub(crate) fn new(
        run: &'r mut Run<'a>,
        exchange: &'r mut Exchange<'a>,
        spool: &'r mut Spool,
    ) -> Self {
        let until = run.options.delivery_timeout.map(|timeout| Instant::now() + timeout);
        Self { run, exchange, spool, until }
    }

    /// Moves the outbox into the spool and delivers what waits there.
    pub(crate) fn deliver_outbox(mut self, delivery: &mut Delivery) -> Result<(), DeliveryError> {
        delivery.move_outbox(&mut self)?;
        delivery.deliver(&mut self);
        Ok(())
    }
}

impl DeliveryIo for HostDelivery<'_, '_> {
    type Record = RecordId;
    type Error = DeliveryError;

    fn progress(&mut self) -> &mut Progress {
        &mut self.run.progress
    }

    fn save(&mut self) -> Result<(), DeliveryError> {
        Ok(self.run.state.save_progress(&self.run.progress)?)
    }

    fn append(
        &mut self,
        report: &Report,
        items: u64,
        order: DeliveryOrder,
    ) -> Result<(), DeliveryError> {
        self.spool.append(&pack(&to_json(report)), items, order)?;
        Ok(())
    }

    fn pending(&self) -> Vec<RecordId> {
        self.spool.pending()
    }

    fn read(&mut self, record: RecordId) -> Result<Option<Vec<u8>>, Problem> {
        self.spool.read(record).map_err(|error| problem("spool", &error))
    }

    fn items(&self, record: RecordId) -> u64 {
        self.spool.items(record)
    }

    fn acknowledge(&mut self, record: RecordId) -> Result<(), Problem> {
        self.spool.acknowledge(record).map_err(|error| problem("spool", &error))
    }

    fn waiting(&self) -> usize {
        self.spool.waiting()
    }

    fn losses(&self) -> Losses {
        self.spool.losses()
    }

    fn settle(&mut self, reported: Losses) -> Result<(), DeliveryError> {
        Ok(self.spool.settle(reported)?)
    }

    fn now(&self) -> UnixSeconds {
        self.run.now()
    }

    fn was_reached(&self) -> bool {
        self.exchange.was_reached()
    }

    fn is_time_up(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn send(&mut self, record: &[u8]) -> Result<(), Undelivered> {
        match self.exchange.client.report(record) {
            Ok(_) => Ok(()),
            Err(error) if error.is_final() => {
                Err(Undelivered::Refused(problem("report-refused", &error)))
            }
            Err(error) => {
                let problem = problem("report-undelivered", &error);
                Err(Undelivered::Later { problem, pause: error.retry_after() })
            }
        }
    }

    fn note(&mut self, problem: Problem) {
        self.run.problems.push(problem);
    }

    fn step(&mut self, step: Step) {
        reached::step(step);
    }
}
