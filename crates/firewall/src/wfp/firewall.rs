//! The policy in a filter engine: which plan is installed, trial, confirmation, read-back, removal.
//!
//! The counterpart of nftables' `Firewall`, over any [`FilterEngine`]. A plan in force is persistent; a plan
//! on trial is in a dynamic session of the engine, above the one in force ([`trial`]). The filters that match
//! everything carry the revision and the digest of their plan.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use xshield_policy::Revision;

use super::attribution::FilterNumbers;
use super::decode::programmed;
use super::diff::{difference, is_on_trial};
use super::filter_engine::{FilterEngine, ObjectChange, SessionKind, Transaction};
use super::mark::read_mark;
use super::model::{EngineState, Filter, Flags, ObjectKey};
use super::ours::{Class, Tier, is_ours, tier_and_class};
use super::plan::Plan;
use super::program::Programs;
use super::trial;
use crate::error::FirewallError;
use crate::plan::Digest;
use crate::programmed::{Drift, Programmed};

/// The policy's filters in a filter engine.
#[derive(Debug, Clone)]
pub struct WfpFirewall<E> {
    engine: E,
    /// Of all filters of ours that were read, those of trials included.
    numbers: FilterNumbers,
}

/// A plan in the filter engine, according to the filters that carry its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstalledPlan {
    /// The revision from which it was made; the first of several that have the same plan.
    pub revision: Revision,
    /// The plan.
    pub digest: Digest,
}

/// Which plan of ours the filter engine holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyState {
    /// None.
    Absent,
    /// One, for good.
    InForce(InstalledPlan),
    /// One on trial, until its session ends.
    Trial {
        /// The one on trial; `None` if it is not complete.
        new: Option<InstalledPlan>,
        /// The one that is in force again after the trial; `None` if everything is allowed then.
        old: Option<InstalledPlan>,
        /// The session that it ends with.
        session: TrialSession,
    },
    /// Something that we did not install.
    Damaged {
        /// What is wrong.
        what: String,
    },
}

/// Whose trial it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialSession {
    /// Of this value.
    Own,
    /// Of another one: another run of this program, or one that was killed and whose session the engine has
    /// not ended yet.
    Other,
}

/// A plan on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WfpTrial {
    /// It was in force already; nothing was changed.
    Unchanged,
    /// These filters are in force until they are deleted or their session ends.
    Running(BTreeSet<ObjectKey>),
}

/// A plan as it was read from the filter engine.
#[derive(Debug, Clone)]
pub struct ReadPlan {
    /// The filters as a ruleset.
    pub programmed: Programmed,
    /// How they differ from the plan with which they were compared.
    pub differences: Vec<Drift>,
}

impl<E: FilterEngine> WfpFirewall<E> {
    /// The policy's filters in this engine.
    pub fn new(engine: E) -> Self {
        Self { engine, numbers: FilterNumbers::default() }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// The engine, to read or change it.
    pub fn engine_mut(&mut self) -> &mut E {
        &mut self.engine
    }

    /// The numbers by which events refer to filters of ours: of all that this value has read.
    #[must_use]
    pub fn numbers(&self) -> &FilterNumbers {
        &self.numbers
    }

    /// Begins with numbers that an earlier program read. Without them, events of filters that were replaced
    /// before this program's first reading can't be attributed.
    pub fn begin_with(&mut self, numbers: FilterNumbers) {
        self.numbers = numbers;
    }

    /// Reads the engine, and remembers the numbers of our filters.
    fn read(&mut self) -> Result<EngineState, FirewallError> {
        let state = self.engine.read()?;
        self.numbers.learn(&state);
        Ok(state)
    }

    /// Which plan is installed.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub fn state(&mut self) -> Result<PolicyState, FirewallError> {
        Ok(installed(&self.read()?))
    }

