//! THE cycle: check in, fetch, verify, resolve, apply, confirm, read back, report.

use std::path::PathBuf;
use std::time::Duration;

use xshield_firewall::{Firewall, FirewallError, LiveGroup, Programmed};
use xshield_host::files::FileError;
use xshield_host::linux::firewalld::Firewalld;
use xshield_host::linux::guarded::{self, UnguardedError};
use xshield_host::linux::identity::{Identity, IdentityError};
use xshield_host::linux::nftables;
use xshield_host::linux::resolver::{Patience, Resolver};
use xshield_host::linux::sockets::{self, ListeningSocket, SocketsError};
use xshield_host::linux::system::{self, SystemError};
use xshield_host::lock::{self, LockError};
use xshield_host::spool::{Losses, Spool, SpoolError};
use xshield_transport::{Route, Timeouts};
use xshield_wire::Verified;
use xshield_wire::bounds::{self, Cut};
use xshield_wire::envelope::{self, EnvelopeError};
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::{
    CheckIn, CheckInAnswer, HostFacts, InForce, ListeningPort, Problem, Program, ProgramKind,
    RuleHits, Status, VERSION,
};
use xshield_wire::telemetry::LogEnd;

use crate::boot_unit::{BootUnit, Installed};
use crate::client::{Client, Connection, ContactError, Fetched};
use crate::config::{Config, Provisioning};
use crate::delivery::Recorded;
use crate::errand::{Contacting, Errand, Heard};
use crate::evidence::Showing;
use crate::happenings::Before;
use crate::kernel::{Damage, Prepared};
use crate::link;
use crate::outcome::{Contact, Outcome, RunStatus, once};
use crate::preflight::{self, PreflightError};
use crate::resolve::HostResolver;
use crate::routes::{self, ProxiesMark, RouteReport};
use crate::state::{LastKnownGood, Progress, StateDirectory, problem};
use crate::step::step;
use crate::surroundings::Surroundings;
use crate::threat::Threats;

/// Bound of the spool, in bytes.
const SPOOL_BYTES: u64 = 64 * 1024 * 1024;
/// How many problems wait to be told at most; the newest stay.
const UNTOLD_KEPT: usize = 50;
/// How long one step of making nftables available may take.
const PROVISION_LIMIT: Duration = Duration::from_secs(300);

