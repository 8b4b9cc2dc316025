//! The policy part of a run: before the check-in, the last-known-good ruleset is in force and the addresses
//! needed to reach the platform are admitted; after it, what the platform wants is in force.

use std::time::Duration;

use xshield_firewall::{FirewallError, Generation, LiveGroup, Programmed};
use xshield_policy::{Bound, Ruleset, Unenforceable};
use xshield_wire::envelope::{self, EnvelopeError};
use xshield_wire::keys::PolicyPublicKey;
use xshield_wire::message::{CheckInAnswer, InForce, Problem, Status};
use xshield_wire::telemetry::DebugArea;
use xshield_wire::{RulesetVersion, Verified};

pub(crate) use super::inspection::LastReadBack;
use super::inspection::{drift_text, texts};
use super::kernel::{Kernel, KernelRuleset, ReadBack};
use super::known_good::LastKnownGood;
use super::ports::{Fetched, Log, PolicyStatus, World};
use super::result::{Contact, PolicyFailure, RulesetChange};
use super::ruleset_state::{Candidate, OnTrial, RulesetState, RulesetStateError, SaveResult};
use crate::problems::{chain, problem};
use crate::step::Step;

/// Whether the kernel holds what the last run left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// It does, or there was nothing.
    None,
    /// It does not; the problems name the difference.
    Found,
    /// Not known: others change the table faster than it can be read.
    Unread,
}

/// Whether it is known which ruleset a restart restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDisk {
    Known,
    /// Saving one failed; a failed write may nevertheless have happened.
    Unsure,
}

/// The conditions under which a ruleset is accepted.
pub(crate) struct Terms {
    /// The keys that may sign rulesets.
    pub(crate) trusted: Vec<PolicyPublicKey>,
    /// How long a new ruleset stays in force without the platform having been reached through it.
    pub(crate) probation: Duration,
}

/// The policy part of the current run.
pub(crate) struct PolicyPart {
    pub(super) ruleset_state: RulesetState,
    /// The log group to which packets are sent as they are denied.
    live: Option<LiveGroup>,
    terms: Terms,
    pub(super) damage: Damage,
    pub(super) change: RulesetChange,
    failure: Option<PolicyFailure>,
    /// Rules of the ruleset in force that this host can't enforce.
    unenforceable: Vec<Unenforceable>,
    on_disk: OnDisk,
    /// What was read back when a ruleset was kept.
    kept: Option<ReadBack>,
    /// What was read back at the end.
    programmed: Option<Programmed>,
}

/// The part failed and does nothing more in this run; the reason is in its result.
#[derive(Debug)]
pub(crate) struct Failed;

impl PolicyPart {
    /// The state at the beginning of a run. `proven`: the ruleset on disk.
    pub(crate) fn new(proven: Option<LastKnownGood>, terms: Terms) -> Self {
        Self {
            live: proven.as_ref().and_then(|known| known.live),
            ruleset_state: RulesetState::of_disk(proven),
            terms,
            damage: Damage::None,
            change: RulesetChange::None,
            failure: None,
            unenforceable: Vec::new(),
            on_disk: OnDisk::Known,
            kept: None,
            programmed: None,
        }
    }

    /// The ruleset that a restart restores.
    pub(crate) fn proven(&self) -> Option<&LastKnownGood> {
        self.ruleset_state.proven()
    }

    /// The same ruleset, bound to this host.
    pub(crate) fn bound(&self) -> Option<Bound> {
        self.proven().map(|known| known.ruleset.bind(&known.facts).0)
    }

    /// The log group to which packets are sent as they are denied.
    pub(crate) fn live(&self) -> Option<LiveGroup> {
        self.live
    }

    /// Sets the log group to which the rules send packets from now on.
    pub(crate) fn hand_to(&mut self, group: Option<LiveGroup>) {
        self.live = group;
    }

    pub(crate) fn change(&self) -> RulesetChange {
        self.change
    }

    pub(crate) fn failure(&self) -> Option<&PolicyFailure> {
        self.failure.as_ref()
    }

    pub(crate) fn unenforceable(&self) -> &[Unenforceable] {
        &self.unenforceable
    }

    /// What was read back at the end of the part; only this is reported as programmed.
    pub(crate) fn programmed(&self) -> Option<&Programmed> {
        self.programmed.as_ref()
    }