    /// Puts a plan on trial: in force until it is kept or reverted, until this value is dropped or its
    /// program ends, and not longer than the probation: after that, the engine's side ends it, if necessary
    /// together with the program. Does nothing if the plan is in force already.
    ///
    /// # Errors
    /// When the engine refuses; the plan in force is then the same as before.
    pub fn try_apply(
        &mut self,
        plan: &Plan,
        probation: Duration,
    ) -> Result<WfpTrial, FirewallError> {
        let state = self.read()?;
        match installed(&state) {
            PolicyState::InForce(plan_in_force)
                if plan_in_force.digest == plan.digest()
                    && difference(Some(plan), &state).drift.is_empty() =>
            {
                return Ok(WfpTrial::Unchanged);
            }
            PolicyState::Trial { session, .. } => self.end_trial(&state, session)?,
            PolicyState::Absent | PolicyState::InForce(_) | PolicyState::Damaged { .. } => {}
        }
        if let Some(prepare) = trial::prepare(&state) {
            self.engine.commit(&prepare)?;
        }
        self.engine.limit_session(probation)?;
        self.engine.commit(&trial::begin(plan))?;
        Ok(WfpTrial::Running(plan.filters_in(Tier::Trial).map(|filter| filter.key).collect()))
    }

    /// Makes the plan on trial the one in force, and ends the trial.
    ///
    /// # Errors
    /// [`FirewallError::ProbationOver`] if the trial's session has ended, [`FirewallError::Overtaken`] if its
    /// filters were changed, or the engine's refusal.
    pub fn keep(&mut self, trial: &WfpTrial, plan: &Plan) -> Result<ReadPlan, FirewallError> {
        let WfpTrial::Running(keys) = trial else { return self.read_back(Some(plan)) };
        let state = self.read()?;
        let wanted = plan.filters_in(Tier::Trial);
        let there = wanted.filter(|wanted| state.filters.iter().any(|f| wanted.is_same_as(f)));
        match there.count() {
            0 => return Err(FirewallError::ProbationOver),
            count if count < keys.len() => {
                return Err(FirewallError::Overtaken { action: "keeping the ruleset on trial" });
            }
            _ => {}
        }
        self.engine.commit(&trial::keep(plan, &state))?;
        // The same plan is below it now, so it makes no difference to packets how the trial ends.
        let ended = self.engine.commit(&trial::end(plan));
        self.engine.end_session().or(ended)?;
        self.read_back(Some(plan))
    }

    /// Ends a trial; the plan that was in force before is in force again.
    ///
    /// # Errors
    /// When the engine can't be reached; it ends the trial when this program ends.
    pub fn revert(&mut self, trial: &WfpTrial) -> Result<(), FirewallError> {
        let WfpTrial::Running(_) = trial else { return Ok(()) };
        let state = self.read()?;
        self.end_trial(&state, TrialSession::Own)
    }

    /// Puts a plan in force for good.
    ///
    /// # Errors
    /// When the engine refuses, or another session's trial is still above the plan.
    pub fn apply_now(&mut self, plan: &Plan) -> Result<(), FirewallError> {
        let state = self.read()?;
        let change = difference(Some(plan), &state).transaction();
        if !change.changes.is_empty() {
            self.engine.commit(&change)?;
        }
        match installed(&state) {
            PolicyState::Trial { session, .. } => self.end_trial(&state, session),
            _ => Ok(()),
        }
    }

    /// Reads the plan in force, and compares it with `expected`.
    ///
    /// # Errors
    /// When there is none, or the engine can't be read.
    pub fn read_back(&mut self, expected: Option<&Plan>) -> Result<ReadPlan, FirewallError> {
        let state = self.read()?;
        let programmed =
            programmed(&state, &Programs::new()).ok_or_else(|| FirewallError::NothingInForce {
                what: "the filter engine holds no filter of ours".into(),
            })?;
        let mut differences =
            expected.map(|plan| difference(Some(plan), &state).drift).unwrap_or_default();
        if let PolicyState::Trial { session, .. } = installed(&state) {
            let whose = match session {
                TrialSession::Own => "this program",
                TrialSession::Other => "another session",
            };
            differences.push(Drift { text: format!("a trial of {whose} is above the policy") });
        }
        Ok(ReadPlan { programmed, differences })
    }