/// Why a run could not even begin. What fails later is part of its [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// This host can't be enforced.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The state directory can't be used.
    #[error("making the state directory {path} failed", path = .path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the OS said.
        #[source]
        source: std::io::Error,
    },
    /// Others can change the state directory.
    #[error("the state directory can't be trusted, and what is in force stays")]
    Unguarded(#[from] UnguardedError),
    /// A state file can't be used.
    #[error("using the state directory failed")]
    State(#[from] FileError),
    /// The lock can't be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The host's identity can't be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The host can't be described.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The listening ports are not known.
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    /// The connection to the platform can't be set up.
    #[error("preparing the connection to the platform failed")]
    Transport(#[from] xshield_transport::ConfigError),
    /// The kernel's firewall does not answer.
    #[error("opening the kernel's firewall failed")]
    Firewall(#[from] FirewallError),
    /// The spool can't be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// One cycle, ready to run.
pub struct Cycle<'a> {
    /// The host's configuration.
    pub config: &'a Config,
    /// Which program runs it.
    pub program: Program,
    /// Clock, randomness, root directory.
    pub surroundings: &'a Surroundings,
    /// What the run is sent with.
    pub errand: Errand,
}

impl Cycle<'_> {
    /// Runs the cycle once.
    ///
    /// # Errors
    /// What kept it from beginning, see [`CycleError`].
    pub fn run(&self) -> Result<Outcome, CycleError> {
        let preflight = preflight::check(&self.surroundings.root)?;
        let directory = &self.config.state_directory;
        let state = StateDirectory::open(directory)
            .map_err(|source| CycleError::StateDirectory { path: directory.clone(), source })?;
        guarded::ours_alone(directory)?;
        let Some(_lock) = lock::try_lock(&state.path("lock"))? else {
            return Ok(Outcome::new(RunStatus::AnotherRun));
        };
        if self.program.kind == ProgramKind::Spark && state.is_kept_by_a_resident()? {
            return Ok(Outcome::new(RunStatus::AnotherRun));
        }
        step("locked");
        let mut problems = Vec::new();
        let identity =
            Identity::load_or_make(&state.path("identity.key"), || Ok(self.surroundings.random()))?;
        problems.extend(identity.problem);
        problems.extend(guarded::exposed(
            &self.surroundings.config,
            "the enforcement key and proxies' passwords",
        ));
        let identity_key = identity.identity.key();
        problems.extend(self.config.trust.problem.clone());
        let stored_keys = self.config.keys_of_stored();
        let mut progress = state.progress(&mut problems)?;
        let known_good = state.last_known_good(&stored_keys, &mut problems)?;
        let threat = Threats::of(&state, &stored_keys, &mut problems)?;
        let host =
            HostFacts { name: self.config.host_name(), ..system::host_facts(&preflight.os)? };
        let resolver = Resolver::of_system(&self.surroundings.root, Patience::default());
        let last_route =
            routes::remembered(&progress.routes, progress.proxies.as_ref(), &self.config.proxies);
        let mark = progress.proxies.as_ref();
        routes::begin_anew(&mut progress.routes, mark, &self.config.proxies);
        let mut transport = link::transport(
            self.config,
            &self.program,
            HostResolver::of_a_run(&resolver),
            last_route,
            Timeouts::default(),
        )?;
        transport.take_over(&self.errand.connection);
        let session = state.session(&mut problems)?;
        let client = Client::new(
            transport,
            &self.config.enforcement_key,
            identity_key,
            &host.name,
            self.surroundings,
            session,
        );
        let mut run = Run {
            cycle: self,
            spool: Spool::open(&state.path("spool"), SPOOL_BYTES)?,
            state: &state,
            host: &host,
            resolver: &resolver,
            client,
            progress,
            known_good,
            threat,
            outcome: Outcome::new(RunStatus::Failed),
            failure: None,
            sockets: Vec::new(),
            ports: Vec::new(),
            prepared: None,
            kept: None,
            final_hits: Vec::new(),
            told: Vec::new(),
            found: Vec::new(),
            turned_away: false,
            showing: Showing::default(),
            told_route: None,
            spool_losses: Losses::default(),
            before: Before::default(),
            live: None,
            time_servers: None,
            sighting: Sighting::Nothing,
        };
        run.outcome.problems = problems;
        run.outcome.fingerprint = Some(IdentityFingerprint::of(&identity_key.public()));
        run.begin();
        run.read_memory();
        match preflight.firewalld {
            Firewalld::Absent => run.enforce(),
            present => run.stand_back(present),
        }
        run.finish()
    }
}

/// What a run finds in the kernel.
struct Look {
    firewall: Firewall,
    damage: Damage,
    recorded: Recorded,
}

/// What was seen in the kernel of the last-known-good ruleset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sighting {
    /// Nobody has looked yet, or what was found is not it: nothing is said to be in force.
    Nothing,
    /// All of it.
    Whole,
}

/// Whether a part of a run was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Done,
    /// And the reason is among the problems.
    Failed,
}

/// A run under way.
pub(crate) struct Run<'a> {
    pub(crate) cycle: &'a Cycle<'a>,
    pub(crate) state: &'a StateDirectory,
    pub(crate) host: &'a HostFacts,
    pub(crate) resolver: &'a Resolver,
    pub(crate) client: Client<'a>,
    pub(crate) spool: Spool,
    pub(crate) progress: Progress,
    pub(crate) known_good: Option<LastKnownGood>,
    pub(crate) threat: Threats,
    pub(crate) outcome: Outcome,
    /// The first thing that failed and has a status of its own.
    pub(crate) failure: Option<RunStatus>,
    /// What listens on this host.
    pub(crate) sockets: Vec<ListeningSocket>,
    /// The same, as it is reported.
    pub(crate) ports: Vec<ListeningPort>,
    /// The ruleset in force, as it was made ready in this run.
    pub(crate) prepared: Option<Prepared>,
    /// What was read back when a ruleset was kept.
    pub(crate) kept: Option<Programmed>,
    /// Hits of a slot that this run took out of use.
    pub(crate) final_hits: Vec<RuleHits>,
    /// The problems that the platform heard of in this run.
    pub(crate) told: Vec<Problem>,
    /// What the platform finds about this host: told here, and not back to it.
    found: Vec<Problem>,
    /// Whether the last check-in was refused, and would be again.
    turned_away: bool,
    /// What a platform that is behind is shown.
    pub(crate) showing: Showing,
    /// The route in use as the platform heard it in this run.
    told_route: Option<Route>,
    /// What the spool had dropped, as it is counted in this run's events.
    pub(crate) spool_losses: Losses,
    /// How things were when the run began.
    pub(crate) before: Before,
    /// The log group that packets are handed to as they are denied.
    pub(crate) live: Option<LiveGroup>,
    /// The time servers, once they were looked up in this run.
    pub(crate) time_servers: Option<xshield_policy::TimeServers>,
    /// Whether the last-known-good ruleset was seen in the kernel, or put back.
    sighting: Sighting,
}

