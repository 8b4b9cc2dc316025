//! The simulated kernel.

use super::*;

pub(super) fn hit(packets: u64) -> Hit {
    Hit {
        rule: "t/open".to_owned(),
        direction: Direction::Inbound,
        action: Action::Allow,
        packets,
        bytes: packets,
    }
}

pub(super) fn refused(fault: Fault) -> FirewallError {
    let action = "doing it";
    match fault {
        Fault::Unanswered => FirewallError::NoAnswer { action },
        _ => {
            let source = io::Error::from_raw_os_error(12);
            FirewallError::Refused { action, source, hint: String::new() }
        }
    }
}

/// The error of reading while others change the table faster than it is read.
pub(super) fn unread(fault: Fault) -> FirewallError {
    let action = "reading it";
    match fault {
        Fault::Unanswered => FirewallError::NoAnswer { action },
        _ => FirewallError::Busy { action },
    }
}

pub(super) struct FakeKernel(pub(super) World);

impl Kernel for FakeKernel {
    /// Which slot is on trial.
    type Trial = Option<Slot>;

    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL
    }

    fn generation(&mut self) -> Result<Generation, FirewallError> {
        let fail = |fault| Err(unread(fault));
        self.0.perform(Call::Generation, |sim| Ok(Generation(sim.generation)), fail)
    }

    fn state(&mut self) -> Result<KernelState, FirewallError> {
        self.0.perform(Call::State, |sim| Ok(sim.state()), |fault| Err(unread(fault)))
    }

    fn read_back(&mut self) -> Result<Programmed, FirewallError> {
        self.0.perform(Call::ReadBack, |sim| sim.programmed(), |fault| Err(unread(fault)))
    }

    fn apply_now(&mut self, plan: &Plan) -> Result<(), FirewallError> {
        let act = |sim: &mut Sim| {
            sim.put(plan);
            Ok(())
        };
        self.0.perform(Call::ApplyNow, act, |fault| Err(refused(fault)))
    }

    fn try_apply(&mut self, plan: &Plan, _: Duration) -> Result<Option<Slot>, FirewallError> {
        let act = |sim: &mut Sim| {
            let same = sim.table.settled.as_ref().is_some_and(|old| *old.plan == *plan);
            if same && sim.table.trial.is_none() && !sim.table.foreign {
                return Ok(None);
            }
            let slot = sim.table.free_slot();
            let settled = sim.table.settled.take().filter(|_| !sim.table.foreign);
            let trial = Some(Entry::new(slot, plan));
            sim.table = Table { settled, trial, over: false, foreign: false };
            sim.generation += 1;
            Ok(Some(slot))
        };
        self.0.perform(Call::TryApply, act, |fault| Err(refused(fault)))
    }

    fn keep(&mut self, trial: Option<Slot>) -> Result<Programmed, FirewallError> {
        let act = |sim: &mut Sim| {
            if trial.is_none() {
                return sim.programmed();
            }
            if sim.table.over {
                return Err(FirewallError::ProbationOver);
            }
            let old = sim.table.settled.take();
            sim.table.settled = sim.table.trial.take();
            sim.generation += 1;
            let final_hits = old.map(|old| hit(old.hits)).into_iter().collect();
            Ok(Programmed { final_hits, ..sim.programmed()? })
        };
        self.0.perform(Call::Keep, act, |fault| Err(refused(fault)))
    }

    fn revert(&mut self, trial: Option<Slot>) -> Result<(), FirewallError> {
        let act = |sim: &mut Sim| {
            if trial.is_some() {
                sim.table.trial = None;
                sim.generation += 1;
            }
            Ok(())
        };
        self.0.perform(Call::Revert, act, |fault| Err(refused(fault)))
    }
}
