//! A simulated host, its kernel and its platform. State that outlives a run is in [`Sim`]; a run borrows it,
//! can be killed at any call, and any call can fail. What a run claims is compared with what the kernel does
//! to packets, using the interpreter of plans.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use xshield_firewall::plan::Digest as PlanDigest;
use xshield_firewall::plan::eval::eval;
use xshield_firewall::programmed::Action;
use xshield_firewall::{
    Capabilities, FirewallError, Generation, Hit, InstalledRuleset, KernelState, Plan, Programmed,
    Slot,
};
use xshield_policy::ruleset::{Failsafe, Peers, Rule, StanceRules};
use xshield_policy::{
    AssetId, Direction, DirectionRules, Facts, Packet, Revision, Ruleset, Subject, Verdict, decide,
};
use xshield_wire::keys::{PolicyKey, PolicyPublicKey};
use xshield_wire::message::{CheckInAnswer, Digest, InForce, Problem, Status, VERSION};
use xshield_wire::telemetry::DebugArea;
use xshield_wire::{Envelope, RulesetVersion, Verified, envelope};

use crate::core::cycle::{Cycle, enforce};
use crate::core::hits::{self, LastHits};
use crate::core::known_good::LastKnownGood;
use crate::core::policy::{Failed, LastSeen, PolicyPart, Terms};
use crate::core::ports::{
    Fetched, Host, Kernel, Log, NotWritten, Platform, PolicyStatus, Records, WaysOut,
};
use crate::core::result::{Change, Contact, ContactFailure, Ownership, PartResults, RunStatus};
use crate::step::Step;

mod kernel;
mod rulesets;
mod running;

pub(super) use rulesets::{Verdicts, all_open, verdicts_of};

use kernel::*;
use rulesets::*;
use running::*;

/// Rulesets differ in the port that they open: 1000 plus their revision.
pub(super) const REVISIONS: u64 = 6;
const TRIAL: Duration = Duration::from_secs(30);

/// The calls of a run to the outside, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Generation,
    State,
    ReadBack,
    ApplyNow,
    TryApply,
    Keep,
    Revert,
    WriteDown,
    CheckIn,
    Confirm,
    Correct,
    Fetch,
    Save,
    Step(Step),
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is refused and has no effect.
    Refused,
    /// It takes effect, but its answer is lost.
    Unanswered,
    /// The program is killed after it. (Being killed before it equals being killed after the previous call.)
    Killed,
}

impl Fault {
    /// The faults possible at a call; at a mark in the run only a kill.
    pub(super) fn at(call: Call) -> &'static [Self] {
        match call {
            Call::Step(_) => &[Self::Killed],
            _ => &[Self::Refused, Self::Unanswered, Self::Killed],
        }
    }
}

struct Killed;

/// What fetching a ruleset returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brings {
    /// The wanted one.
    Wanted,
    /// An older one than the wanted: an outdated answer.
    Older(u64),
    /// One that no pinned key has signed.
    Forged,
    /// Another host's.
    OfAnotherHost,
    /// A truncated one.
    Cut,
    /// Nothing.
    Nothing,
}

/// The platform's behaviour in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// Whether it answers.
    pub(super) answers: bool,
    pub(super) wants: Option<u64>,
    pub(super) brings: Brings,
}

impl Behaviour {
    pub(super) fn well(revision: u64) -> Self {
        Self { answers: true, wants: Some(revision), brings: Brings::Wanted }
    }

    pub(super) fn silent() -> Self {
        Self { answers: false, wants: None, brings: Brings::Nothing }
    }
}

/// A ruleset in the simulated kernel.
#[derive(Clone)]
struct Entry {
    slot: Slot,
    plan: Rc<Plan>,
    digest: PlanDigest,
    hits: u64,
}

impl Entry {
    fn new(slot: Slot, plan: &Plan) -> Self {
        Self { slot, plan: Rc::new(plan.clone()), digest: plan.digest(), hits: 0 }
    }
}

#[derive(Clone, Default)]
struct Table {
    settled: Option<Entry>,
    trial: Option<Entry>,
    /// The trial has expired.
    over: bool,
    /// Another program added a chain to our table.
    foreign: bool,
}

impl Table {
    fn in_force(&self) -> Option<&Entry> {
        self.trial.as_ref().filter(|_| !self.over).or(self.settled.as_ref())
    }

    fn free_slot(&self) -> Slot {
        self.settled.as_ref().map_or(Slot::A, |entry| entry.slot.other())
    }
}

