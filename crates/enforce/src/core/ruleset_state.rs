//! Which ruleset this host has, in which state it is, and what may be reported about it.

use std::time::Duration;

use xshield_firewall::FirewallError;
use xshield_policy::{Facts, Unenforceable};
use xshield_wire::message::InForce;

use super::kernel::{Kernel, ReadBack};
use super::known_good::LastKnownGood;
use super::ports::{Records, SaveError};

/// A ruleset planned for this host's kernel, not applied yet.
pub(crate) struct Candidate<P> {
    pub(crate) content: LastKnownGood,
    pub(crate) plan: P,
    /// The rules that can't be enforced on this host.
    pub(crate) unenforceable: Vec<Unenforceable>,
}

/// A ruleset in force for the probation; when that ends, the kernel reverts to the previous one.
pub(crate) struct OnTrial<K: Kernel> {
    candidate: Candidate<K::Plan>,
    trial: K::Trial,
    /// What was in force before, as far as known.
    before: Option<InForce>,
}

impl<K: Kernel> OnTrial<K> {
    pub(crate) fn candidate(&self) -> &Candidate<K::Plan> {
        &self.candidate
    }

    /// The platform answered over a new connection while it was in force.
    pub(crate) fn confirmed(self) -> Confirmed<K> {
        Confirmed(self)
    }
}

/// A ruleset on trial through which the platform was reached.
pub(crate) struct Confirmed<K: Kernel>(OnTrial<K>);

/// A confirmed ruleset that a restart would restore; the trial is still running.
pub(crate) struct SavedOnTrial<K: Kernel>(OnTrial<K>);

/// The result of saving a confirmed ruleset.
pub(crate) enum SaveResult<K: Kernel> {
    /// A restart would restore it.
    Done(SavedOnTrial<K>),
    /// A restart would not restore it: the ruleset is still on trial.
    Failed(OnTrial<K>, SaveError),
}

/// What this host has on disk and in the kernel. The default claims nothing.
#[derive(Default)]
pub(crate) struct RulesetState {
    /// The ruleset on disk.
    proven: Option<LastKnownGood>,
    /// The ruleset in force, as read from the kernel or as the kernel acknowledged it.
    in_kernel: Option<InForce>,
}

impl RulesetState {
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
        kernel.apply_now(&known.plan(kernel)?)?;
        self.seen();
        Ok(())
    }

    /// Puts the ruleset on disk into the kernel with new facts, and saves those.
    pub(crate) fn put_back_with(
        &mut self,
        facts: Facts,
        kernel: &mut impl Kernel,
        records: &mut impl Records,
    ) -> Result<(), RulesetStateError> {
        let Some(known) = &mut self.proven else { return Ok(()) };
        let before = std::mem::replace(&mut known.facts, facts);
        self.in_kernel = None;
        let applied = known.plan(kernel).and_then(|plan| kernel.apply_now(&plan));
        if let Err(error) = applied {
            known.facts = before;
            return Err(error.into());
        }
        // It is the same ruleset, whether or not its new facts can be saved.
        self.in_kernel = Some(known.ruleset.in_force());
        if let Err(error) = records.save(known) {
            known.facts = before;
            return Err(error.into());
        }
        Ok(())
    }

    /// Puts a candidate in force without a trial, and saves it: it is the last-known-good ruleset with new
    /// facts.
    pub(crate) fn replace<K: Kernel>(
        &mut self,
        candidate: Candidate<K::Plan>,
        kernel: &mut K,
        records: &mut impl Records,
    ) -> Result<Candidate<K::Plan>, RulesetStateError> {
        self.in_kernel = None;
        kernel.apply_now(&candidate.plan)?;
        self.in_kernel = Some(candidate.content.ruleset.in_force());
        self.remember(candidate, records)
    }

    /// Saves a candidate whose plan was just read from the kernel.
    pub(crate) fn remember<P>(
        &mut self,
        candidate: Candidate<P>,
        records: &mut impl Records,
    ) -> Result<Candidate<P>, RulesetStateError> {
        records.save(&candidate.content)?;
        records.raise_floor(&candidate.content.ruleset);
        self.proven = Some(candidate.content.clone());
        self.seen();
        Ok(candidate)
    }

    /// Puts a candidate in force on trial.
    pub(crate) fn try_out<K: Kernel>(
        &mut self,
        candidate: Candidate<K::Plan>,
        probation: Duration,
        kernel: &mut K,
    ) -> Result<OnTrial<K>, FirewallError> {
        let before = self.in_kernel.take();
        let tried = kernel.try_apply(&candidate.plan, probation);
        // A change that the kernel refused had no effect.
        let trial = tried.inspect_err(|error| {
            if error.changed_nothing() {
                self.in_kernel = before;
            }
        })?;
        self.in_kernel = Some(candidate.content.ruleset.in_force());
        Ok(OnTrial { candidate, trial, before })
    }

    /// Reverts a ruleset on trial: the previous one is in force again.
    pub(crate) fn take_back<K: Kernel>(
        &mut self,
        on_trial: OnTrial<K>,
        kernel: &mut K,
    ) -> Result<Candidate<K::Plan>, FirewallError> {
        let OnTrial { candidate, trial, before } = on_trial;
        self.in_kernel = None;
        kernel.revert(trial)?;
        self.in_kernel = before;
        Ok(candidate)
    }

    /// Saves a confirmed ruleset: from now on a restart restores it.
    pub(crate) fn save<K: Kernel>(
        &mut self,
        confirmed: Confirmed<K>,
        records: &mut impl Records,
    ) -> SaveResult<K> {
        let Confirmed(on_trial) = confirmed;
        match records.save(&on_trial.candidate.content) {
            Ok(()) => {
                self.proven = Some(on_trial.candidate.content.clone());
                SaveResult::Done(SavedOnTrial(on_trial))
            }
            Err(error) => SaveResult::Failed(on_trial, error),
        }
    }

    /// Ends the trial of a saved ruleset: it is in force for good. If the kernel refuses, nothing is claimed;
    /// the next run puts it in force.
    pub(crate) fn keep<K: Kernel>(
        &mut self,
        written: SavedOnTrial<K>,
        kernel: &mut K,
        records: &mut impl Records,
    ) -> Result<(Candidate<K::Plan>, ReadBack), FirewallError> {
        let SavedOnTrial(OnTrial { candidate, trial, .. }) = written;
        self.in_kernel = None;
        let kept = kernel.keep(trial, &candidate.plan)?;
        records.raise_floor(&candidate.content.ruleset);
        self.seen();
        Ok((candidate, kept))
    }
}

/// Why a ruleset could not be put in force or saved.
#[derive(Debug, thiserror::Error)]
pub enum RulesetStateError {
    /// The kernel refused, or could not be read.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// It could not be saved.
    #[error(transparent)]
    Record(#[from] SaveError),
}
