//! nftables over netlink: one atomic transaction per change.
//!
//! Two base chains, `input` and `output` of table `inet xshield`, always exist; their only rules jump to the
//! ruleset in force, which is in slot `_a` or `_b`. A new ruleset is written into the other slot and put on
//! trial: the base chains jump to it *while the set `probation` has elements*, and to the old one otherwise.
//! Those elements have a timeout, so the kernel itself reverts to the old ruleset unless the new one is kept;
//! the program may be killed at any point.
//!
//! The comment of these leading rules says which plan is in which slot; see [`InstalledRuleset`].

pub(crate) mod capability;
mod cgroups;
pub(crate) mod constants;
pub(crate) mod decode;
pub(crate) mod encode;
mod hits;
pub(crate) mod kernel;
pub(crate) mod lists;
mod live;
pub(crate) mod read;
pub(crate) mod slot;
pub(crate) mod socket;
mod state;
pub(crate) mod steady;
pub(crate) mod wire;

use std::time::Duration;

use rustix::thread::{MembarrierCommand, membarrier};

pub use live::LiveCounters;

use crate::Capabilities;
use crate::error::FirewallError;
use crate::flows::FlowDump;
use crate::installed::{InstalledRuleset, KernelState, Slot};
use crate::plan::{Plan, TABLE};
use crate::programmed::{Generation, Programmed};
use kernel::{CounterChange, RecorderChange, RulesetChange, Steps, Survey};
use socket::Link;

/// How often a change is tried if the kernel refuses it because other programs changed rules meanwhile.
pub(crate) const BOUND_TRIES: u32 = 5;
/// The total number of attempts. If others change rules continuously, later attempts are not bound to a
/// generation, and the result is read back.
pub(crate) const TRIES: u32 = 10;

/// The firewall of the network namespace in which it was opened.
pub struct Firewall {
    link: Link,
    capabilities: Capabilities,
    /// The kernel's state when it was last read.
    seen: Option<Survey>,
}

/// A ruleset that is in force until its probation ends, unless it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    standing: InstalledRuleset,
    was_in_force: bool,
    counters: CounterChange,
}

impl Trial {
    /// Whether the same plan was already in force, so that nothing was changed.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.was_in_force
    }

    /// The ruleset on trial.
    #[must_use]
    pub fn standing(&self) -> InstalledRuleset {
        self.standing
    }
}

/// A tick of the slowest kernels (`CONFIG_HZ=100`). Older kernels round timeouts down to whole ticks, and
/// take none for a timeout that never ends.
const SHORTEST_PROBATION: Duration = Duration::from_millis(10);

impl Firewall {
    /// Opens the firewall. The kernel's capabilities are read from the ruleset in force. Without one, they
    /// are tested, which changes nothing and takes some 10 ms. Capabilities that older versions did not test
    /// are tested, too.
    ///
    /// # Errors
    /// [`FirewallError::NoNfTables`], [`FirewallError::NoPermission`], or the socket's error.
    pub fn open() -> Result<Self, FirewallError> {
        let mut link = Link::open()?;
        link.generation().map_err(capability::no_nf_tables)?;
        let survey = Survey::read(&mut link)?;
        let capabilities = match survey.state.in_force() {
            // Older versions knew fewer capabilities. A capability that requires a newer kernel is only
            // tested if the older one is present.
            Some(InstalledRuleset { capabilities, .. })
                if !capabilities.forwarded
                    || (capabilities.concat_intervals && !capabilities.local_destinations) =>
            {
                let found = capability::probe(&mut link)?;
                let local_destinations = capabilities.local_destinations
                    || (capabilities.concat_intervals && found.local_destinations);
                let forwarded = found.forwarded;
                Capabilities { local_destinations, forwarded, ..capabilities }
            }
            Some(standing) => standing.capabilities,
            None => capability::probe(&mut link)?,
        };
        Ok(Self { link, capabilities, seen: Some(survey) })
    }

    /// Opens the firewall, assuming these capabilities of the kernel.
    ///
    /// # Errors
    /// As [`Firewall::open`].
    pub fn open_with(capabilities: Capabilities) -> Result<Self, FirewallError> {
        let mut link = Link::open()?;
        link.generation().map_err(capability::no_nf_tables)?;
        Ok(Self { link, capabilities, seen: None })
    }

