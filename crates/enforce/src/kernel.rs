//! The kernel's part of the cycle: find damage, apply on trial, confirm, keep or take back, read back.

use xshield_firewall::{
    Firewall, FirewallError, Generation, KernelState, LiveGroup, Plan, Programmed, Trial, plan_with,
};
use xshield_host::linux::local::CgroupMatching;
use xshield_host::linux::resolver::{self, Left};
use xshield_policy::{Facts, Owner, Ruleset, Unenforceable};
use xshield_wire::Verified;
use xshield_wire::message::Status;
use xshield_wire::telemetry::DebugArea;

use crate::client::Connection;
use crate::closing::PolicyInShort;
use crate::cycle::{CycleError, Run};
use crate::errand::Handing;
use crate::gather;
use crate::outcome::{Change, Contact, RunStatus};
use crate::state::{LastKnownGood, problem};
use crate::step::step;
use crate::trace;

/// How many differences are named in a problem; the rest is counted.
const NAMED: usize = 5;

/// Whether the kernel holds what the last run left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// It does.
    None,
    /// It does not; said in the problems.
    Found,
}

/// A ruleset made ready for this host's kernel.
pub(crate) struct Prepared {
    pub(crate) ruleset: Verified<Ruleset>,
    pub(crate) facts: Facts,
    pub(crate) live: Option<LiveGroup>,
    pub(crate) plan: Plan,
    pub(crate) unenforceable: Vec<Unenforceable>,
}

impl Prepared {
    /// What a reboot is to restore.
    fn known_good(&self) -> LastKnownGood {
        let Self { ruleset, facts, live, .. } = self;
        LastKnownGood { ruleset: ruleset.clone(), facts: facts.clone(), live: *live }
    }
}

