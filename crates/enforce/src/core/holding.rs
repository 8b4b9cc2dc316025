//! Which ruleset this host has, in which state it is, and what may be said of it.

use std::time::Duration;

use xshield_firewall::{FirewallError, Plan, Programmed};
use xshield_policy::{Facts, Unenforceable};
use xshield_wire::message::InForce;

use super::known_good::LastKnownGood;
use super::ports::{Kernel, NotWritten, Records};

/// A ruleset made ready for this host's kernel, and not there yet.
pub(crate) struct Candidate {
    pub(crate) content: LastKnownGood,
    pub(crate) plan: Plan,
    /// Its rules that can't be enforced on this host.
    pub(crate) unenforceable: Vec<Unenforceable>,
}

/// A ruleset that judges packets until its time runs out: then the one before is back.
pub(crate) struct OnTrial<T> {
    candidate: Candidate,
    trial: T,
    /// What was in force before, as far as that was known.
    before: Option<InForce>,
}

impl<T> OnTrial<T> {
    pub(crate) fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// The platform has answered a new connection through it.
    pub(crate) fn confirmed(self) -> Confirmed<T> {
        Confirmed(self)
    }
}

/// A ruleset on trial through which the platform was reached.
pub(crate) struct Confirmed<T>(OnTrial<T>);

/// A confirmed ruleset that a restart would restore; the trial still runs.
pub(crate) struct WrittenDown<T>(OnTrial<T>);

/// How writing a confirmed ruleset down went.
pub(crate) enum Writing<T> {
    /// A restart would restore it.
    Done(WrittenDown<T>),
    /// It would not: the ruleset is still on trial.
    Failed(OnTrial<T>, NotWritten),
}

/// What this host has, on disk and in the kernel. The zero value claims nothing.
#[derive(Default)]
pub(crate) struct Holding {
    /// What is written down.
    proven: Option<LastKnownGood>,
    /// The ruleset that judges packets, as it was seen, or as the kernel acknowledged it.
    in_kernel: Option<InForce>,
}

impl Holding {
    /// At the begin of a run: nobody has looked at the kernel yet.
    pub(crate) fn of_disk(proven: Option<LastKnownGood>) -> Self {
        Self { proven, in_kernel: None }
    }

    /// What is written down.
    pub(crate) fn proven(&self) -> Option<&LastKnownGood> {
        self.proven.as_ref()
    }

    /// What may be reported as in force.
    pub(crate) fn in_kernel(&self) -> Option<InForce> {
        self.in_kernel
    }

    /// What is written down was found in the kernel, complete.
    pub(crate) fn seen(&mut self) {
        self.in_kernel = self.proven.as_ref().map(|known| known.ruleset.in_force());
    }

    /// The kernel holds something else, or could not be read.
    pub(crate) fn lost_sight(&mut self) {
        self.in_kernel = None;
    }

    /// Puts what is written down into the kernel for good.
    pub(crate) fn put_back(&mut self, kernel: &mut impl Kernel) -> Result<(), FirewallError> {
        let Some(known) = &self.proven else { return Ok(()) };
        self.in_kernel = None;
        kernel.apply_now(&known.plan(&kernel.capabilities()))?;
        self.seen();
        Ok(())
    }

    /// Puts what is written down into the kernel with other facts, and writes those down.
    pub(crate) fn put_back_with(
        &mut self,
        facts: Facts,
        kernel: &mut impl Kernel,
        records: &mut impl Records,
    ) -> Result<(), HoldingError> {
        let Some(known) = &mut self.proven else { return Ok(()) };
        let before = std::mem::replace(&mut known.facts, facts);
        self.in_kernel = None;
        let applied = kernel.apply_now(&known.plan(&kernel.capabilities()));
        if let Err(error) = applied {
            known.facts = before;
            return Err(error.into());
        }
        // The same ruleset, whether or not its new facts can be written down.
        self.in_kernel = Some(known.ruleset.in_force());
        if let Err(error) = records.write_down(known) {
            known.facts = before;
            return Err(error.into());
        }
        Ok(())
    }

    /// Puts a candidate in force for good, without a trial, and writes it down: it is the proven ruleset
    /// with other facts.
    pub(crate) fn replace(
        &mut self,
        candidate: Candidate,
        kernel: &mut impl Kernel,
        records: &mut impl Records,
    ) -> Result<Candidate, HoldingError> {
        self.in_kernel = None;
        kernel.apply_now(&candidate.plan)?;
        self.in_kernel = Some(candidate.content.ruleset.in_force());
        self.remember(candidate, records)
    }

    /// Writes down a candidate whose plan the kernel was just seen to hold.
    pub(crate) fn remember(
        &mut self,
        candidate: Candidate,
        records: &mut impl Records,
    ) -> Result<Candidate, HoldingError> {
        records.write_down(&candidate.content)?;
        records.raise_floor(&candidate.content.ruleset);
        self.proven = Some(candidate.content.clone());
        self.seen();
        Ok(candidate)
    }

    /// Puts a candidate into the kernel for a time.
    pub(crate) fn try_out<K: Kernel>(
        &mut self,
        candidate: Candidate,
        probation: Duration,
        kernel: &mut K,
    ) -> Result<OnTrial<K::Trial>, FirewallError> {
        let before = self.in_kernel.take();
        let tried = kernel.try_apply(&candidate.plan, probation);
        // A change that the kernel refused has changed nothing.
        let trial = tried.inspect_err(|error| {
            if matches!(error, FirewallError::Refused { .. }) {
                self.in_kernel = before;
            }
        })?;
        self.in_kernel = Some(candidate.content.ruleset.in_force());
        Ok(OnTrial { candidate, trial, before })
    }

    /// Takes a ruleset on trial out of the kernel again: what was in force before is.
    pub(crate) fn take_back<K: Kernel>(
        &mut self,
        on_trial: OnTrial<K::Trial>,
        kernel: &mut K,
    ) -> Result<Candidate, FirewallError> {
        let OnTrial { candidate, trial, before } = on_trial;
        self.in_kernel = None;
        kernel.revert(trial)?;
        self.in_kernel = before;
        Ok(candidate)
    }

    /// Writes a confirmed ruleset down: from now on a restart restores it.
    pub(crate) fn write_down<T>(
        &mut self,
        confirmed: Confirmed<T>,
        records: &mut impl Records,
    ) -> Writing<T> {
        let Confirmed(on_trial) = confirmed;
        match records.write_down(&on_trial.candidate.content) {
            Ok(()) => {
                self.proven = Some(on_trial.candidate.content.clone());
                Writing::Done(WrittenDown(on_trial))
            }
            Err(error) => Writing::Failed(on_trial, error),
        }
    }

    /// Ends the trial of a ruleset that is written down: it is in force for good. When the kernel refuses,
    /// nothing is claimed; the next run puts it in force.
    pub(crate) fn keep<K: Kernel>(
        &mut self,
        written: WrittenDown<K::Trial>,
        kernel: &mut K,
        records: &mut impl Records,
    ) -> Result<(Candidate, Programmed), FirewallError> {
        let WrittenDown(OnTrial { candidate, trial, .. }) = written;
        self.in_kernel = None;
        let kept = kernel.keep(trial)?;
        records.raise_floor(&candidate.content.ruleset);
        self.seen();
        Ok((candidate, kept))
    }
}

/// Why a ruleset is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum HoldingError {
    /// The kernel refused, or could not be asked.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// It could not be written down.
    #[error(transparent)]
    Record(#[from] NotWritten),
}
