//! A host, its kernel and its platform, made up. What outlives a run is in [`Sim`]; a run borrows it, can
//! be killed at any call, and any call can fail. What a run claims is held against what the kernel does to
//! packets, by the interpreter of plans.

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
    Fetched, Host, Kernel, Log, NotWritten, Platform, Records, Standing, WaysOut,
};
use crate::core::result::{Change, Contact, ContactFailure, Ownership, PartResults, RunStatus};
use crate::step::Step;

/// Rulesets are told apart by the port that they open: 1000 and their revision.
pub(super) const REVISIONS: u64 = 6;
const TRIAL: Duration = Duration::from_secs(30);

fn asset() -> AssetId {
    "as-1".parse().unwrap()
}

fn key() -> PolicyKey {
    PolicyKey::from_seed([7; 32])
}

fn pinned() -> PolicyPublicKey {
    static PINNED: LazyLock<PolicyPublicKey> = LazyLock::new(|| key().public());
    *PINNED
}

fn ruleset(revision: u64, asset: AssetId) -> Ruleset {
    let open = Rule {
        id: "t/open".parse().unwrap(),
        peers: Peers::Any,
        services: vec![format!("tcp/{}", 1000 + revision).parse().unwrap()],
        process: None,
        user: None,
        unit: None,
    };
    let closed =
        StanceRules { subject: Subject::Everything, blocks: Vec::new(), allows: vec![open] };
    Ruleset {
        asset,
        revision: Revision(revision),
        failsafe: Failsafe::default(),
        intranet: Vec::new(),
        intranet_domains: Vec::new(),
        grace: [].into(),
        inbound: DirectionRules { enforced: closed, tested: None },
        outbound: DirectionRules { enforced: StanceRules::open(), tested: None },
        forwarded: None,
    }
}

/// Signing takes longer than a run: once is enough.
fn sealed(revision: u64) -> &'static Envelope {
    static SEALED: LazyLock<Vec<Envelope>> = LazyLock::new(|| {
        let seal = |revision| {
            envelope::seal_ruleset(&key(), &ruleset(revision, asset()), revision).unwrap()
        };
        (0..=REVISIONS).map(seal).collect()
    });
    &SEALED[revision as usize]
}

fn wanted(revision: u64) -> InForce {
    InForce { revision: Revision(revision), digest: sealed(revision).digest() }
}

/// What is sent to the host to see which ruleset judges it.
fn probes() -> &'static [Packet] {
    static PROBES: LazyLock<Vec<Packet>> = LazyLock::new(|| {
        let ports = (1..=REVISIONS).map(|revision| 1000 + revision);
        ports.map(|port| format!("in tcp 192.0.2.1:5000 -> :{port}").parse().unwrap()).collect()
    });
    &PROBES
}

pub(super) type Verdicts = Vec<Verdict>;

/// What a ruleset does, by the policy's own word.
pub(super) fn verdicts_of(revision: u64) -> Verdicts {
    static VERDICTS: LazyLock<Vec<Verdicts>> = LazyLock::new(|| {
        let verdicts = |revision| {
            let bound = ruleset(revision, asset()).bind(&Facts::default()).0;
            probes().iter().map(|packet| decide(&bound, packet).verdict).collect()
        };
        (0..=REVISIONS).map(verdicts).collect()
    });
    VERDICTS[revision as usize].clone()
}

pub(super) fn all_open() -> Verdicts {
    vec![Verdict::Allow; probes().len()]
}

/// What a run does to the world, in the order in which it does.
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
    /// It is refused, and nothing was done.
    Refused,
    /// It is done, and the answer is lost.
    Unanswered,
    /// The program is killed after it; before it is after the call before.
    Killed,
}

impl Fault {
    /// What can happen at a call; at a mark in the run nothing but a kill.
    pub(super) fn at(call: Call) -> &'static [Self] {
        match call {
            Call::Step(_) => &[Self::Killed],
            _ => &[Self::Refused, Self::Unanswered, Self::Killed],
        }
    }
}

struct Killed;

/// What a fetch of a ruleset brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brings {
    /// The wanted one.
    Wanted,
    /// An older one than is wanted: an answer that was overtaken.
    Older(u64),
    /// One that no pinned key signed.
    Forged,
    /// Another host's.
    OfAnotherHost,
    /// Half of one.
    Cut,
    /// Nothing.
    Nothing,
}

/// How the platform behaves in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// Whether it answers at all.
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

/// A ruleset in the made-up kernel.
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
    /// The trial's time has run out.
    over: bool,
    /// Someone put a chain of theirs into our table.
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