/// State that outlives a run.
#[derive(Clone)]
pub(super) struct Sim {
    table: Table,
    generation: u32,
    disk: Option<LastKnownGood>,
    last_seen: LastSeen,
    floor: RulesetVersion,
    hits: (LastHits, Option<String>),
    /// Hits that were reported to the platform.
    pub(super) hits_told: u64,
    /// Hits that actually occurred.
    pub(super) hits_real: u64,
    /// The platform's address as the host resolves it.
    pub(super) endpoint: SocketAddr,
    pub(super) behaviour: Behaviour,
    /// Revisions under which the platform can't be reached.
    pub(super) cuts: BTreeSet<u64>,
    /// The fault that happens at the nth call.
    pub(super) fault: Option<(usize, Fault)>,
    /// The calls of the current run.
    pub(super) calls: Vec<Call>,
    pub(super) problems: Vec<Problem>,
    /// What was last reported to the platform.
    pub(super) told: Option<PolicyStatus>,
    /// How often the threat list's part ran.
    pub(super) threat_turns: usize,
}

/// The simulated world as a run borrows it.
#[derive(Clone)]
pub(super) struct World(pub(super) Rc<RefCell<Sim>>);

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) status: RunStatus,
    pub(super) in_force: Option<InForce>,
    pub(super) change: Change,
}

impl World {
    /// A host that never contacted a platform.
    pub(super) fn new() -> Self {
        Self(Rc::new(RefCell::new(Sim {
            table: Table::default(),
            generation: 1,
            disk: None,
            last_seen: LastSeen::Never,
            floor: RulesetVersion::default(),
            hits: (LastHits::new(), None),
            hits_told: 0,
            hits_real: 0,
            endpoint: "192.0.2.200:8443".parse().unwrap(),
            behaviour: Behaviour::silent(),
            cuts: BTreeSet::new(),
            fault: None,
            calls: Vec::new(),
            problems: Vec::new(),
            told: None,
            threat_turns: 0,
        })))
    }

    /// A host on which a revision is in force.
    pub(super) fn with(revision: u64) -> Self {
        let world = Self::new();
        world.set(|sim| sim.behaviour = Behaviour::well(revision));
        let ended = world.run().expect("nobody kills it");
        assert_eq!(ended.status, RunStatus::Enforcing);
        world
    }

    /// A copy of this world, to continue differently from here.
    pub(super) fn fork(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    pub(super) fn set<T>(&self, change: impl FnOnce(&mut Sim) -> T) -> T {
        change(&mut self.0.borrow_mut())
    }

    /// What the kernel does to the probes now.
    pub(super) fn kernel(&self) -> Verdicts {
        self.0.borrow().kernel()
    }

    /// The revision that a restart restores.
    pub(super) fn on_disk(&self) -> Option<u64> {
        self.0.borrow().disk.as_ref().map(|known| known.ruleset.revision.0)
    }

    /// An unconfirmed trial expires.
    pub(super) fn time_passes(&self) {
        self.set(|sim| sim.table.over = sim.table.trial.is_some());
    }

    /// The kernel loses everything; the boot unit restores what is on disk.
    pub(super) fn reboot(&self) {
        self.set(|sim| {
            sim.table = Table::default();
            sim.generation += 1;
            if let Some(known) = sim.disk.clone() {
                let plan = known.plan(&Capabilities::FULL);
                sim.table.settled = Some(Entry::new(Slot::A, &plan));
            }
            if sim.last_seen != LastSeen::Never {
                sim.last_seen = LastSeen::BeforeThisBoot;
            }
        });
    }

    /// Another program deletes our table.
    pub(super) fn table_is_removed(&self) {
        self.set(|sim| {
            sim.table = Table::default();
            sim.generation += 1;
        });
    }

    /// Another program adds a chain to our table.
    pub(super) fn table_is_disturbed(&self) {
        self.set(|sim| {
            sim.table.foreign = sim.table.in_force().is_some();
            sim.generation += 1;
        });
    }

    /// A packet matches the rule that opens the ruleset's port.
    pub(super) fn packet(&self) {
        self.set(|sim| {
            let Table { settled, trial, over, .. } = &mut sim.table;
            let entry = match trial {
                Some(trial) if !*over => Some(trial),
                _ => settled.as_mut(),
            };
            if let Some(entry) = entry {
                entry.hits += 1;
                sim.hits_real += 1;
            }
        });
    }

    /// One run; `None` when it was killed.
    pub(super) fn run(&self) -> Option<Ended> {
        self.set(|sim| {
            sim.calls.clear();
            sim.problems.clear();
            sim.told = None;
            sim.threat_turns = 0;
        });
        match catch_unwind(AssertUnwindSafe(|| self.run_whole())) {
            Ok(ended) => Some(ended),
            Err(panic) if panic.is::<Killed>() => None,
            Err(panic) => resume_unwind(panic),
        }
    }

    fn run_whole(&self) -> Ended {
        let terms = Terms { trusted: vec![pinned()], probation: TRIAL };
        let policy = PolicyPart::new(self.0.borrow().disk.clone(), terms);
        let run = Running {
            floor: self.0.borrow().floor,
            world: self.clone(),
            contact: Contact::NotAsked,
            failure: None,
        };
        let mut parts = Parts { policy, run };
        enforce(&mut parts);
        parts.finish()
    }

    /// Counts a call, and returns what happens at it.
    fn at(&self, call: Call) -> Option<Fault> {
        self.set(|sim| {
            sim.calls.push(call);
            sim.fault.filter(|(number, _)| *number + 1 == sim.calls.len()).map(|(_, fault)| fault)
        })
    }

    fn perform<T>(
        &self,
        call: Call,
        act: impl FnOnce(&mut Sim) -> T,
        fail: impl FnOnce(Fault) -> T,
    ) -> T {
        match self.at(call) {
            None => self.set(act),
            Some(fault @ Fault::Refused) => fail(fault),
            Some(fault @ Fault::Unanswered) => {
                self.set(act);
                fail(fault)
            }
            Some(Fault::Killed) => {
                self.set(act);
                resume_unwind(Box::new(Killed))
            }
        }
    }
}

impl Sim {
    fn kernel(&self) -> Verdicts {
        let Some(entry) = self.table.in_force() else { return all_open() };
        let Plan { sets, chains, .. } = &*entry.plan;
        probes().iter().map(|packet| eval(sets, chains, packet).verdict).collect()
    }

