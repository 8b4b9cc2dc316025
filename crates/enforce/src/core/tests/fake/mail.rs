//! Delivery in the simulated world.

use super::*;

impl<M: Model> DeliveryIo for Running<M> {
    type Record = u64;
    type Error = NotSaved;

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn save(&mut self) -> Result<(), NotSaved> {
        let bytes = serde_json::to_vec(&self.progress).unwrap();
        self.put_on_disk(Call::Save, |disk| disk.progress = bytes)
    }

    fn append(&mut self, report: &Report, items: u64, _: DeliveryOrder) -> Result<(), NotSaved> {
        let bytes = serde_json::to_vec(report).unwrap();
        self.put_on_disk(Call::Append, |disk| {
            disk.next_record += 1;
            disk.spool.insert(disk.next_record, Waiting { bytes, items });
        })
    }

    fn pending(&self) -> Vec<u64> {
        self.world.0.borrow().disk.spool.keys().copied().collect()
    }

    fn read(&mut self, record: u64) -> Result<Option<Vec<u8>>, Problem> {
        let world = self.world.0.borrow();
        Ok(world.disk.spool.get(&record).map(|waiting| waiting.bytes.clone()))
    }

    fn items(&self, record: u64) -> u64 {
        let world = self.world.0.borrow();
        world.disk.spool.get(&record).map_or(0, |waiting| waiting.items)
    }

    fn acknowledge(&mut self, record: u64) -> Result<(), Problem> {
        let removed = self.put_on_disk(Call::Acknowledge, |disk| {
            disk.spool.remove(&record);
        });
        removed.map_err(|NotSaved| problem_of("spool"))
    }

    fn waiting(&self) -> usize {
        self.world.0.borrow().disk.spool.len()
    }

    fn losses(&self) -> Losses {
        self.world.0.borrow().disk.losses
    }

    fn settle(&mut self, _: Losses) -> Result<(), NotSaved> {
        self.put_on_disk(Call::Settle, |disk| disk.losses = Losses::default())
    }

    fn now(&self) -> UnixSeconds {
        self.world.0.borrow().now
    }

    fn was_reached(&self) -> bool {
        self.contact == Contact::Reached
    }

    fn is_time_up(&self) -> bool {
        false
    }

    fn send(&mut self, record: &[u8]) -> Result<(), Undelivered> {
        let report: Report = serde_json::from_slice(record).expect("a run wrote it");
        let later = |pause| Undelivered::Later { problem: problem_of("report-undelivered"), pause };
        let act = |sim: &mut Sim<M>| match sim.behaviour.reports {
            Reports::Taken => {
                sim.counted.take(&report);
                Ok(())
            }
            Reports::Refused => Err(Undelivered::Refused(problem_of("report-refused"))),
            Reports::Enough => Err(later(Some(300))),
        };
        self.world.perform(Call::Send, act, |_| Err(later(None)))
    }

    fn note(&mut self, problem: Problem) {
        Log::note(self, problem);
    }

    fn step(&mut self, step: Step) {
        Log::step(self, step);
    }
}

fn problem_of(code: &str) -> Problem {
    Problem { code: code.to_owned(), text: "it failed".to_owned() }
}

impl Counted {
    /// Counts a report; the same one once.
    fn take(&mut self, report: &Report) {
        if !self.batches.insert(report.batch.0) {
            return;
        }
        match &report.body {
            ReportBody::Programmed(programmed) => {
                self.hits += programmed.hits.iter().map(|hits| hits.packets).sum::<u64>();
            }
            ReportBody::Threats(threats) => {
                self.matches += threats.matches.iter().map(|found| found.packets).sum::<u64>();
            }
            other => panic!("nobody puts {other:?} into the outbox"),
        }
    }
}

impl<M: Model> Running<M> {
    fn put_on_disk(&self, call: Call, act: impl FnOnce(&mut Disk)) -> Result<(), NotSaved> {
        let act = |sim: &mut Sim<M>| {
            act(&mut sim.disk);
            Ok(())
        };
        self.world.perform(call, act, |_| Err(NotSaved))
    }

    /// Puts a report into the outbox.
    pub(super) fn put(&mut self, body: ReportBody) {
        let number = self.world.set(|sim| {
            sim.batches += 1;
            sim.batches
        });
        let mut batch = [0; 16];
        batch[..8].copy_from_slice(&number.to_be_bytes());
        let now = DeliveryIo::now(self);
        self.progress.outbox.push(Report::new(batch, now, body));
    }
}