/// What outlives a run.
#[derive(Clone)]
pub(super) struct Sim {
    table: Table,
    generation: u32,
    disk: Option<LastKnownGood>,
    last_seen: LastSeen,
    floor: RulesetVersion,
    hits: (LastHits, Option<String>),
    /// Hits that the platform heard of.
    pub(super) hits_told: u64,
    /// Hits that there were.
    pub(super) hits_real: u64,
    /// Where the platform is reached, as the host finds.
    pub(super) endpoint: SocketAddr,
    pub(super) behaviour: Behaviour,
    /// Rulesets through which the platform is not reached.
    pub(super) cuts: BTreeSet<u64>,
    /// At the nth call, this happens.
    pub(super) fault: Option<(usize, Fault)>,
    /// What the run under way did.
    pub(super) calls: Vec<Call>,
    pub(super) problems: Vec<Problem>,
    /// What the platform was told last.
    pub(super) told: Option<Standing>,
    /// How often the threat list's part had its turns.
    pub(super) threat_turns: usize,
}

/// A run borrows the world.
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
    /// A host that has never heard of a platform.
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

    /// The same world once more, to go another way from here.
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

    /// A trial that nobody keeps ends.
    pub(super) fn time_passes(&self) {
        self.set(|sim| sim.table.over = sim.table.trial.is_some());
    }

    /// The kernel forgets everything; the boot unit restores what is on disk.
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

    /// Someone takes our table away.
    pub(super) fn table_is_removed(&self) {
        self.set(|sim| {
            sim.table = Table::default();
            sim.generation += 1;
        });
    }

    /// Someone puts something of theirs into our table.
    pub(super) fn table_is_disturbed(&self) {
        self.set(|sim| {
            sim.table.foreign = sim.table.in_force().is_some();
            sim.generation += 1;
        });
    }

    /// A packet meets the rule that opens the ruleset's port.
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

    /// Counts a call, and tells what is to happen at it.
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

    /// What is said to be in force is what judges packets, whenever it is said.
    fn hear(&mut self, standing: Standing) {
        if let Some(claim) = standing.in_force {
            let kernel = self.kernel();
            assert_eq!(kernel, verdicts_of(claim.revision.0), "claimed: {claim:?}");
        }
        if standing.status == Status::Enforcing {
            assert!(standing.in_force.is_some(), "enforcing, and nothing is said to be in force");
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

fn hit(packets: u64) -> Hit {
    Hit {
        rule: "t/open".to_owned(),
        direction: Direction::Inbound,
        action: Action::Allow,
        packets,
        bytes: packets,
    }
}

fn refused(fault: Fault) -> FirewallError {
    let action = "doing it";
    match fault {
        Fault::Unanswered => FirewallError::NoAnswer { action },
        _ => {
            let source = io::Error::from_raw_os_error(12);
            FirewallError::Refused { action, source, hint: String::new() }
        }
    }
}

/// For reading: someone changes the table faster than it is read.
fn unread(fault: Fault) -> FirewallError {
    let action = "reading it";
    match fault {
        Fault::Unanswered => FirewallError::NoAnswer { action },
        _ => FirewallError::Busy { action },
    }
}

struct FakeKernel(World);

impl Kernel for FakeKernel {
    /// Which slot is on trial.
    type Trial = Option<Slot>;

    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL
    }

    fn generation(&mut self) -> Result<Generation, FirewallError> {
        let fail = |fault| Err(unread(fault));
        self.0.perform(Call::Generation, |sim| Ok(Generation(sim.generation)), fail)
    }

    fn state(&mut self) -> Result<KernelState, FirewallError> {
        self.0.perform(Call::State, |sim| Ok(sim.state()), |fault| Err(unread(fault)))
    }

    fn read_back(&mut self) -> Result<Programmed, FirewallError> {
        self.0.perform(Call::ReadBack, |sim| sim.programmed(), |fault| Err(unread(fault)))
    }

    fn apply_now(&mut self, plan: &Plan) -> Result<(), FirewallError> {
        let act = |sim: &mut Sim| {
            sim.put(plan);
            Ok(())
        };
        self.0.perform(Call::ApplyNow, act, |fault| Err(refused(fault)))
    }

    fn try_apply(&mut self, plan: &Plan, _: Duration) -> Result<Option<Slot>, FirewallError> {
        let act = |sim: &mut Sim| {
            let same = sim.table.settled.as_ref().is_some_and(|old| *old.plan == *plan);
            if same && sim.table.trial.is_none() && !sim.table.foreign {
                return Ok(None);
            }
            let slot = sim.table.free_slot();
            let settled = sim.table.settled.take().filter(|_| !sim.table.foreign);
            let trial = Some(Entry::new(slot, plan));
            sim.table = Table { settled, trial, over: false, foreign: false };
            sim.generation += 1;
            Ok(Some(slot))
        };
        self.0.perform(Call::TryApply, act, |fault| Err(refused(fault)))
    }

    fn keep(&mut self, trial: Option<Slot>) -> Result<Programmed, FirewallError> {
        let act = |sim: &mut Sim| {
            if trial.is_none() {
                return sim.programmed();
            }
            if sim.table.over {
                return Err(FirewallError::ProbationOver);
            }
            let old = sim.table.settled.take();
            sim.table.settled = sim.table.trial.take();
            sim.generation += 1;
            let final_hits = old.map(|old| hit(old.hits)).into_iter().collect();
            Ok(Programmed { final_hits, ..sim.programmed()? })
        };
        self.0.perform(Call::Keep, act, |fault| Err(refused(fault)))
    }

    fn revert(&mut self, trial: Option<Slot>) -> Result<(), FirewallError> {
        let act = |sim: &mut Sim| {
            if trial.is_some() {
                sim.table.trial = None;
                sim.generation += 1;
            }
            Ok(())
        };
        self.0.perform(Call::Revert, act, |fault| Err(refused(fault)))
    }
}

/// The rest of a run.
struct Running {
    world: World,
    floor: RulesetVersion,
    contact: Contact,
    failure: Option<ContactFailure>,
}

impl Running {
    fn check_in(&mut self, call: Call, standing: Standing) -> Option<CheckInAnswer> {
        let act = |sim: &mut Sim| {
            if !sim.is_reached() {
                return None;
            }
            sim.hear(standing);
            Some(CheckInAnswer {
                version: VERSION,
                wanted: sim.behaviour.wants.map(wanted),
                commands: Vec::new(),
                next_check_in: 60,
                time: 0,
                threat: None,
                configuration: None,
                seen: None,
                problems: Vec::new(),
                trust: None,
            })
        };
        let answer = self.world.perform(call, act, |_| None);
        self.contact = match answer {
            Some(_) => Contact::Reached,
            None => {
                self.failure.get_or_insert(ContactFailure::Unreachable);
                Contact::Unreachable
            }
        };
        answer
    }
}

impl Records for Running {
    fn write_down(&mut self, known: &LastKnownGood) -> Result<(), NotWritten> {
        let act = |sim: &mut Sim| {
            sim.disk = Some(known.clone());
            Ok(())
        };
        let fail = |_| Err(NotWritten { reason: "no space left on device".to_owned() });
        self.world.perform(Call::WriteDown, act, fail)
    }

    fn raise_floor(&mut self, ruleset: &Verified<Ruleset>) {
        self.floor = self.floor.max(ruleset.version());
    }

    fn floor(&self) -> RulesetVersion {
        self.floor
    }
}

impl Host for Running {
    fn facts(&mut self, _: &Ruleset, _: &Capabilities, _: &[SocketAddr]) -> Facts {
        Facts { endpoints: vec![self.world.set(|sim| sim.endpoint)], ..Facts::default() }
    }

    fn configured_ways(&mut self) -> WaysOut {
        WaysOut::default()
    }

    fn resolved_ways(&mut self) -> WaysOut {
        let endpoints = vec![self.world.set(|sim| sim.endpoint)];
        WaysOut { endpoints, ..WaysOut::default() }
    }

    fn introduce_open_connections(&mut self) {
        self.step(Step::Introduced);
    }

    fn look_at_forwarding(&mut self, _: &Ruleset, _: &Capabilities) {}
}

impl Platform for Running {
    fn confirm(&mut self, standing: Standing) -> Result<(), String> {
        match self.check_in(Call::Confirm, standing) {
            Some(_) => Ok(()),
            None => Err("no answer".to_owned()),
        }
    }

    fn correct(&mut self, standing: Standing) {
        self.check_in(Call::Correct, standing);
    }

    fn ruleset(&mut self, have: Option<Digest>) -> Fetched {
        let act = |sim: &mut Sim| {
            let revision = sim.behaviour.wants.unwrap_or_default();
            if have == Some(wanted(revision).digest) {
                return Fetched::Unchanged;
            }
            let bytes = match sim.behaviour.brings {
                Brings::Wanted => sealed(revision).to_bytes(),
                Brings::Older(older) => sealed(older).to_bytes(),
                Brings::Forged => {
                    let forger = PolicyKey::from_seed([8; 32]);
                    let forged = ruleset(revision, asset());
                    envelope::seal_ruleset(&forger, &forged, revision).unwrap().to_bytes()
                }
                Brings::OfAnotherHost => {
                    let theirs = ruleset(revision, "as-2".parse().unwrap());
                    envelope::seal_ruleset(&key(), &theirs, revision).unwrap().to_bytes()
                }
                Brings::Cut => {
                    let mut bytes = sealed(revision).to_bytes();
                    bytes.truncate(bytes.len() / 2);
                    bytes
                }
                Brings::Nothing => return Fetched::Nothing,
            };
            Fetched::Envelope(bytes, asset())
        };
        self.world.perform(Call::Fetch, act, |_| Fetched::Nothing)
    }

    fn show_what_is_held(
        &mut self,
        _: Standing,
        _: Option<&LastKnownGood>,
    ) -> Option<CheckInAnswer> {
        None
    }

    fn stays_behind(&mut self, wanted: String, floor: String) {
        let text = format!("the platform wants {wanted}, and this host has had {floor}");
        self.note(Problem { code: "platform-behind".to_owned(), text });
    }
}

impl Log for Running {
    fn note(&mut self, problem: Problem) {
        self.world.set(|sim| sim.problems.push(problem));
    }

    fn step(&mut self, step: Step) {
        self.world.perform(Call::Step(step), |_| (), |_| ());
    }

    fn trace(&mut self, _: DebugArea, text: &dyn Fn() -> String) {
        assert!(!text().is_empty());
    }
}

struct Parts {
    policy: PolicyPart,
    run: Running,
}

impl Cycle for Parts {
    type Look = ();

    fn provision(&mut self) {
        self.run.step(Step::Locked);
    }

    fn look(&mut self) -> Result<(), Failed> {
        let last = self.run.world.0.borrow().last_seen;
        let looked = look(self, last);
        self.policy.checked(looked, &mut self.run)?;
        self.run.step(Step::Collected);
        Ok(())
    }

    fn mend(&mut self, (): &mut ()) -> Result<(), Failed> {
        let Self { policy, run } = self;
        let mut kernel = FakeKernel(run.world.clone());
        let mended = policy.mend(&mut kernel, run);
        policy.checked(mended, run)
    }

    fn settle_threats(&mut self) {
        self.run.world.set(|sim| sim.threat_turns += 1);
    }

    fn check_in(&mut self) -> Option<CheckInAnswer> {
        let answer = self.run.check_in(Call::CheckIn, self.policy.standing());
        self.run.step(Step::CheckedIn);
        answer
    }

    fn follow_policy(&mut self, (): &mut (), answer: Option<&CheckInAnswer>) {
        let Self { policy, run } = self;
        let (mut kernel, contact) = (FakeKernel(run.world.clone()), run.contact);
        let followed = policy.follow(&mut kernel, run, answer, contact);
        let _ = policy.checked(followed, run);
    }

    fn follow_threats(&mut self, _: Option<&CheckInAnswer>) {
        self.run.world.set(|sim| sim.threat_turns += 1);
    }

    fn tell(&mut self, _: Option<()>) {}

    fn install_boot_unit(&mut self) {}
}

fn look(parts: &mut Parts, last: LastSeen) -> Result<(), crate::core::holding::HoldingError> {
    let Parts { policy, run } = parts;
    let mut kernel = FakeKernel(run.world.clone());
    policy.look(&mut kernel, run, last)
}

impl Parts {
    /// Tells the rest, and writes down what the next run is to know.
    fn finish(mut self) -> Ended {
        let standing = self.policy.standing();
        let told = self.run.world.0.borrow().told.clone();
        if self.run.contact == Contact::Reached
            && told.is_some_and(|told| told.in_force != standing.in_force)
        {
            self.run.check_in(Call::Correct, standing);
        }
        let (policy, floor) = (&self.policy, self.run.floor);
        let save = |sim: &mut Sim| {
            sim.floor = floor;
            if let Some(generation) = policy.seen_at() {
                sim.last_seen = LastSeen::At(generation);
            }
            if let Some(programmed) = policy.programmed() {
                let (last, of) = &mut sim.hits;
                let hits = hits::since(programmed, last, of);
                sim.hits_told += hits.iter().map(|hits| hits.packets).sum::<u64>();
            }
        };
        // What is not written is told by the next run.
        self.run.world.perform(Call::Save, save, |_| ());
        let results = PartResults {
            ownership: Ownership::Ours,
            policy: policy.failure(),
            contact: self.run.failure,
            threat: None,
            in_force: policy.in_force().is_some(),
        };
        Ended { status: results.status(), in_force: policy.in_force(), change: policy.change() }
    }
}
