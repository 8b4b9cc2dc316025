//! The state shared by the agent's threads: the configuration in use, and, behind one lock, the cycles with
//! their results, the poll, the waiting reports, and the agent's health.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use xshield_enforce::config::Config;
use xshield_enforce::outcome::{RulesetChange, RunOutcome};
use xshield_enforce::resident::Settings;
use xshield_enforce::telemetry::{AgentEvent, AgentEventKind};
use xshield_enforce::{
    Handover, HostConfiguration, Program, Report, ReportBody, Route, RunEnvironment, Usage,
};

use crate::config_file::{self, Loaded};
use crate::cycles::{Cycles, LastCycle, Task, Wake};
use crate::health::{ActivePathSource, Budget, Health, WorkerState};
use crate::held::{PollTerms, Polls};
use crate::live::Live;
use crate::log::Log;
use crate::os;
use crate::queue::ReportQueue;
use crate::schedule::RandomFraction;
use crate::started_by::StartedBy;

/// State that changes while the agent runs.
struct State {
    loaded: Arc<Loaded>,
    /// The number of the configuration in use, so that threads notice a new one.
    configured: u64,
    cycles: Cycles,
    polls: Polls,
    queue: ReportQueue,
    health: Health,
    /// The file for the diagnostics of the next cycle.
    archive: Option<PathBuf>,
    stopping: bool,
}

/// The state shared by the threads.
pub struct Agent {
    /// The path of the configuration.
    pub path: PathBuf,
    /// This program's name and version.
    pub program: Program,
    /// Clock, randomness, root directory.
    pub environment: RunEnvironment,
    /// The log.
    pub log: Log,
    /// When the agent was started, by the host's clock.
    pub started: u64,
    /// Who started it.
    pub started_by: StartedBy,
    /// Live events.
    pub live: Live,
    state: Mutex<State>,
    changed: Condvar,
}

/// The inputs of a cycle.
pub struct CycleTerms {
    /// The configuration in use.
    pub loaded: Arc<Loaded>,
    /// The number of the configuration.
    pub configured: u64,
    /// Reports to be saved.
    pub reports: Vec<Report>,
    /// The agent's resource usage.
    pub usage: Usage,
    /// The file for diagnostics.
    pub archive: Option<PathBuf>,
    /// The source of paths.
    pub paths: ActivePathSource,
    /// Holds an open connection to the platform.
    pub connection: Handover,
}

/// The agent's status, for `ctagentcmd`.
pub struct AgentStatus {
    /// The configuration in use.
    pub loaded: Arc<Loaded>,
    /// The version of the platform's configuration for this host.
    pub platform_configuration: Option<u64>,
    /// The time until the next cycle if nothing else happens.
    pub next_cycle: Duration,
    /// The state of the notification.
    pub notification: String,
    /// The number of completed cycles.
    pub cycles: u64,
    /// The last cycle.
    pub last: Option<LastCycle>,
    /// The agent's resource usage.
    pub usage: Usage,
    /// The number of reports that wait for a cycle.
    pub waiting_reports: usize,
    /// The source of paths.
    pub paths: ActivePathSource,
}

impl Agent {
    /// An agent whose first cycle is due at once.
    #[must_use]
    pub fn new(
        path: PathBuf,
        program: Program,
        loaded: Loaded,
        started_by: StartedBy,
        log: Log,
    ) -> Self {
        let environment = os::this_host(path.clone());
        let (started, now) = (environment.now(), Instant::now());
        let state = State {
            loaded: Arc::new(loaded),
            configured: 0,
            cycles: Cycles::new(now),
            polls: Polls::default(),
            queue: ReportQueue::default(),
            health: Health::new(started, now),
            archive: None,
            stopping: false,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let live = Live::default();
        Self { path, program, environment, log, started, started_by, live, state, changed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, waits: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.changed.wait_while(self.state(), |state| waits(state));
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The configuration.
impl Agent {
    /// The configuration in use.
    #[must_use]
    pub fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.state().loaded)
    }

    /// The number of the configuration in use, which changes with it.
    #[must_use]
    pub fn configured(&self) -> u64 {
        self.state().configured
    }

    /// The settings in use, including the platform's configuration.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let state = self.state();
        state.loaded.config.resident.settings(state.cycles.platform())
    }

    /// Reads a value of the configuration in use.
    #[must_use]
    pub fn config<T>(&self, read: impl FnOnce(&Config) -> T) -> T {
        read(&self.loaded().config)
    }

    /// Reads the configuration again. An invalid one is only logged.
    ///
    /// # Errors
    /// Why it is invalid, with the position.
    pub fn reload(&self) -> Result<(), String> {
        let loaded = config_file::load_to_run(&self.path, self.started_by);
        let loaded = loaded.map_err(|error| error.to_string());
        let loaded = loaded.and_then(|loaded| self.same_place(loaded)).inspect_err(|reason| {
            let text = format!("{reason}; the previous configuration stays in use");
            self.log.error(&text);
            self.report_event(AgentEventKind::ConfigurationRefused, text);
        })?;
        self.say_unknown(&loaded);
        {
            let mut state = self.state();
            state.loaded = Arc::new(loaded);
            state.configured += 1;
            state.polls.reconfigured();
        }
        self.log.info("the configuration was read again");
        self.report_event(
            AgentEventKind::ConfigurationChanged,
            format!("{} was read again", self.path.display()),
        );
        self.wake(Wake::Reconfigured);
        Ok(())
    }

    fn same_place(&self, loaded: Loaded) -> Result<Loaded, String> {
        let now = &self.loaded().config.state_directory;
        if loaded.config.state_directory == *now {
            return Ok(loaded);
        }
        Err(format!("state-directory was changed from {}: restart the agent", now.display()))
    }

    /// Logs the keys that have no effect.
    pub fn say_unknown(&self, loaded: &Loaded) {
        for (line, key) in &loaded.unknown {
            let path = self.path.display();
            self.log.warn(&format!("{path}:{line}: {key} is unknown and has no effect"));
        }
    }
}

/// Cycles.
impl Agent {
    /// Restores what runs before this start remembered.
    pub fn resume(&self, platform: Option<HostConfiguration>, resends: u64) {
        self.state().cycles.resume(platform, resends);
    }

