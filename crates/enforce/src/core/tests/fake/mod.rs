//! A simulated host, its kernel and its platform. State that outlives a run is in [`Sim`]; a run borrows it,
//! can be killed at any call, and any call can fail. What a run claims is compared with what the kernel does
//! to packets, using the interpreter of plans, and with the threat list that the kernel holds; what the
//! platform counts, with the packets that there were.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use ipnet::IpNet;
use xshield_firewall::flows::{FlowCount, FlowDump, FlowKind, Losses as RecorderLosses, Traffic};
use xshield_firewall::plan::Digest as PlanDigest;
use xshield_firewall::threat::{
    Counts, Difference, InstalledList, ListName as KernelList, ListTable, Posture, ThreatError,
    ThreatState, Unreadable,
};
use xshield_firewall::{FirewallError, Generation, LiveGroup, Slot};
use xshield_host::spool::{DeliveryOrder, Losses};
use xshield_policy::ruleset::{Failsafe, Peers, Rule, StanceRules};
use xshield_policy::{
    AssetId, Bound, BoundFailsafe, Direction, DirectionRules, Facts, Packet, Protocol, Revision,
    Ruleset, Subject, Unenforceable, Verdict, decide,
};
use xshield_threat::{Digest as ListDigest, ThreatMode};
use xshield_wire::keys::{PolicyKey, PolicyPublicKey};
use xshield_wire::message::{
    CheckInAnswer, Digest, DirectionState, InForce, Problem, ProgrammedReport, Report, ReportBody,
    Status, UnixSeconds, VERSION,
};
use xshield_wire::telemetry::DebugArea;
use xshield_wire::threat::{
    ListName, ThreatFile, ThreatFileKind, ThreatOrder, ThreatPath, ThreatReport, ThreatStanding,
    ThreatWanted,
};
use xshield_wire::{Bytes, Envelope, RulesetVersion, Verified, envelope};

use crate::core::cycle::{Conclusion, Cycle, conclude, enforce};
use crate::core::delivery::{Delivery, DeliveryIo, Undelivered};
use crate::core::hits;
use crate::core::kernel::{Kernel, KernelRuleset, ReadBack};
use crate::core::known_good::LastKnownGood;
use crate::core::policy::{Failed, LastReadBack, PolicyPart, Terms};
use crate::core::ports::{
    FailsafeAddresses, Fetched, Host, Log, Platform, PolicyStatus, Records, SaveError,
};
use crate::core::result::{
    Contact, ContactFailure, Ownership, PartResults, RulesetChange, RunStatus,
};
use crate::core::threat::lists::{ElementChange, Elements, ExpectedList, KeptList, Lists, Made};
use crate::core::threat::ports::{ThreatHost, ThreatRecords, ThreatSource};
use crate::core::threat::{ThreatFailure, ThreatPart, ThreatWork};
use crate::progress::Progress;
use crate::reports::Interval;
use crate::step::Step;
use crate::threat::matches::{self, Context};
use crate::threat::progress::ThreatProgress;

mod disk;
mod kernel;
mod lists;
mod mail;
mod nft;
mod rulesets;
mod running;
mod threats;
mod wfp;

pub(super) use kernel::{AtBoot, Model, Scope};
pub(super) use nft::Nft;
pub(super) use rulesets::{Verdicts, all_open, verdicts_of};
pub(super) use wfp::Wfp;

use disk::*;
use kernel::*;
use lists::*;
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
    Append,
    Settle,
    Send,
    Acknowledge,
    ListGeneration,
    ListState,
    ListLoad,
    ListDelta,
    ListPosture,
    ListVerify,
    ListMissing,
    ListMatches,
    ListRemove,
    SaveOrder,
    SaveLists,
    FetchOrder,
    FetchPath,
    Download,
    MakeList,
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
pub(super) enum FetchedRuleset {
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

/// What a fetch of a threat list brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// A change of the list at hand, where there is one.
    Delta,
    /// A change that does not result in the list; whole lists are good.
    BadDelta,
    /// Whole lists alone.
    Whole,
    /// Nothing that can be used.
    Bad,
}

/// How the platform behaves in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// Whether it answers at all.
    pub(super) answers: bool,
    pub(super) wants: Option<u64>,
    pub(super) brings: FetchedRuleset,
    /// The threat order that it wants: with the list of the same number, or [`NO_LIST`].
    pub(super) order: Option<u64>,
    pub(super) files: Files,
    /// Whether it takes reports.
    pub(super) reports: Reports,
}

/// What becomes of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reports {
    Taken,
    /// They are refused for ever.
    Refused,
    /// It has enough for now.
    Enough,
}

impl Behaviour {
    pub(super) const SILENT: Self = Self {
        answers: false,
        wants: None,
        brings: FetchedRuleset::Nothing,
        order: None,
        files: Files::Bad,
        reports: Reports::Taken,
    };

    pub(super) const fn well(revision: u64) -> Self {
        Self {
            answers: true,
            wants: Some(revision),
            brings: FetchedRuleset::Wanted,
            order: Some(revision),
            files: Files::Delta,
            reports: Reports::Taken,
        }
    }

    pub(super) const fn bringing(revision: u64, brings: FetchedRuleset) -> Self {
        Self { brings, ..Self::well(revision) }
    }
}

/// State that outlives a run.
#[derive(Clone)]
pub(super) struct Sim<M> {
    kernel: M,
    list_table: Option<ListEntry>,
    /// Changes of the list's table.
    list_changes: u32,
    /// Names a recorder of the kernel.
    epoch: u64,
    boot: u32,
    now: u64,
    pub(super) disk: Disk,
    pub(super) counted: Counted,
    /// Packets that matched the rule, and the list.
    pub(super) real: (u64, u64),
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
    pub(super) told: Option<(PolicyStatus, ThreatStanding)>,
    /// How often the threat list's part ran.
    pub(super) threat_turns: usize,
    batches: u64,
}