    /// The kernel's capabilities.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The number of changes of nftables in this network namespace, by any program. Cheap.
    ///
    /// # Errors
    /// When the kernel can't be read.
    pub fn generation(&mut self) -> Result<Generation, FirewallError> {
        self.link.generation()
    }

    /// The state of the kernel according to the base chains.
    ///
    /// # Errors
    /// When the kernel can't be read.
    pub fn state(&mut self) -> Result<KernelState, FirewallError> {
        Ok(self.survey()?.state.clone())
    }

    /// Puts a ruleset on trial: in force from now on, for `probation` at most (10 ms at least), unless it is
    /// kept. Otherwise the kernel reverts to what was in force before. Does nothing if the plan is in force
    /// already.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is changed then.
    pub fn try_apply(&mut self, plan: &Plan, probation: Duration) -> Result<Trial, FirewallError> {
        let (digest, capabilities) = (plan.digest(), self.capabilities);
        let counters = counter_change(plan);
        self.change("putting a ruleset on trial", |survey| {
            let old = survey.state.settled();
            if let Some(standing) = old
                && standing.digest == digest
                && matches!(survey.state, KernelState::InForce(_))
                && !survey.rebuild(plan)
            {
                return Ok((None, Trial { standing, was_in_force: true, counters }));
            }
            let slot = old.map_or(Slot::A, |old| old.slot.other());
            let revision = plan.revision;
            let standing = InstalledRuleset { slot, revision, digest, capabilities };
            let (old, recorder) = match survey.rebuild(plan) {
                true => (None, RecorderChange::Anew),
                // An older version of this program may have left others.
                false => (old, RecorderChange::Chains),
            };
            let new = Some((standing, Some(plan)));
            let probation = Some(probation.max(SHORTEST_PROBATION));
            // The old ruleset may use them, and may be in force again.
            let kept = CounterChange::Stay;
            let change = RulesetChange { old, new, probation, recorder, counters: kept };
            Ok((Some(change), Trial { standing, was_in_force: false, counters }))
        })
    }

    /// Keeps the ruleset on trial for good and removes the old one. Returns the old one's last hits, too.
    ///
    /// # Errors
    /// [`FirewallError::ProbationOver`], [`FirewallError::Overtaken`], or the kernel's refusal.
    pub fn keep(&mut self, trial: Trial) -> Result<Programmed, FirewallError> {
        if trial.was_in_force {
            return self.read_back();
        }
        let action = "keeping the ruleset on trial";
        let on_trial = |survey: &Survey| match survey.state {
            KernelState::Trial { new, over: false, old } if new == trial.standing => Ok(old),
            KernelState::Trial { new, over: true, .. } if new == trial.standing => {
                Err(FirewallError::ProbationOver)
            }
            _ => Err(FirewallError::Overtaken { action }),
        };
        let final_hits = match on_trial(self.survey()?)? {
            Some(old) => read::programmed(&mut self.link, old)?.hits,
            None => Vec::new(),
        };
        self.change(action, |survey| {
            on_trial(survey)?;
            let new = Some((trial.standing, None));
            let (recorder, counters) = (RecorderChange::Stays, trial.counters);
            Ok((Some(RulesetChange { old: None, new, probation: None, recorder, counters }), ()))
        })?;
        Ok(Programmed { final_hits, ..self.read_back()? })
    }

    /// Reverts the ruleset on trial; the old one is in force.
    ///
    /// # Errors
    /// [`FirewallError::Overtaken`] or the kernel's refusal.
    pub fn revert(&mut self, trial: Trial) -> Result<(), FirewallError> {
        if trial.was_in_force {
            return Ok(());
        }
        let action = "reverting the ruleset on trial";
        self.change(action, |survey| match survey.state {
            KernelState::Trial { new, old, .. } if new == trial.standing => {
                let new = old.map(|old| (old, None));
                let (recorder, counters) = (RecorderChange::Stays, CounterChange::Stay);
                Ok((
                    Some(RulesetChange { old: None, new, probation: None, recorder, counters }),
                    (),
                ))
            }
            _ => Err(FirewallError::Overtaken { action }),
        })
    }