    /// Requests a cycle at once.
    pub fn wake(&self, why: Wake) {
        self.state().cycles.wake(why);
        self.changed.notify_all();
    }

    /// Requests a cycle at once that writes diagnostics to a file.
    pub fn wake_for_diagnostics(&self, path: PathBuf) {
        self.state().archive = Some(path);
        self.wake(Wake::Asked);
    }

    /// Waits until a cycle is due or requested, for at most `longest`.
    #[must_use]
    pub fn next_task(&self, longest: Option<Duration>) -> Task {
        let deadline = longest.map(|longest| Instant::now() + longest);
        let mut state = self.state();
        state.health.set_worker_state(WorkerState::Idle(Instant::now()));
        loop {
            if state.stopping {
                return Task::Stop;
            }
            let now = Instant::now();
            if let Some(wakes) = state.cycles.begin(now) {
                state.health.set_worker_state(WorkerState::Busy(now));
                return Task::Cycle(wakes);
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Task::StillWaiting;
            }
            let due = state.cycles.due();
            let until = deadline.map_or(due, |deadline| deadline.min(due));
            let waited = self.changed.wait_timeout(state, until.saturating_duration_since(now));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The inputs of the next cycle.
    #[must_use]
    pub fn cycle_terms(&self) -> CycleTerms {
        let mut state = self.state();
        CycleTerms {
            loaded: Arc::clone(&state.loaded),
            configured: state.configured,
            reports: state.queue.waiting(),
            usage: state.health.usage(),
            archive: state.archive.take(),
            paths: state.health.paths().clone(),
            connection: state.polls.connection(),
        }
    }

    /// When the next cycle is due if nothing else happens.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.state().cycles.due()
    }

    /// Records the result of a cycle and when the next one is due.
    pub fn cycle_ended(&self, last: LastCycle, due: Instant) {
        let follows = last.followed();
        let mut state = self.state();
        let outdated = state.polls.cycle_ended(&last);
        state.cycles.end(last, due);
        drop(state);
        if let Some(poll) = outdated {
            poll.cut();
        }
        if follows {
            // The trusted keys are part of the configuration; an error is logged.
            let _ = self.reload();
        }
        self.changed.notify_all();
    }

    /// Waits until a cycle after the one numbered `known` has reached the platform. `None` if the agent
    /// stops.
    #[must_use]
    pub fn wait_for_contact(&self, known: u64) -> Option<u64> {
        let state = self.wait_while(|state| !state.stopping && state.cycles.reached() <= known);
        (!state.stopping).then_some(state.cycles.reached())
    }

    /// Waits until no cycle is running. Returns the number of completed cycles; `None` if the agent stops.
    #[must_use]
    pub fn wait_for_idle(&self) -> Option<u64> {
        let state = self.wait_while(|state| !state.stopping && state.cycles.is_running());
        (!state.stopping).then_some(state.cycles.ended())
    }

    /// Waits until more than `known` cycles have completed, and returns what the last one did to the kernel.
    #[must_use]
    pub fn wait_for_cycle_after(&self, known: u64) -> Option<RulesetChange> {
        let state = self.wait_while(|state| !state.stopping && state.cycles.ended() <= known);
        state.cycles.last_change()
    }

    /// Whether a cycle is running or has completed.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        let state = self.state();
        state.cycles.is_running() || state.cycles.ended() > 0
    }