    /// The generation at which the kernel was found to hold the ruleset on disk: the next run need not read
    /// the ruleset as long as the generation is the same.
    pub(crate) fn seen_at(&self) -> Option<Generation> {
        self.in_force().filter(|_| self.on_disk == OnDisk::Known)?;
        self.programmed.as_ref().map(|programmed| programmed.generation)
    }

    /// The state that is reported to the platform.
    pub(crate) fn standing(&self) -> PolicyStatus {
        let in_force = self.ruleset_state.in_kernel();
        let status = match (&self.failure, self.damage, self.proven()) {
            (Some(failure), _, _) => Status::Failed { reason: failure.reason().to_owned() },
            (None, Damage::Unread, _) => Status::Failed {
                reason:
                    "the rules in the kernel could not be read: other programs keep changing them"
                        .to_owned(),
            },
            (None, _, Some(_)) => Status::Enforcing,
            (None, _, None) => Status::NoPolicy,
        };
        PolicyStatus { status, in_force }
    }

    /// Stores a failure as the part's result.
    pub(crate) fn checked<T, E: std::error::Error>(
        &mut self,
        result: Result<T, E>,
        log: &mut impl Log,
    ) -> Result<T, Failed> {
        result.map_err(|error| {
            self.failure = Some(PolicyFailure::Failed(chain(&error)));
            log.note(problem("failed", &error));
            Failed
        })
    }

    /// Puts the ruleset that the platform wants in force, or the last one if the platform did not answer.
    pub(crate) fn follow<K: Kernel>(
        &mut self,
        kernel: &mut K,
        world: &mut impl World<K::Capabilities>,
        answer: Option<&CheckInAnswer>,
        contact: Contact,
    ) -> Result<(), RulesetStateError> {
        let fetched = answer.and_then(|answer| self.fetch(world, answer));
        world.step(Step::Fetched);
        let proven = || self.proven().map(|known| known.ruleset.clone());
        let Some(ruleset) = fetched.or_else(proven) else { return Ok(()) };
        let candidate = self.prepare(kernel, world, ruleset)?;
        self.put_in_force(kernel, world, candidate, contact)?;
        self.read_back(kernel, world)
    }

    /// Fetches and verifies the wanted ruleset if the host does not have it. A platform restored from an
    /// older backup is shown once what this host holds.
    fn fetch<C>(
        &mut self,
        world: &mut impl World<C>,
        answer: &CheckInAnswer,
    ) -> Option<Verified<Ruleset>> {
        let wanted = answer.wanted?;
        let have = self.proven().map(|known| known.ruleset.in_force());
        if have == Some(wanted) {
            return None;
        }
        let floor = self.floor(world.floor());
        if wanted.revision < floor.revision {
            let got = wanted.revision.into();
            self.refuse(world, &EnvelopeError::Older { got, floor });
            return None;
        }
        let (bytes, asset) = match world.ruleset(have.map(|have| have.digest)) {
            Fetched::Envelope(bytes, asset) => (bytes, asset),
            Fetched::Unchanged | Fetched::Nothing => return None,
        };
        let error = match envelope::open(&bytes, &self.terms.trusted, &asset, floor) {
            Ok(ruleset) => return Some(ruleset),
            Err(error) => error,
        };
        if matches!(error, EnvelopeError::Older { .. })
            && let Some(answer) =
                world.show_what_is_held(self.standing(), self.ruleset_state.proven())
        {
            return self.fetch(world, &answer);
        }
        self.refuse(world, &error);
        None
    }

    /// The oldest acceptable ruleset. `remembered`: the newest that was ever in force.
    pub(crate) fn floor(&self, remembered: RulesetVersion) -> RulesetVersion {
        let held = self.proven().map(|known| known.ruleset.version());
        remembered.max(held.unwrap_or_default())
    }

    fn refuse<C>(&mut self, world: &mut impl World<C>, error: &EnvelopeError) {
        self.failure = Some(PolicyFailure::RulesetRefused(chain(error)));
        match error {
            EnvelopeError::Older { got, floor } => {
                world.stays_behind(got.to_string(), floor.to_string());
            }
            other => world.note(problem("ruleset-refused", other)),
        }
    }

