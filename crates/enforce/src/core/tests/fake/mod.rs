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
use xshield_firewall::{FirewallError, Generation, LiveGroup};
use xshield_policy::ruleset::{Failsafe, Peers, Rule, StanceRules};
use xshield_policy::{
    AssetId, Bound, Direction, DirectionRules, Facts, Packet, Revision, Ruleset, Subject,
    Unenforceable, Verdict, decide,
};
use xshield_wire::keys::{PolicyKey, PolicyPublicKey};
use xshield_wire::message::{CheckInAnswer, Digest, InForce, Problem, Status, VERSION};
use xshield_wire::telemetry::DebugArea;
use xshield_wire::{Envelope, RulesetVersion, Verified, envelope};

use crate::core::cycle::{Cycle, enforce};
use crate::core::hits::{self, LastHits};
use crate::core::kernel::{Kernel, ReadBack, Standing};
use crate::core::known_good::LastKnownGood;
use crate::core::policy::{Failed, LastSeen, PolicyPart, Terms};
use crate::core::ports::{
    Fetched, Host, Log, NotWritten, Platform, PolicyStatus, Records, WaysOut,
};
use crate::core::result::{Change, Contact, ContactFailure, Ownership, PartResults, RunStatus};
use crate::step::Step;

mod kernel;
mod nft;
mod rulesets;
mod running;
mod wfp;

pub(super) use kernel::{AtBoot, Model};
pub(super) use nft::Nft;
pub(super) use rulesets::{Verdicts, all_open, verdicts_of};
pub(super) use wfp::Wfp;

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

/// State that outlives a run.
#[derive(Clone)]
pub(super) struct Sim<M> {
    kernel: M,
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
pub(super) struct World<M>(pub(super) Rc<RefCell<Sim<M>>>);

impl<M> Clone for World<M> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) status: RunStatus,
    pub(super) in_force: Option<InForce>,
    pub(super) change: Change,
}

impl<M: Model> World<M> {
    /// A host that never contacted a platform.
    pub(super) fn new() -> Self {
        Self(Rc::new(RefCell::new(Sim {
            kernel: M::new(),
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

    pub(super) fn set<T>(&self, change: impl FnOnce(&mut Sim<M>) -> T) -> T {
        change(&mut self.0.borrow_mut())
    }

    /// What the kernel does to the probes now.
    pub(super) fn kernel(&self) -> Verdicts {
        self.0.borrow().kernel.verdicts()
    }

    /// The revision that a restart restores.
    pub(super) fn on_disk(&self) -> Option<u64> {
        self.0.borrow().disk.as_ref().map(|known| known.ruleset.revision.0)
    }

    /// An unconfirmed trial expires.
    pub(super) fn time_passes(&self) {
        self.set(|sim| sim.kernel.time_passes());
    }

    /// The kernel loses everything; the boot unit restores what is on disk.
    pub(super) fn reboot(&self) {
        self.set(|sim| {
            sim.kernel.reboot(sim.disk.as_ref());
            if sim.last_seen != LastSeen::Never {
                sim.last_seen = LastSeen::BeforeThisBoot;
            }
        });
    }

    /// Another program deletes our table.
    pub(super) fn table_is_removed(&self) {
        self.set(|sim| sim.kernel.is_removed());
    }

    /// Another program adds a chain to our table.
    pub(super) fn table_is_disturbed(&self) {
        self.set(|sim| sim.kernel.is_disturbed());
    }

    /// A packet matches the rule that opens the ruleset's port.
    pub(super) fn packet(&self) {
        self.set(|sim| sim.hits_real += u64::from(sim.kernel.counts_a_packet()));
    }

    /// One run; `None` when it was killed.
    pub(super) fn run(&self) -> Option<Ended> {
        self.set(|sim| {
            sim.calls.clear();
            sim.problems.clear();
            sim.told = None;
            sim.threat_turns = 0;
        });
        let ended = catch_unwind(AssertUnwindSafe(|| self.run_whole()));
        self.set(|sim| sim.kernel.program_ends());
        match ended {
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
        act: impl FnOnce(&mut Sim<M>) -> T,
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

impl<M: Model> Sim<M> {
    /// Checks that what is reported as in force is what judges packets.
    fn hear(&mut self, standing: PolicyStatus) {
        if let Some(claim) = standing.in_force {
            let kernel = self.kernel.verdicts();
            assert_eq!(kernel, verdicts_of(claim.revision.0), "claimed: {claim:?}");
        }
        if standing.status == Status::Enforcing {
            assert!(standing.in_force.is_some(), "enforcing, but nothing is reported as in force");
        }
        self.told = Some(standing);
    }

    fn is_reached(&self) -> bool {
        let cut = self.cuts.iter().any(|revision| verdicts_of(*revision) == self.kernel.verdicts());
        self.behaviour.answers && !cut
    }
}