    /// The number of cycles that have reached the platform.
    #[must_use]
    pub fn contacts(&self) -> u64 {
        self.state().cycles.reached()
    }

    /// Reads a part of the last cycle's outcome.
    #[must_use]
    pub fn last_outcome<T>(&self, read: impl FnOnce(&RunOutcome) -> Option<T>) -> Option<T> {
        self.state().cycles.last_outcome().and_then(read)
    }

    /// The route by which the platform was last reached.
    #[must_use]
    pub fn route(&self) -> Option<Route> {
        self.state().cycles.last()?.route().cloned()
    }

    /// How often the platform had requested a full report before the agent was started.
    #[must_use]
    pub fn resends_before(&self) -> u64 {
        self.state().cycles.resends_before()
    }
}

/// The poll.
impl Agent {
    /// Starts a poll, which ends if a cycle uses another route or configuration.
    #[must_use]
    pub fn begin_poll(&self) -> PollTerms {
        let mut state = self.state();
        let route = state.cycles.last().and_then(LastCycle::route).cloned();
        let configured = state.configured;
        state.polls.begin(configured, route)
    }

    /// The poll has ended.
    pub fn end_poll(&self) {
        self.state().polls.end();
    }

    /// The poll was answered; `seen` is the token for the next one.
    pub fn poll_answered(&self, seen: String) {
        self.state().polls.record_token(seen);
    }

    /// Sets the state of the notification, for `ctagentcmd`.
    pub fn poll_says(&self, text: String) {
        self.state().polls.say(text);
    }
}

/// Reports.
impl Agent {
    /// Adds an event to the next cycle's reports.
    pub fn report_event(&self, kind: AgentEventKind, text: String) {
        let at = self.environment.now();
        let event = AgentEvent { at, kind, text, revision: None, seconds: None };
        self.report(ReportBody::Agent { events: vec![event] });
    }

    /// Adds a report to the next cycle's. Returns its batch id.
    pub fn report(&self, body: ReportBody) -> [u8; 16] {
        let batch = self.environment.random();
        let report = Report::new(batch, self.environment.now(), body);
        if self.state().queue.push(report) > 0 {
            self.log.warn("no cycle has saved reports for a long time: the oldest one was dropped");
        }
        batch
    }

    /// A cycle has saved these reports.
    pub fn mark_saved(&self, reports: &[[u8; 16]]) {
        self.state().queue.mark_saved(reports);
    }

    /// Whether a report still waits for a cycle.
    #[must_use]
    pub fn holds_report(&self, batch: [u8; 16]) -> bool {
        self.state().queue.holds(batch)
    }
}

/// Health.
impl Agent {
    /// When the worker thread was last active.
    #[must_use]
    pub fn worker_state(&self) -> WorkerState {
        self.state().health.worker_state()
    }

    /// Whether the agent exceeds its budget: optional work is paused.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.state().health.budget() == Budget::Exceeded
    }

    /// Sets whether the agent exceeds its budget.
    pub fn set_budget(&self, budget: Budget) {
        self.state().health.set_budget(budget);
    }

    /// Sets the source of paths; returns whether it has changed.
    pub fn set_path_source(&self, path_source: ActivePathSource) -> bool {
        self.state().health.set_paths(path_source)
    }

    /// The agent's status, for `ctagentcmd`.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        let mut state = self.state();
        AgentStatus {
            loaded: Arc::clone(&state.loaded),
            platform_configuration: state.cycles.platform().map(|set| set.version),
            next_cycle: state.cycles.due().saturating_duration_since(Instant::now()),
            notification: state.polls.said().to_owned(),
            cycles: state.cycles.ended(),
            last: state.cycles.last().cloned(),
            usage: state.health.usage(),
            waiting_reports: state.queue.len(),
            paths: state.health.paths().clone(),
        }
    }
}

/// Time, randomness, and stopping.
impl Agent {
    /// A random number.
    #[must_use]
    pub fn random_fraction(&self) -> RandomFraction {
        RandomFraction::new(u32::from_ne_bytes(self.environment.random()))
    }

    /// Waits for a while, or until the agent stops.
    pub fn rest(&self, time: Duration) {
        let waiting = |state: &mut State| !state.stopping;
        let _ = self.changed.wait_timeout_while(self.state(), time, waiting);
    }

    /// Asks every thread to stop.
    pub fn stop(&self) {
        self.state().stopping = true;
        self.changed.notify_all();
    }

    /// Whether the agent is stopping.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.state().stopping
    }
}
