//! Which ruleset this host has, in which state it is, and what may be reported about it.

use std::time::Duration;

use xshield_firewall::{FirewallError, Plan, Programmed};
use xshield_policy::{Facts, Unenforceable};
use xshield_wire::message::InForce;

use super::known_good::LastKnownGood;
use super::ports::{Kernel, NotWritten, Records};

/// A ruleset planned for this host's kernel, not applied yet.
pub(crate) struct Candidate {
    pub(crate) content: LastKnownGood,
    pub(crate) plan: Plan,
    /// The rules that can't be enforced on this host.
    pub(crate) unenforceable: Vec<Unenforceable>,
}

/// A ruleset in force for the probation; when that ends, the kernel reverts to the previous one.
pub(crate) struct OnTrial<T> {
    candidate: Candidate,
    trial: T,
    /// What was in force before, as far as known.
    before: Option<InForce>,
}

impl<T> OnTrial<T> {
    pub(crate) fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// The platform answered over a new connection while it was in force.
    pub(crate) fn confirmed(self) -> Confirmed<T> {
        Confirmed(self)
    }
}

/// A ruleset on trial through which the platform was reached.
pub(crate) struct Confirmed<T>(OnTrial<T>);

/// A confirmed ruleset that a restart would restore; the trial is still running.
pub(crate) struct WrittenDown<T>(OnTrial<T>);

/// The result of saving a confirmed ruleset.
pub(crate) enum Writing<T> {
    /// A restart would restore it.
    Done(WrittenDown<T>),
    /// A restart would not restore it: the ruleset is still on trial.
    Failed(OnTrial<T>, NotWritten),
}

/// What this host has on disk and in the kernel. The default claims nothing.
#[derive(Default)]
pub(crate) struct Holding {
    /// The ruleset on disk.
    proven: Option<LastKnownGood>,
    /// The ruleset in force, as read from the kernel or as the kernel acknowledged it.
    in_kernel: Option<InForce>,
}

impl Holding {
    /// The state at the beginning of a run: the kernel was not read yet.
    pub(crate) fn of_disk(proven: Option<LastKnownGood>) -> Self {
        Self { proven, in_kernel: None }
    }

    /// The ruleset on disk.
    pub(crate) fn proven(&self) -> Option<&LastKnownGood> {
        self.proven.as_ref()
    }

    /// What may be reported as in force.
    pub(crate) fn in_kernel(&self) -> Option<InForce> {
        self.in_kernel
    }

    /// The ruleset on disk was found in the kernel, complete.
    pub(crate) fn seen(&mut self) {
        self.in_kernel = self.proven.as_ref().map(|known| known.ruleset.in_force());
    }

    /// The kernel holds something else, or could not be read.
    pub(crate) fn lost_sight(&mut self) {
        self.in_kernel = None;
    }

    /// Puts the ruleset on disk into the kernel for good.
    pub(crate) fn put_back(&mut self, kernel: &mut impl Kernel) -> Result<(), FirewallError> {
        let Some(known) = &self.proven else { return Ok(()) };
        self.in_kernel = None;
        kernel.apply_now(&known.plan(&kernel.capabilities()))?;
        self.seen();
        Ok(())
    }

    /// Puts the ruleset on disk into the kernel with new facts, and saves those.
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
        // It is the same ruleset, whether or not its new facts can be saved.
        self.in_kernel = Some(known.ruleset.in_force());
        if let Err(error) = records.write_down(known) {
            known.facts = before;
            return Err(error.into());
        }
        Ok(())
    }

    /// Puts a candidate in force without a trial, and saves it: it is the last-known-good ruleset with new
    /// facts.
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

    /// Saves a candidate whose plan was just read from the kernel.
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

    /// Puts a candidate in force on trial.
    pub(crate) fn try_out<K: Kernel>(
        &mut self,
        candidate: Candidate,
        probation: Duration,
        kernel: &mut K,
    ) -> Result<OnTrial<K::Trial>, FirewallError> {
        let before = self.in_kernel.take();
        let tried = kernel.try_apply(&candidate.plan, probation);
        // A change that the kernel refused had no effect.
        let trial = tried.inspect_err(|error| {
            if matches!(error, FirewallError::Refused { .. }) {
                self.in_kernel = before;
            }
        })?;
        self.in_kernel = Some(candidate.content.ruleset.in_force());
        Ok(OnTrial { candidate, trial, before })
    }

    /// Reverts a ruleset on trial: the previous one is in force again.
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

    /// Saves a confirmed ruleset: from now on a restart restores it.
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

    /// Ends the trial of a saved ruleset: it is in force for good. If the kernel refuses, nothing is claimed;
    /// the next run puts it in force.
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

/// Why a ruleset could not be put in force or saved.
#[derive(Debug, thiserror::Error)]
pub enum HoldingError {
    /// The kernel refused, or could not be read.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// It could not be saved.
    #[error(transparent)]
    Record(#[from] NotWritten),
}