    /// Resolves, binds and plans a ruleset.
    fn prepare<K: Kernel>(
        &self,
        kernel: &K,
        world: &mut impl World<K::Capabilities>,
        ruleset: Verified<Ruleset>,
    ) -> Result<Candidate<K::Plan>, FirewallError> {
        let capabilities = kernel.capabilities();
        let known = self.proven().map_or(&[][..], |known| &known.facts.endpoints);
        let facts = world.facts(&ruleset, capabilities, known);
        let (bound, mut unenforceable) = ruleset.bind(&facts);
        let live = self.live;
        let plan = kernel.plan(&bound, live)?;
        unenforceable.extend(K::unenforceable(&plan).iter().cloned());
        world.step(Step::Resolved);
        for rule in &unenforceable {
            let text = format!("rule {} ({}) {}", rule.rule, rule.direction, rule.reason);
            world.note(Problem { code: "rule-unenforceable".to_owned(), text });
        }
        K::omissions(&plan).into_iter().for_each(|omission| world.note(omission));
        world.inspect_forwarding(&ruleset, capabilities);
        Ok(Candidate { content: LastKnownGood { ruleset, facts, live }, plan, unenforceable })
    }

    /// Puts a candidate in force if it is not: on trial, unless it is already confirmed.
    fn put_in_force<K: Kernel>(
        &mut self,
        kernel: &mut K,
        world: &mut impl World<K::Capabilities>,
        candidate: Candidate<K::Plan>,
        contact: Contact,
    ) -> Result<(), RulesetStateError> {
        let digest = K::digest(&candidate.plan);
        let is_there = kernel.state()? == KernelRuleset::InForce(digest);
        let content = &candidate.content;
        world.trace(DebugArea::Policy, &|| {
            let kernel = if is_there { "it is" } else { "another plan is" };
            let revision = content.ruleset.revision;
            format!(
                "revision {revision} is wanted in force as plan {digest}; {kernel} in the kernel"
            )
        });
        let proven = self.proven();
        let same_ruleset =
            proven.is_some_and(|known| known.ruleset.in_force() == content.ruleset.in_force());
        if is_there && self.damage != Damage::Found {
            let is_same = same_ruleset
                && proven.is_some_and(|known| {
                    known.facts == content.facts && known.live == content.live
                });
            if !is_same {
                self.ruleset_state.remember(candidate, world).map(|now| self.use_rules_of(now))?;
            } else {
                self.use_rules_of(candidate);
            }
            return Ok(());
        }
        before_a_first_ruleset(kernel, world)?;
        // A confirmed ruleset is restored without a trial. So is one with new addresses while the platform
        // does not answer: a trial would prove nothing.
        if same_ruleset && (self.damage == Damage::Found || contact != Contact::Reached) {
            let is_repair = self.damage == Damage::Found;
            let now = self.ruleset_state.replace(candidate, kernel, world)?;
            self.change = if is_repair { RulesetChange::Repaired } else { RulesetChange::Applied };
            self.use_rules_of(now);
            return Ok(());
        }
        self.try_out(kernel, world, candidate)
    }

    /// Puts a candidate in force on trial, and keeps it if the platform answers over a new connection.
    fn try_out<K: Kernel>(
        &mut self,
        kernel: &mut K,
        world: &mut impl World<K::Capabilities>,
        candidate: Candidate<K::Plan>,
    ) -> Result<(), RulesetStateError> {
        let on_trial = self.ruleset_state.try_out(candidate, self.terms.probation, kernel)?;
        let digest = K::digest(&on_trial.candidate().plan);
        world.trace(DebugArea::Rules, &|| format!("plan {digest} is on trial"));
        world.step(Step::Tried);
        let standing =
            PolicyStatus { status: Status::Enforcing, in_force: self.ruleset_state.in_kernel() };
        let confirmed = world.confirm(standing);
        world.step(Step::Confirmed);
        let on_trial = match confirmed {
            Ok(()) => match self.ruleset_state.save(on_trial.confirmed(), world) {
                SaveResult::Done(written) => {
                    world.step(Step::Remembered);
                    let (candidate, kept) = self.ruleset_state.keep(written, kernel, world)?;
                    world.trace(DebugArea::Rules, &|| format!("plan {digest} was kept"));
                    world.step(Step::Kept);
                    self.kept = Some(kept);
                    self.change = RulesetChange::Applied;
                    self.use_rules_of(candidate);
                    return Ok(());
                }
                SaveResult::Failed(on_trial, error) => {
                    self.on_disk = OnDisk::Unsure;
                    return self.take_back(
                        kernel,
                        world,
                        on_trial,
                        &format!(
                            "it could not be saved, so a restart would not have restored it ({})",
                            error.reason
                        ),
                    );
                }
            },
            Err(why) => (on_trial, why),
        };
        let (on_trial, why) = on_trial;
        let why = format!(
            "with it in force the platform could not be reached over a new connection ({why})"
        );
        self.take_back(kernel, world, on_trial, &why)
    }