    /// Removes everything of ours, and nothing else.
    ///
    /// # Errors
    /// When the engine refuses; nothing is changed then.
    pub fn remove(&mut self) -> Result<(), FirewallError> {
        let state = self.read()?;
        if let PolicyState::Trial { session, .. } = installed(&state) {
            self.end_trial(&state, session)?;
        }
        let change = difference(None, &self.read()?).transaction();
        if !change.changes.is_empty() {
            self.engine.commit(&change)?;
        }
        Ok(())
    }

    /// Ends a trial of this value's session in one transaction. Only the engine ends another's.
    fn end_trial(
        &mut self,
        state: &EngineState,
        session: TrialSession,
    ) -> Result<(), FirewallError> {
        if session == TrialSession::Other {
            return Err(FirewallError::TrialOfAnother);
        }
        let filters = state.filters.iter().filter(|filter| state.dynamic.contains(&filter.key));
        let changes: Vec<ObjectChange> =
            filters.map(|filter| ObjectChange::DeleteFilter(filter.key.clone())).collect();
        let deleted = match changes.is_empty() {
            true => Ok(()),
            false => self.engine.commit(&Transaction { session: SessionKind::Dynamic, changes }),
        };
        // Where the transaction was refused, the end of the session deletes them as well.
        Ok(self.engine.end_session().or(deleted)?)
    }
}

/// Which plan an engine holds.
fn installed(state: &EngineState) -> PolicyState {
    let ours = || state.filters.iter().filter(|filter| is_ours(filter.provider.as_ref()));
    let (trial, kept): (Vec<&Filter>, Vec<&Filter>) =
        ours().partition(|filter| is_on_trial(filter, state));
    let old = mark_of(kept.iter().copied().filter(|f| f.flags.contains(Flags::PERSISTENT)));
    if !trial.is_empty() {
        let own = trial.iter().all(|filter| state.dynamic.contains(&filter.key));
        return PolicyState::Trial {
            new: mark_of(trial.into_iter()).ok(),
            old: old.ok(),
            session: if own { TrialSession::Own } else { TrialSession::Other },
        };
    }
    match old {
        _ if kept.is_empty() => PolicyState::Absent,
        Ok(plan) => PolicyState::InForce(plan),
        Err(what) => PolicyState::Damaged { what: what.to_owned() },
    }
}

/// The plan that filters say they belong to.
fn mark_of<'a>(filters: impl Iterator<Item = &'a Filter>) -> Result<InstalledPlan, &'static str> {
    let is_default = |filter: &&Filter| {
        tier_and_class(filter.rank()).is_some_and(|(_, class)| class == Class::Default)
    };
    let marks: Option<Vec<_>> =
        filters.filter(is_default).map(|filter| read_mark(&filter.description)).collect();
    match marks.as_deref() {
        None => Err("a filter that names the plan in force was changed"),
        Some([]) => Err("the filters that name the plan in force are missing"),
        Some([first, others @ ..]) if others.iter().all(|other| other.1 == first.1) => {
            Ok(InstalledPlan { revision: first.0, digest: first.1 })
        }
        Some(_) => Err("the filters that name the plan in force name several"),
    }
}

impl fmt::Display for PolicyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no ruleset is in the filter engine"),
            Self::InForce(plan) => write!(f, "revision {} is in force", plan.revision),
            Self::Trial { new: Some(new), .. } => {
                write!(f, "revision {} is on trial", new.revision)
            }
            Self::Trial { new: None, .. } => f.write_str("an incomplete ruleset is on trial"),
            Self::Damaged { what } => write!(f, "the filters are damaged: {what}"),
        }
    }
}