/// What the platform counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counted {
    batches: BTreeSet<[u8; 16]>,
    pub(super) hits: u64,
    pub(super) matches: u64,
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
    pub(super) change: RulesetChange,
}

impl<M: Model> World<M> {
    /// A host that never contacted a platform.
    pub(super) fn new() -> Self {
        Self(Rc::new(RefCell::new(Sim {
            kernel: M::new(),
            list_table: None,
            list_changes: 0,
            epoch: 1,
            boot: 1,
            now: 1_800_000_000,
            disk: Disk::default(),
            counted: Counted::default(),
            real: (0, 0),
            endpoint: "192.0.2.200:8443".parse().unwrap(),
            behaviour: Behaviour::SILENT,
            cuts: BTreeSet::new(),
            fault: None,
            calls: Vec::new(),
            problems: Vec::new(),
            told: None,
            threat_turns: 0,
            batches: 0,
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
        self.0.borrow().disk.known_good.as_ref().map(|known| known.ruleset.revision.0)
    }

    /// An unconfirmed trial expires.
    pub(super) fn time_passes(&self) {
        self.set(|sim| sim.kernel.time_passes());
    }

    /// The threat list that the kernel holds; 0: one that no order names.
    pub(super) fn list(&self) -> Option<u64> {
        self.0.borrow().list()
    }

    /// The kernel loses everything; the boot unit restores what is on disk.
    pub(super) fn reboot(&self) {
        self.set(|sim| {
            sim.kernel.reboot(sim.disk.known_good.as_ref());
            sim.list_table = None;
            sim.list_changes += 1;
            sim.boot += 1;
            let lists = sim.disk.lists.clone();
            if let (Some(list), Some(posture)) = (lists.current, lists.posture)
                && sim.disk.has(&list)
            {
                let entries = entries_of(list.name.revision);
                sim.put_list(list.kernel_name(), posture, entries);
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

    /// Another program deletes the threat list's table.
    pub(super) fn list_is_removed(&self) {
        self.set(|sim| {
            sim.list_table = None;
            sim.list_changes += 1;
        });
    }

    /// Another program removes an entry from the threat list.
    pub(super) fn list_is_damaged(&self) {
        self.set(|sim| {
            if let Some(entry) = &mut sim.list_table {
                entry.entries.pop_first();
            }
            sim.list_changes += 1;
        });
    }

    /// The lists' files are lost.
    pub(super) fn list_files_are_lost(&self) {
        self.set(|sim| sim.disk.files.clear());
    }

    /// A packet of a listed peer arrives.
    pub(super) fn listed_packet(&self) {
        self.set(|sim| {
            if let Some(entry) = &mut sim.list_table {
                entry.packets += 1;
                sim.real.1 += 1;
            }
        });
    }

    /// A packet matches the rule that opens the ruleset's port.
    pub(super) fn packet(&self) {
        self.set(|sim| sim.real.0 += u64::from(sim.kernel.counts_a_packet()));
    }

    /// One run; `None` when it was killed.
    pub(super) fn run(&self) -> Option<Ended> {
        self.set(|sim| {
            sim.calls.clear();
            sim.problems.clear();
            sim.told = None;
            sim.threat_turns = 0;
            sim.now += 600;
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
        let Disk { known_good, order, lists, progress, .. } = self.0.borrow().disk.clone();
        let world = self.clone();
        let open =
            Box::new(move || Ok(Box::new(FakeListTable(world.clone())) as Box<dyn ListTable>));
        let run = Running {
            progress: progress_of(&progress),
            world: self.clone(),
            contact: Contact::NotAsked,
            failure: None,
            threat: None,
        };
        let mut parts = Parts {
            policy: PolicyPart::new(known_good, terms),
            threat: ThreatPart::new(order, lists, open),
            delivery: Delivery::default(),
            run,
        };
        enforce(&mut parts);
        let ended = parts.ended();
        match conclude(&mut parts) {
            Ok(()) => ended,
            Err(NotSaved) => Ended { status: RunStatus::Failed, ..ended },
        }
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
    fn record_check_in(&mut self, standing: PolicyStatus, threat: ThreatStanding) {
        if let Some(claim) = standing.in_force {
            let kernel = self.kernel.verdicts();
            assert_eq!(kernel, verdicts_of(claim.revision.0), "claimed: {claim:?}");
        }
        if standing.status == Status::Enforcing {
            assert!(standing.in_force.is_some(), "enforcing, but nothing is reported as in force");
        }
        if let Some(claim) = &threat.list {
            let entry = self.list_table.as_ref();
            let (listed, posture) = (self.list(), entry.map(|entry| &entry.posture));
            assert_eq!(listed, Some(claim.revision), "claimed: {claim:?}");
            let modes = posture.map(|posture| (posture.inbound, posture.outbound));
            assert_eq!(modes, Some((threat.inbound, threat.outbound)), "claimed modes");
        }
        self.told = Some((standing, threat));
    }

    /// The threat list that the kernel holds, whole; 0: something that no order names.
    fn list(&self) -> Option<u64> {
        let entry = self.list_table.as_ref()?;
        let revision = entry.list.revision;
        Some(if entry.entries == entries_of(revision) { revision } else { 0 })
    }

    fn is_reached(&self) -> bool {
        let cut = self.cuts.iter().any(|revision| verdicts_of(*revision) == self.kernel.verdicts());
        self.behaviour.answers && !cut
    }
}