    /// Puts a ruleset in force for good in one transaction: at boot, or to repair what others did to our
    /// table. The flow recorder's counts stay, unless parts of it are missing or there are sets and chains of
    /// other programs in the table; then the table is created anew.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is changed then.
    pub fn apply_now(&mut self, plan: &Plan) -> Result<(), FirewallError> {
        let (digest, capabilities) = (plan.digest(), self.capabilities);
        self.change("putting a ruleset in force", |survey| {
            let slot = survey.state.settled().map_or(Slot::A, |old| old.slot.other());
            let revision = plan.revision;
            let standing = InstalledRuleset { slot, revision, digest, capabilities };
            let recorder =
                if survey.rebuild(plan) { RecorderChange::Anew } else { RecorderChange::Chains };
            let new = Some((standing, Some(plan)));
            let counters = counter_change(plan);
            Ok((Some(RulesetChange { old: None, new, probation: None, recorder, counters }), ()))
        })
    }

    /// Reads the ruleset in force from the kernel, with its counters.
    ///
    /// # Errors
    /// [`FirewallError::NothingInForce`], or when the kernel can't be read.
    pub fn read_back(&mut self) -> Result<Programmed, FirewallError> {
        let state = self.state()?;
        match state.in_force() {
            Some(standing) => read::programmed(&mut self.link, standing),
            None => Err(FirewallError::NothingInForce { what: state.to_string() }),
        }
    }

    /// Reads the flow recorder. Nothing is reset: see [`crate::flows::Differ`].
    ///
    /// # Errors
    /// When the kernel can't be read.
    pub fn flows(&mut self) -> Result<FlowDump, FirewallError> {
        read::flows(&mut self.link, TABLE)
    }

    /// Whether this kernel can send packets to a log group in the way that plans with one do. Tested with a
    /// transaction that fails on purpose and changes nothing.
    ///
    /// # Errors
    /// When the kernel can't be tested.
    pub fn can_hand_over(&mut self) -> Result<bool, FirewallError> {
        capability::can_hand_over(&mut self.link)
    }

    /// Deletes table `inet xshield` with its content, and nothing else.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is changed then.
    pub fn remove(&mut self) -> Result<(), FirewallError> {
        kernel::remove(&mut self.link)
    }

    /// The current state of the kernel. It is read again if any program has changed a table since, and while
    /// a trial may expire, which changes no table.
    fn survey(&mut self) -> Result<&Survey, FirewallError> {
        let generation = self.link.generation()?;
        let seen = self.seen.take().filter(|seen| {
            seen.generation == Some(generation) && !matches!(seen.state, KernelState::Trial { .. })
        });
        let survey = match seen {
            Some(survey) => survey,
            None => Survey::read(&mut self.link)?,
        };
        Ok(self.seen.insert(survey))
    }

    /// Surveys, decides and commits; repeated if others changed rules meanwhile.
    fn change<'p, T>(
        &mut self,
        action: &'static str,
        decide: impl Fn(&Survey) -> Result<(Option<RulesetChange<'p>>, T), FirewallError>,
    ) -> Result<T, FirewallError> {
        for attempt in 0..TRIES {
            let survey = self.survey()?;
            let (change, result) = decide(survey)?;
            let Some(change) = change else { return Ok(result) };
            let bound_to = survey.generation.filter(|_| attempt < BOUND_TRIES);
            let steps = survey.steps(&change, bound_to);
            match self.carry_out(steps, action) {
                Ok(()) if bound_to.is_some() => return Ok(result),
                Ok(()) if change.stands(&self.state()?) => return Ok(result),
                Ok(()) | Err(FirewallError::Busy { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Err(FirewallError::Busy { action })
    }

    fn carry_out(&mut self, steps: Steps, action: &'static str) -> Result<(), FirewallError> {
        if let Some(stage) = steps.stage {
            self.link.commit(stage, action)?;
        }
        self.link.commit(steps.switch, action)?;
        if let Some(clean) = steps.clean {
            // Two transactions later, a packet still being processed would find the old chains empty. If the
            // kernel can't wait for it, the window is the processing of one packet.
            let _ = membarrier(MembarrierCommand::Global);
            self.link.commit(clean, action)?;
        }
        Ok(())
    }
}

/// The change of the table's counters once a plan is the only one in force.
fn counter_change(plan: &Plan) -> CounterChange {
    if plan.counters.is_empty() { CounterChange::Go } else { CounterChange::Stay }
}