impl Run<'_> {
    /// The cycle on one page: look, mend, ask, act, tell. What fails in the policy's part is told and
    /// keeps the threat list's from nothing, nor the other way round.
    fn enforce(&mut self) {
        self.provision();
        let mut look = None;
        let mended = self.part_of_policy(|run| {
            let seen = look.insert(run.look()?);
            step("collected");
            seen.damage = run.repair(&mut seen.firewall, seen.damage)?;
            run.sighting = Sighting::Whole;
            run.let_new_ways_through(&mut seen.firewall)
        });
        self.settle_threats();

        let answer = self.check_in(self.standing(), Connection::Any);
        let answer = answer.map(|answer| self.let_catch_up(answer));
        step("checked-in");
        if let (Part::Done, Some(seen)) = (mended, &mut look) {
            self.part_of_policy(|run| run.follow_policy(seen, answer.as_ref()));
        }
        self.follow_threat_order(answer.as_ref());

        if let Some(Look { firewall, recorded, .. }) = look {
            self.tell_flows(recorded, firewall.capabilities());
            self.report_ports();
        }
        self.install_boot_unit();
    }

    /// What the kernel and the host hold when the run begins.
    fn look(&mut self) -> Result<Look, CycleError> {
        let mut firewall = Firewall::open()?;
        self.follow_open_connections(&mut firewall);
        self.settle_live(&mut firewall);
        let mut holders = std::mem::take(&mut self.progress.holders);
        let sockets = sockets::listening_sockets(&mut holders);
        self.progress.holders = holders;
        self.sockets = sockets?;
        self.ports = sockets::ports(&self.sockets);
        let damage = self.damage(&mut firewall)?;
        let recorded = self.read_flows(&mut firewall)?;
        Ok(Look { firewall, damage, recorded })
    }

    /// Brings the ruleset that the platform wants, or the last one when it says nothing, into force.
    fn follow_policy(
        &mut self,
        seen: &mut Look,
        answer: Option<&CheckInAnswer>,
    ) -> Result<(), CycleError> {
        let fetched = answer.and_then(|answer| self.fetch(answer));
        step("fetched");
        let target = fetched.or_else(|| self.known_good.clone().map(|known| known.ruleset));
        let Some(ruleset) = target else { return Ok(()) };
        self.apply(&mut seen.firewall, ruleset, seen.damage)?;
        self.read_back(&mut seen.firewall)
    }

    /// Does a part of what the policy needs; what fails is told.
    fn part_of_policy(&mut self, act: impl FnOnce(&mut Self) -> Result<(), CycleError>) -> Part {
        let Err(error) = act(self) else { return Part::Done };
        self.failure = Some(RunStatus::Failed);
        self.outcome.problems.push(problem("failed", &error));
        Part::Failed
    }

    /// Takes what the run was sent with and how things stand.
    fn begin(&mut self) {
        let used = self.progress.routes.iter().find(|report| report.in_use);
        self.before = Before {
            in_force: self.known_good.as_ref().map(|known| known.ruleset.in_force()),
            route: used.map(|report| report.route.clone()),
            configuration: self.progress.configuration.as_ref().map(|set| set.version),
        };
        self.resume_debug_log();
        let cycle = self.cycle;
        for report in &cycle.errand.reports {
            if !self.progress.outbox.iter().any(|waiting| waiting.batch == report.batch) {
                self.put_report(report.clone());
            }
        }
    }

    /// firewalld owns this host's firewall: nothing is changed, and the platform is told.
    fn stand_back(&mut self, firewalld: Firewalld) {
        let text = format!(
            "firewalld is {} on this host: two owners of one firewall is none; remove or mask it, \
             then run again",
            format!("{firewalld:?}").to_lowercase()
        );
        self.note("blocked-firewalld", text);
        // Without a look: what was in force stays there until a restart.
        self.sighting = Sighting::Whole;
        self.failure = Some(RunStatus::Blocked);
        self.look_at_threats();
        self.check_in(self.standing(), Connection::Any);
    }

    /// How the host stands, in the words of a check-in.
    pub(crate) fn standing(&self) -> Status {
        match self.failure {
            Some(RunStatus::RulesetRefused | RunStatus::Reverted | RunStatus::Failed) => {
                let last = self.outcome.problems.last();
                let reason = last.map(|problem| problem.text.clone()).unwrap_or_default();
                Status::Failed { reason }
            }
            Some(RunStatus::Blocked) => Status::Blocked { by: "firewalld".to_owned() },
            _ if self.known_good.is_some() => Status::Enforcing,
            _ => Status::NoPolicy,
        }
    }

    /// What the platform may be told to be in force.
    fn in_force(&self) -> Option<InForce> {
        let known = self.known_good.as_ref().filter(|_| self.sighting == Sighting::Whole);
        known.map(|known| known.ruleset.in_force())
    }

    /// Tells the platform what was found after the check-in; what it can't be told now, the next run
    /// tells it. Who was turned away would be once more.
    fn tell_the_rest(&mut self) {
        let untold = self.outcome.problems != self.told
            || self.threat_is_untold()
            || self.client.current_route() != self.told_route.as_ref();
        if self.was_reached() && untold && !self.turned_away {
            self.check_in(self.standing(), Connection::Any);
        }
        let told = &self.told;
        for problem in &self.outcome.problems {
            if !told.contains(problem) && !self.progress.untold.contains(problem) {
                self.progress.untold.push(problem.clone());
            }
        }
        let excess = self.progress.untold.len().saturating_sub(UNTOLD_KEPT);
        self.progress.untold.drain(..excess);
    }

    /// Makes nftables available. That the userland tool can't be installed does not stop enforcement.
    fn provision(&mut self) {
        let switch = match self.cycle.config.nftables {
            Provisioning::Install => nftables::Switch::On,
            Provisioning::Leave => nftables::Switch::Off,
        };
        let allowed = nftables::Provisioning { module: switch, package: switch, service: switch };
        let observed = nftables::observe(&self.cycle.surroundings.root, &self.host.kernel);
        let steps = nftables::plan(&observed, allowed);
        self.outcome.problems.extend(nftables::carry_out(&steps, PROVISION_LIMIT));
    }

    /// Says how the host stands. What goes wrong is part of the outcome.
    pub(crate) fn check_in(
        &mut self,
        status: Status,
        connection: Connection,
    ) -> Option<CheckInAnswer> {
        if self.cycle.errand.contact == Contacting::Spare {
            return None;
        }
        let route = self.client.current_route().cloned();
        let mut check_in = CheckIn {
            version: VERSION,
            sequence: self.next_sequence(),
            program: self.cycle.program.clone(),
            host: self.host.clone(),
            status,
            in_force: self.in_force(),
            problems: once([&self.progress.untold[..], &self.outcome.problems[..]].concat()),
            threat: Some(self.threat_standing()),
            routes: self.routes().into_iter().map(Into::into).collect(),
            interval: self.cycle.errand.interval,
            configuration: self.progress.configuration.as_ref().map(|set| set.version),
            usage: self.cycle.errand.usage,
            previous: self.progress.answered,
            held: self.showing.take(),
            trust: self.cycle.config.trust.sequence.max(self.outcome.heard.followed),
        };
        self.note_cuts(&check_in.fit());
        let mut answer = self.client.check_in(&check_in, connection);
        // A route that broke after the request arrived made the transport send it twice.
        if answer.as_ref().is_err_and(ContactError::is_replay) {
            check_in.sequence = self.next_sequence();
            answer = self.client.check_in(&check_in, connection);
        }
        self.keep_session();
        match answer {
            Ok(answer) => {
                self.outcome.platform = Contact::Reached;
                self.turned_away = false;
                self.progress.answered = Some(check_in.sequence);
                self.found = answer.problems.clone();
                self.progress.untold.clear();
                self.told = self.outcome.problems.clone();
                self.told_route = route;
                self.threat_told(check_in.threat);
                self.outcome.wanted = answer.wanted.map(|wanted| wanted.revision);
                self.progress.last_contact = Some(self.cycle.surroundings.now());
                self.notice_another_asset();
                self.hear(&answer);
                self.obey(&answer);
                Some(answer)
            }
            Err(error) => {
                self.turned_away = error.was_reached() && !error.is_temporary();
                self.contact_failed(&error);
                None
            }
        }
    }

    /// Whoever looks at the host hears, too, what the platform does not. How many problems there are
    /// changes during a run.
    fn note_cuts(&mut self, cuts: &[Cut]) {
        let told = cuts.iter().filter(|cut| cut.what != bounds::PROBLEMS_CUT);
        for problem in told.copied().map(Problem::from) {
            if !self.outcome.problems.contains(&problem) {
                self.outcome.problems.push(problem);
            }
        }
    }

    /// An asset that was deleted and registered anew has been told nothing yet.
    fn notice_another_asset(&mut self) {
        let Some(asset) = self.client.asset() else { return };
        let before = self.progress.told_to.replace(asset.clone());
        if before.is_some_and(|before| before != asset) {
            self.tell_everything_again();
        }
    }

    /// What is told only when it changes is told once more.
    pub(crate) fn tell_everything_again(&mut self) {
        self.progress.ports_digest = None;
        self.progress.programmed_digest = None;
        self.progress.resends += 1;
    }

    /// What an answer says besides policy and commands.
    fn hear(&mut self, answer: &CheckInAnswer) {
        if let Some(configuration) = &answer.configuration {
            self.progress.configuration = Some(configuration.clone());
        }
        self.outcome.heard = Heard {
            next_check_in: Some(answer.next_check_in),
            seen: answer.seen.clone(),
            configuration: self.progress.configuration.clone(),
            resends: self.progress.resends,
            followed: self.outcome.heard.followed,
        };
        if let Some(shown) = &answer.trust {
            self.follow(shown);
        }
    }

    /// Grows from run to run, also when the state was lost: no run checks in more than once a
    /// millisecond.
    fn next_sequence(&mut self) -> u64 {
        let now = self.cycle.surroundings.now_millis();
        self.progress.sequence = (self.progress.sequence + 1).max(now);
        self.progress.sequence
    }

    /// Keeps a new session for the next run; without it the next run makes another.
    fn keep_session(&mut self) {
        if let Some(session) = self.client.take_new_session()
            && let Err(error) = self.state.save_session(&session)
        {
            self.outcome.problems.push(problem("session-unsaved", &error));
        }
    }

    fn contact_failed(&mut self, error: &ContactError) {
        let reached = error.was_reached();
        self.outcome.platform = if reached { Contact::Reached } else { Contact::Unreachable };
        let (status, code) = match error {
            ContactError::Unreachable(_) => {
                (RunStatus::PlatformUnreachable, "platform-unreachable")
            }
            ContactError::Refused { .. } if error.is_temporary() => {
                (RunStatus::PlatformUnreachable, "platform-busy")
            }
            ContactError::Refused { .. } | ContactError::Session(_) => {
                (RunStatus::Refused, "platform-refused")
            }
            ContactError::Garbled { .. } | ContactError::Packed { .. } => {
                (RunStatus::Failed, "platform-garbled")
            }
        };
        self.failure.get_or_insert(status);
        self.outcome.problems.push(problem(code, error));
    }

    pub(crate) fn was_reached(&self) -> bool {
        self.outcome.platform == Contact::Reached
    }

    /// Fetches and verifies the wanted ruleset, if the host does not have it. A platform that is behind
    /// is helped on once.
    fn fetch(&mut self, answer: &CheckInAnswer) -> Option<Verified<xshield_policy::Ruleset>> {
        let wanted = answer.wanted?;
        let have = self.known_good.as_ref().map(|known| known.ruleset.in_force());
        if have == Some(wanted) {
            return None;
        }
        let floor = self.ruleset_floor();
        if wanted.revision < floor.revision {
            self.refuse_ruleset(&EnvelopeError::Older { got: wanted.revision.into(), floor });
            return None;
        }
        let fetched = match self.client.ruleset(have.map(|have| have.digest)) {
            Ok(Fetched::Envelope(bytes)) => bytes,
            Ok(Fetched::Unchanged) => return None,
            Err(error) => {
                self.contact_failed(&error);
                return None;
            }
        };
        let asset = self.client.asset()?;
        let error = match envelope::open(&fetched, &self.cycle.config.policy_keys, &asset, floor) {
            Ok(ruleset) => return Some(ruleset),
            Err(error) => error,
        };
        if matches!(error, EnvelopeError::Older { .. })
            && let Some(answer) = self.show_what_is_held()
        {
            return self.fetch(&answer);
        }
        self.refuse_ruleset(&error);
        None
    }

    fn install_boot_unit(&mut self) {
        if self.cycle.config.boot_unit == Provisioning::Leave || !self.has_something_to_restore() {
            return;
        }
        let Surroundings { root, program, config, .. } = self.cycle.surroundings;
        let unit = BootUnit::new(root, &self.cycle.config.state_directory);
        match unit.install(program, config) {
            Ok(Installed::Unchanged | Installed::Written | Installed::NoSystemd) => {}
            Err(error) => self.outcome.problems.push(problem("boot-unit", &error)),
        }
    }

    pub(crate) fn note(&mut self, code: &str, text: String) {
        self.outcome.problems.push(Problem { code: code.to_owned(), text });
    }

    /// Writes the positions down, then delivers what is waiting.
    fn finish(mut self) -> Result<Outcome, CycleError> {
        self.conclude_threats();
        self.outcome.status = match (self.failure, self.outcome.in_force) {
            (Some(failure), _) => failure,
            (None, _) if self.progress.threat.failure.is_some() => RunStatus::Failed,
            (None, Some(_)) => RunStatus::Enforcing,
            (None, None) => RunStatus::NoPolicy,
        };
        self.outcome.problems.extend(routes::problems(&self.client.routes()));
        self.tell_the_rest();
        self.outcome.problems.append(&mut self.found);
        self.outcome.tell_once();
        self.progress.last_run = Some(self.cycle.surroundings.now());
        self.progress.routes = self.routes();
        self.mark_proxies();
        self.tell_what_happened(&self.progress.routes.clone());
        self.progress.problems = self.outcome.problems.clone();
        self.publish_debug_log(LogEnd::Open);
        self.state.save_progress(&self.progress)?;
        step("saved");
        self.spool.settle(self.spool_losses)?;
        self.move_outbox_to_spool()?;
        step("spooled");
        let (lost, pause) = (self.progress.lost, self.progress.reports_after);
        self.deliver();
        self.serve_diagnostics()?;
        self.leave_diagnostics();
        self.publish_debug_log(LogEnd::Open);
        self.keep_session();
        self.outcome.routes = self.routes();
        self.outcome.generation = self.progress.generation.as_ref().map(|(_, known)| *known);
        let is_unsaved = self.progress.lost != lost
            || self.progress.reports_after != pause
            || !self.progress.outbox.is_empty();
        if is_unsaved || self.outcome.routes != self.progress.routes {
            self.progress.routes = self.outcome.routes.clone();
            self.state.save_progress(&self.progress)?;
        }
        self.client.hand_over(&self.cycle.errand.connection);
        // What kept reports from being delivered may have kept the check-in from it before.
        self.outcome.tell_once();
        Ok(self.outcome)
    }

    fn mark_proxies(&mut self) {
        let proxies = &self.cycle.config.proxies;
        if !self.progress.proxies.as_ref().is_some_and(|mark| mark.is_of(proxies)) {
            let mark = ProxiesMark::new(proxies, self.cycle.surroundings.random());
            self.progress.proxies = Some(mark);
        }
    }

    /// The ways to the platform as they stand now.
    fn routes(&self) -> Vec<RouteReport> {
        let now = self.cycle.surroundings.now();
        routes::reports(self.client.routes(), &self.progress.routes, self.outcome.platform, now)
    }
}