    /// Reverts a ruleset on trial, and reports the actual state to the platform.
    fn take_back<K: Kernel>(
        &mut self,
        kernel: &mut K,
        world: &mut impl World<K::Capabilities>,
        on_trial: OnTrial<K>,
        why: &str,
    ) -> Result<(), RulesetStateError> {
        let revision = on_trial.candidate().content.ruleset.revision;
        let text = format!("revision {revision} was taken back: {why}");
        // Whatever follows: the trial ends in the kernel, and the ruleset is not in force for good.
        self.failure = Some(PolicyFailure::Reverted(text.clone()));
        let candidate = self.ruleset_state.take_back(on_trial, kernel)?;
        let digest = K::digest(&candidate.plan);
        world.trace(DebugArea::Rules, &|| format!("plan {digest} was taken back"));
        world.step(Step::Reverted);
        self.change = RulesetChange::Reverted;
        world.note(Problem { code: "ruleset-reverted".to_owned(), text });
        world.correct(self.standing());
        Ok(())
    }

    fn use_rules_of<P>(&mut self, candidate: Candidate<P>) {
        self.unenforceable = candidate.unenforceable;
    }

    /// Reads what the kernel holds now. If it differs from what was sent, that is reported, and the next run
    /// repairs it.
    fn read_back<K: Kernel>(
        &mut self,
        kernel: &mut K,
        world: &mut impl World<K::Capabilities>,
    ) -> Result<(), RulesetStateError> {
        let read = match self.kept.take() {
            Some(kept) => Ok(kept),
            None => {
                let expected = self.proven().map(|known| known.plan(kernel)).transpose();
                expected.and_then(|expected| kernel.read_back(expected.as_ref()))
            }
        };
        let ReadBack { programmed, differences } = match read {
            Ok(read) => read,
            Err(FirewallError::NothingInForce { .. }) => {
                self.ruleset_state.lost_sight();
                return Ok(());
            }
            Err(error) if error.is_busy() => {
                self.ruleset_state.lost_sight();
                self.failure = Some(PolicyFailure::Failed(chain(&error)));
                world.note(problem("not-read", &error));
                return Ok(());
            }
            Err(error) => {
                self.ruleset_state.lost_sight();
                return Err(error.into());
            }
        };
        if differences.is_empty() {
            self.damage = Damage::None;
            self.ruleset_state.seen();
        } else {
            let text = drift_text(&texts(&differences));
            self.ruleset_state.lost_sight();
            self.failure = Some(PolicyFailure::Failed(text.clone()));
            world.note(Problem { code: "read-back-differs".to_owned(), text });
        }
        world.trace(DebugArea::Rules, &|| {
            let Generation(generation) = programmed.generation;
            format!("read back plan {} at generation {generation}", programmed.digest)
        });
        self.programmed = Some(programmed);
        Ok(())
    }

    /// The ruleset in the kernel, as read back at the end.
    pub(crate) fn in_force(&self) -> Option<InForce> {
        self.programmed.as_ref().and(self.ruleset_state.in_kernel())
    }
}

/// If no ruleset is in force, the first one applies to connections whose opening the kernel never saw.
pub(super) fn before_a_first_ruleset<K: Kernel>(
    kernel: &mut K,
    world: &mut impl World<K::Capabilities>,
) -> Result<(), FirewallError> {
    if matches!(kernel.state()?, KernelRuleset::Nothing | KernelRuleset::Damaged { .. }) {
        world.introduce_open_connections();
    }
    Ok(())
}