impl Run<'_> {
    /// Whom the rules are to hand packets to. A group that is new here is for a kernel that can.
    pub(crate) fn settle_live(&mut self, firewall: &mut Firewall) {
        let before = self.known_good.as_ref().and_then(|known| known.live);
        self.live = match self.cycle.errand.live {
            Handing::Nobody => None,
            Handing::AsBefore => before,
            Handing::To(group) if before == Some(group) => Some(group),
            // A kernel that can't be asked about it enforces all the same.
            Handing::To(group) if firewall.can_hand_over().unwrap_or(false) => Some(group),
            Handing::To(_) => {
                let text = "this kernel can't hand packets to a log group (nfnetlink_log, named \
                            counters): denials and matches are told at heartbeats alone";
                self.note("live-unavailable", text.to_owned());
                None
            }
        };
        self.outcome.live = self.live;
    }

    /// Looks whether someone else changed our table since the last run. Free when the kernel's ruleset
    /// generation is the one of the last run.
    pub(crate) fn damage(&mut self, firewall: &mut Firewall) -> Result<Damage, CycleError> {
        let generation = firewall.generation()?;
        let boot = &self.host.boot_id;
        let Some(known) = &self.known_good else { return Ok(Damage::None) };
        // A unit that was started anew has another cgroup under the same name: no one changed our
        // table, and yet it has to be looked at.
        let owners = known.facts.owners.values().flatten().flatten();
        let by_cgroup = owners.into_iter().any(|owner| matches!(owner, Owner::Cgroup(_)));
        if !by_cgroup && self.progress.generation.as_ref() == Some(&(boot.clone(), generation.0)) {
            return Ok(Damage::None);
        }
        let expected = known.plan(firewall.capabilities());
        let state = match firewall.state() {
            Err(error @ FirewallError::Busy { .. }) => return Ok(self.not_read(&error)),
            state => state?,
        };
        let differences = match state {
            KernelState::InForce(standing) if standing.digest == expected.digest() => {
                match firewall.read_back() {
                    Err(error @ FirewallError::Busy { .. }) => return Ok(self.not_read(&error)),
                    programmed => {
                        let differences = programmed?.differences(&expected);
                        differences.iter().map(ToString::to_string).collect()
                    }
                }
            }
            KernelState::Trial { .. } => {
                let text = "the last run was stopped while a ruleset was on trial".to_owned();
                self.note("trial-unfinished", text);
                return Ok(Damage::Found);
            }
            KernelState::InForce(_) => vec!["another ruleset of ours is in force".to_owned()],
            KernelState::Absent if self.progress.generation.is_none() => return Ok(Damage::None),
            KernelState::Absent => vec!["table inet xshield is gone".to_owned()],
            KernelState::Damaged { what } => vec![what],
        };
        if differences.is_empty() {
            return Ok(Damage::None);
        }
        self.note("drift", drift_text(&differences));
        Ok(Damage::Found)
    }

    /// Someone changes our table faster than it can be read. What was not read whole is not reported, and
    /// the next run looks again: the generation that this one would have noted stays unknown.
    fn not_read(&mut self, error: &FirewallError) -> Damage {
        self.outcome.problems.push(problem("not-read", error));
        Damage::None
    }

    /// Puts back what someone else changed, before anything slow is done: the platform is not asked
    /// for what was already proven.
    pub(crate) fn repair(
        &mut self,
        firewall: &mut Firewall,
        damage: Damage,
    ) -> Result<Damage, CycleError> {
        let (Damage::Found, Some(known)) = (damage, &self.known_good) else { return Ok(damage) };
        let plan = known.plan(firewall.capabilities());
        self.before_a_first_ruleset(firewall)?;
        firewall.apply_now(&plan)?;
        trace::line(DebugArea::Rules, || format!("plan {} was put back", plan.digest()));
        step("repaired");
        self.outcome.change = Change::Repaired;
        Ok(Damage::None)
    }

    /// Resolves, binds and plans a ruleset, and puts it in force unless it is.
    pub(crate) fn apply(
        &mut self,
        firewall: &mut Firewall,
        ruleset: Verified<Ruleset>,
        damage: Damage,
    ) -> Result<(), CycleError> {
        let prepared = self.prepare(firewall, ruleset);
        step("resolved");
        for rule in &prepared.unenforceable {
            let text = format!("rule {} ({}) {}", rule.rule, rule.direction, rule.reason);
            self.note("rule-unenforceable", text);
        }
        self.look_at_forwarding(&prepared.ruleset, firewall.capabilities());
        let digest = prepared.plan.digest();
        let in_force = matches!(
            firewall.state()?, KernelState::InForce(standing) if standing.digest == digest
        );
        let same_ruleset = self.known_good.as_ref().map(|known| known.ruleset.in_force())
            == Some(prepared.ruleset.in_force());
        trace::line(DebugArea::Policy, || {
            let kernel = if in_force { "it is" } else { "something else is" };
            let revision = prepared.ruleset.revision;
            format!(
                "revision {revision} is to be in force as plan {digest}; {kernel} in the kernel"
            )
        });
        if in_force && damage == Damage::None {
            let known = self.known_good.as_ref();
            let same_facts = known.map(|known| &known.facts) == Some(&prepared.facts);
            let same_live = known.map(|known| known.live) == Some(prepared.live);
            if same_ruleset && same_facts && same_live {
                self.prepared = Some(prepared);
                return Ok(());
            }
            return self.remember(prepared);
        }
        self.before_a_first_ruleset(firewall)?;
        // What was already proven is put back without a trial; so is a ruleset whose addresses changed
        // while the platform does not answer: a trial would prove nothing.
        if same_ruleset && (damage == Damage::Found || self.outcome.platform != Contact::Reached) {
            firewall.apply_now(&prepared.plan)?;
            self.outcome.change =
                if damage == Damage::Found { Change::Repaired } else { Change::Applied };
            return self.remember(prepared);
        }
        self.try_out(firewall, prepared)
    }

    /// Addresses that names no longer have: said in this run's outcome, in the detailed log, and by an
    /// agent as an event.
    fn tell_who_left(&mut self, left: Vec<Left>) {
        for left in left {
            trace::line(DebugArea::Policy, || left.to_string());
            self.outcome.left.push(left.to_string());
        }
    }

    fn prepare(&mut self, firewall: &Firewall, ruleset: Verified<Ruleset>) -> Prepared {
        let capabilities = firewall.capabilities();
        let cgroups =
            if capabilities.cgroups { CgroupMatching::Available } else { CgroupMatching::Missing };
        let known = self.known_good.as_ref().map(|known| known.facts.endpoints.clone());
        let endpoints = self.endpoints(&known.unwrap_or_default());
        let time_servers = self.time_servers();
        let sources = gather::Sources {
            endpoints,
            resolvers: resolver::resolvers(&self.cycle.surroundings.root),
            time_servers,
            resolver: self.resolver,
            answers: &mut self.progress.answers,
            stale_answers: self.cycle.config.stale_answers.as_secs(),
            now: self.cycle.surroundings.now(),
            sockets: &self.sockets,
            cgroups,
        };
        let (facts, told) = gather::facts(&ruleset, sources);
        self.outcome.problems.extend(told.problems);
        self.tell_who_left(told.left);
        let (bound, mut unenforceable) = ruleset.bind(&facts);
        let live = self.live;
        let plan = plan_with(&bound, capabilities, live);
        unenforceable.extend(plan.unenforceable.iter().cloned());
        Prepared { ruleset, facts, live, plan, unenforceable }
    }

    /// In force on trial; kept when the platform answers a new connection through the new rules.
    fn try_out(&mut self, firewall: &mut Firewall, new: Prepared) -> Result<(), CycleError> {
        let trial = firewall.try_apply(&new.plan, self.cycle.config.probation)?;
        trace::line(DebugArea::Rules, || format!("plan {} is on trial", new.plan.digest()));
        step("tried");
        let failure = self.failure;
        let known = new.known_good();
        let old = self.known_good.replace(known.clone());
        let problems_before = self.outcome.problems.len();
        self.check_in(Status::Enforcing, Connection::Fresh);
        step("confirmed");
        let why = if self.outcome.platform == Contact::Reached {
            // Proven: once written down it is what a reboot restores, also when nothing more is run.
            match self.state.save_last_known_good(&known) {
                Ok(()) => return self.keep(firewall, trial, new, old),
                Err(error) => format!(
                    "it could not be written down, so a restart would not have restored it ({})",
                    problem("state", &error).text
                ),
            }
        } else {
            let found = self.outcome.problems.drain(problems_before..);
            let found: Vec<String> = found.map(|problem| problem.text).collect();
            format!(
                "with it in force the platform could not be reached over a new connection ({})",
                found.join("; ")
            )
        };
        // Whatever becomes of the revert: the trial ends by itself, and this is not in force for good.
        self.known_good = old;
        firewall.revert(trial)?;
        trace::line(DebugArea::Rules, || format!("plan {} was taken back", new.plan.digest()));
        step("reverted");
        self.outcome.change = Change::Reverted;
        self.failure = failure.or(Some(RunStatus::Reverted));
        self.note(
            "ruleset-reverted",
            format!("revision {} was taken back: {why}", new.ruleset.revision),
        );
        // The old one is back: tell the platform how the host really stands.
        self.check_in(self.standing(), Connection::Fresh);
        Ok(())
    }

    /// Makes a ruleset that is proven and written down the only one. `old`: what is in force when the
    /// kernel refuses that; the next run then puts the new one in force.
    fn keep(
        &mut self,
        firewall: &mut Firewall,
        trial: Trial,
        new: Prepared,
        old: Option<LastKnownGood>,
    ) -> Result<(), CycleError> {
        step("remembered");
        let kept = firewall.keep(trial).inspect_err(|_| self.known_good = old)?;
        trace::line(DebugArea::Rules, || format!("plan {} was kept", new.plan.digest()));
        step("kept");
        self.count_hits(&kept.final_hits);
        self.kept = Some(kept);
        self.outcome.change = Change::Applied;
        self.progress.raise_floor(&new.ruleset);
        self.prepared = Some(new);
        Ok(())
    }

    fn remember(&mut self, prepared: Prepared) -> Result<(), CycleError> {
        let known = prepared.known_good();
        self.state.save_last_known_good(&known)?;
        self.progress.raise_floor(&prepared.ruleset);
        self.known_good = Some(known);
        self.prepared = Some(prepared);
        Ok(())
    }

    /// What the kernel holds now. Only this is reported as programmed.
    pub(crate) fn read_back(&mut self, firewall: &mut Firewall) -> Result<(), CycleError> {
        let programmed = match self.kept.take().map_or_else(|| firewall.read_back(), Ok) {
            Ok(programmed) => programmed,
            Err(FirewallError::NothingInForce { .. }) => return Ok(()),
            Err(error @ FirewallError::Busy { .. }) => {
                self.failure = Some(RunStatus::Failed);
                self.not_read(&error);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.count_recorder_losses(programmed.losses);
        self.check_read_back(firewall, &programmed);
        let Generation(generation) = programmed.generation;
        trace::line(DebugArea::Rules, || {
            format!("read back plan {} at generation {generation}", programmed.digest)
        });
        self.progress.generation = Some((self.host.boot_id.clone(), generation));
        self.outcome.in_force = self.known_good.as_ref().map(|known| known.ruleset.in_force());
        self.outcome.policy =
            self.known_good.as_ref().map(|known| PolicyInShort::of(&known.ruleset));
        self.report_programmed(&programmed);
        Ok(())
    }

    /// The kernel may hold something else than was sent; then that is said, and the next run repairs it.
    fn check_read_back(&mut self, firewall: &Firewall, programmed: &Programmed) {
        let Some(known) = &self.known_good else { return };
        let expected = known.plan(firewall.capabilities());
        let differences: Vec<String> =
            programmed.differences(&expected).iter().map(ToString::to_string).collect();
        if !differences.is_empty() {
            self.failure = Some(RunStatus::Failed);
            self.note("read-back-differs", drift_text(&differences));
        }
    }
}

fn drift_text(differences: &[String]) -> String {
    let named = differences.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    let rest = differences.len().saturating_sub(NAMED);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("the kernel does not hold what was programmed: {named}{more}")
}

/// Restores the last-known-good ruleset without asking anyone: at boot, before the network.
///
/// # Errors
/// When the kernel refuses.
pub fn restore(known: &LastKnownGood) -> Result<(), FirewallError> {
    let mut firewall = Firewall::open()?;
    let plan = known.plan(firewall.capabilities());
    firewall.apply_now(&plan)
}