    /// Checks that what is reported as in force is what judges packets.
    fn hear(&mut self, standing: PolicyStatus) {
        if let Some(claim) = standing.in_force {
            let kernel = self.kernel();
            assert_eq!(kernel, verdicts_of(claim.revision.0), "claimed: {claim:?}");
        }
        if standing.status == Status::Enforcing {
            assert!(standing.in_force.is_some(), "enforcing, but nothing is reported as in force");
        }
        self.told = Some(standing);
    }

    fn is_reached(&self) -> bool {
        let cut = self.cuts.iter().any(|revision| verdicts_of(*revision) == self.kernel());
        self.behaviour.answers && !cut
    }

    fn stands(&self, entry: &Entry) -> InstalledRuleset {
        InstalledRuleset {
            slot: entry.slot,
            revision: entry.plan.revision,
            digest: entry.digest,
            capabilities: Capabilities::FULL,
        }
    }

    fn state(&self) -> KernelState {
        let Table { settled, trial, over, .. } = &self.table;
        match (trial, settled) {
            (Some(new), old) => KernelState::Trial {
                new: self.stands(new),
                old: old.as_ref().map(|old| self.stands(old)),
                over: *over,
            },
            (None, Some(entry)) => KernelState::InForce(self.stands(entry)),
            (None, None) => KernelState::Absent,
        }
    }

    fn programmed(&self) -> Result<Programmed, FirewallError> {
        let nothing = || FirewallError::NothingInForce { what: "nothing".to_owned() };
        let entry = self.table.in_force().ok_or_else(nothing)?;
        let Entry { plan, digest, hits, .. } = entry;
        Ok(Programmed {
            revision: plan.revision,
            digest: *digest,
            generation: Generation(self.generation),
            sets: plan.sets.clone(),
            chains: plan.chains.clone(),
            recorder_sets: plan.recorder.sets.iter().map(|set| set.name.clone()).collect(),
            recorder_chains: plan.recorder.chains.clone(),
            foreign: self.table.foreign.then(|| "chain theirs".to_owned()).into_iter().collect(),
            hits: vec![hit(*hits)],
            ..Programmed::default()
        })
    }

    fn put(&mut self, plan: &Plan) {
        let slot = self.table.free_slot();
        self.table = Table { settled: Some(Entry::new(slot, plan)), ..Table::default() };
        self.generation += 1;
    }
}
