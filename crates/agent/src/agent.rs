//! What the agent's threads share: the configuration in use, what is to be done and why, and how the
//! last cycle went.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use xshield_enforce::config::Config;
use xshield_enforce::outcome::{Change, Contact, Outcome, RunStatus};
use xshield_enforce::resident::{Meter, Settings};
use xshield_enforce::telemetry::{AgentEvent, AgentEventKind};
use xshield_enforce::{
    Handover, HostConfiguration, Program, Report, ReportBody, Route, Surroundings,
};

use crate::config_file::{self, Loaded};
use crate::held::{HeldPoll, PollTerms};
use crate::live::Live;
use crate::log::Log;
use crate::paths::PathTeller;
use crate::schedule::{Chance, Reach};
use crate::supervisor::Pulse;
use crate::supervisor::StartedBy;
use crate::this_program;

/// Reports that wait in memory for a cycle that can write them down, at most; the oldest go first.
const QUEUE: usize = 50;

/// Why a cycle runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wake {
    /// It is time.
    Heartbeat,
    /// The platform has something for this host.
    Notified,
    /// The notification broke: maybe there is another route.
    RouteBroke,
    /// Someone changed the firewall.
    Tampered,
    /// Someone on this host asks.
    Asked,
    /// The last cycle left something to deliver.
    Unfinished,
    /// Another configuration is in use.
    Reconfigured,
    /// This host's addresses have changed.
    Readdressed,
}

/// What a thread that waits is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Run a cycle.
    Cycle(BTreeSet<Wake>),
    /// Show that there is nothing to do, and wait again.
    StillWaiting,
    /// Come to an end.
    Stop,
}

/// How a cycle went.
#[derive(Debug, Clone)]
pub struct LastCycle {
    /// When it ended, by the host's clock.
    pub ended: u64,
    /// How long it took.
    pub took: Duration,
    /// Why it ran.
    pub wakes: BTreeSet<Wake>,
    /// Which configuration it went by.
    pub configured: u64,
    /// What it came to, or why it could not begin.
    pub result: Result<Outcome, String>,
}

impl LastCycle {
    /// The route by which the platform was last reached.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        let routes = &self.result.as_ref().ok()?.routes;
        Some(&routes.iter().find(|route| route.in_use)?.route)
    }

    /// Whether the platform answered and did not turn the host away.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let turned_away =
            |status| matches!(status, RunStatus::PlatformUnreachable | RunStatus::Refused);
        match &self.result {
            Ok(outcome) if outcome.platform == Contact::Reached && !turned_away(outcome.status) => {
                Reach::Reached
            }
            _ => Reach::Unreachable,
        }
    }
}

/// What changes while the agent runs.
pub struct State {
    /// The configuration in use.
    pub loaded: Arc<Loaded>,
    /// Counts configurations, so that threads notice another one.
    pub configured: u64,
    /// What the platform configures.
    pub platform: Option<HostConfiguration>,
    /// The last cycle.
    pub last: Option<LastCycle>,
    /// Cycles that have ended.
    pub cycles: u64,
    /// Cycles that reached the platform.
    pub reached: u64,
    /// For the next poll.
    pub seen: Option<String>,
    /// What the notification does, for people.
    pub polling: String,
    /// The poll that waits for its answer.
    poll: Option<HeldPoll>,
    /// An open connection, on its way from cycle to poll or back, of the configuration in use.
    pub connection: Handover,
    /// How often the platform had wanted everything again before the agent was started.
    pub resends: u64,
    /// Reports for the next cycle.
    pub queue: Vec<Report>,
    /// When the next cycle is due if nothing else happens.
    pub due: Instant,
    /// Where the next cycle is to leave diagnostics.
    pub archive: Option<PathBuf>,
    /// Measures what the agent uses.
    pub meter: Meter,
    /// By whom paths are told.
    pub paths: PathTeller,
    /// Whether it uses more than it may: what is optional rests.
    pub throttled: bool,
    /// What the thread that runs cycles was last seen at.
    pub pulse: Pulse,
    wakes: BTreeSet<Wake>,
    running: bool,
    stopping: bool,
}

/// What the threads share.
pub struct Agent {
    /// Where the configuration is.
    pub path: PathBuf,
    /// Which program this is.
    pub program: Program,
    /// Clock, randomness, root directory.
    pub surroundings: Surroundings,
    /// What is said.
    pub log: Log,
    /// When the agent was started, by the host's clock.
    pub started: u64,
    /// Who started it.
    pub started_by: StartedBy,
    /// Denials and matches as they happen.
    pub live: Live,
    state: Mutex<State>,
    changed: Condvar,
}

impl Agent {
    /// An agent that has done nothing yet; its first cycle is due at once.
    #[must_use]
    pub fn new(path: PathBuf, loaded: Loaded, started_by: StartedBy, log: Log) -> Self {
        let surroundings = Surroundings::of_this_host(path.clone());
        let started = surroundings.now();
        let state = State {
            loaded: Arc::new(loaded),
            configured: 0,
            platform: None,
            last: None,
            cycles: 0,
            reached: 0,
            seen: None,
            polling: "not begun".to_owned(),
            poll: None,
            connection: Handover::default(),
            resends: 0,
            queue: Vec::new(),
            due: Instant::now(),
            archive: None,
            meter: Meter::new(started),
            paths: PathTeller::default(),
            throttled: false,
            pulse: Pulse::Waits(Instant::now()),
            wakes: BTreeSet::new(),
            running: false,
            stopping: false,
        };
        let program = this_program();
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let live = Live::default();
        Self { path, program, surroundings, log, started, started_by, live, state, changed }
    }

    /// What changes.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration in use.
    #[must_use]
    pub fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.state().loaded)
    }

    /// What is in use, the platform's configuration included.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let state = self.state();
        state.loaded.config.resident.settings(state.platform.as_ref())
    }

    /// A number at random.
    #[must_use]
    pub fn chance(&self) -> Chance {
        Chance::new(u32::from_ne_bytes(self.surroundings.random()))
    }

    /// Asks for a cycle at once.
    pub fn wake(&self, why: Wake) {
        self.state().wakes.insert(why);
        self.changed.notify_all();
    }

    /// Asks every thread to come to an end.
    pub fn stop(&self) {
        self.state().stopping = true;
        self.changed.notify_all();
    }

    /// Whether the agent comes to an end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.state().stopping
    }

    /// Puts an event beside the next cycle's reports.
    pub fn tell(&self, kind: AgentEventKind, text: String) {
        let at = self.surroundings.now();
        let event = AgentEvent { at, kind, text, revision: None, seconds: None };
        self.report(ReportBody::Agent { events: vec![event] });
    }

    /// Puts a report beside the next cycle's. Returns its batch id.
    pub fn report(&self, body: ReportBody) -> [u8; 16] {
        let batch = self.surroundings.random();
        let report = Report::new(batch, self.surroundings.now(), body);
        let mut state = self.state();
        state.queue.push(report);
        let excess = state.queue.len().saturating_sub(QUEUE);
        state.queue.drain(..excess);
        drop(state);
        if excess > 0 {
            self.log.warn("no cycle could write reports down for long: the oldest is given up");
        }
        batch
    }

    /// Waits until a cycle is due or asked for, at most for `longest`.
    #[must_use]
    pub fn next_task(&self, longest: Option<Duration>) -> Task {
        let deadline = longest.map(|longest| Instant::now() + longest);
        let mut state = self.state();
        state.pulse = Pulse::Waits(Instant::now());
        loop {
            if state.stopping {
                return Task::Stop;
            }
            let now = Instant::now();
            if now >= state.due {
                state.wakes.insert(Wake::Heartbeat);
            }
            if !state.wakes.is_empty() {
                state.running = true;
                state.pulse = Pulse::Works(now);
                return Task::Cycle(std::mem::take(&mut state.wakes));
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Task::StillWaiting;
            }
            let until = deadline.map_or(state.due, |deadline| deadline.min(state.due));
            let waited = self.changed.wait_timeout(state, until.saturating_duration_since(now));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Notes how a cycle went and when the next one is due.
    pub fn cycle_ended(&self, last: LastCycle, due: Instant) {
        let mut state = self.state();
        if last.reach() == Reach::Reached {
            state.reached += 1;
        }
        if let Ok(outcome) = &last.result {
            if outcome.heard.seen.is_some() {
                state.seen.clone_from(&outcome.heard.seen);
            }
            if outcome.heard.configuration.is_some() {
                state.platform.clone_from(&outcome.heard.configuration);
            }
        }
        let follows = last.result.as_ref().is_ok_and(|outcome| outcome.heard.followed.is_some());
        let outdated = state.poll.take_if(|poll| poll.is_outdated(&last));
        // A poll that waits has a connection of its own.
        if state.poll.is_some() {
            state.connection.clear();
        }
        state.last = Some(last);
        state.due = due;
        state.cycles += 1;
        state.running = false;
        drop(state);
        if let Some(poll) = outdated {
            poll.cut();
        }
        if follows {
            // Whom to trust is part of the configuration; why it can't be read is in the log.
            let _ = self.reload();
        }
        self.changed.notify_all();
    }

    /// Waits until a cycle has reached the platform that ended after the one numbered `known`. `None`
    /// when the agent comes to an end.
    #[must_use]
    pub fn wait_for_contact(&self, known: u64) -> Option<u64> {
        let state = self.state();
        let waiting = |state: &mut State| !state.stopping && state.reached <= known;
        let state = self.changed.wait_while(state, waiting);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        (!state.stopping).then_some(state.reached)
    }

    /// Waits until no cycle runs. Returns how many have ended; `None` when the agent comes to an end.
    #[must_use]
    pub fn wait_for_idle(&self) -> Option<u64> {
        let waiting = |state: &mut State| !state.stopping && state.running;
        let state = self.changed.wait_while(self.state(), waiting);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        (!state.stopping).then_some(state.cycles)
    }

    /// Waits until more than `known` cycles have ended, and tells what the last one did to the kernel.
    #[must_use]
    pub fn wait_for_cycle_after(&self, known: u64) -> Option<Change> {
        let waiting = |state: &mut State| !state.stopping && state.cycles <= known;
        let state = self.changed.wait_while(self.state(), waiting);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        Some(state.last.as_ref()?.result.as_ref().ok()?.change)
    }

    /// Whether a cycle runs or has ended.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        let state = self.state();
        state.running || state.cycles > 0
    }

    /// The kernel's ruleset generation that the last cycle left.
    #[must_use]
    pub fn last_generation(&self) -> Option<u32> {
        self.state().last.as_ref()?.result.as_ref().ok()?.generation
    }

    /// Waits for a while, or until the agent comes to an end.
    pub fn rest(&self, time: Duration) {
        let waiting = |state: &mut State| !state.stopping;
        let _ = self.changed.wait_timeout_while(self.state(), time, waiting);
    }

    /// The route by which the platform was last reached.
    #[must_use]
    pub fn route(&self) -> Option<Route> {
        self.state().last.as_ref()?.route().cloned()
    }

    /// How many cycles have reached the platform.
    #[must_use]
    pub fn contacts(&self) -> u64 {
        self.state().reached
    }

    /// Begins a poll, which ends when a cycle takes another route or goes by another configuration.
    #[must_use]
    pub fn begin_poll(&self) -> PollTerms {
        let mut state = self.state();
        let route = state.last.as_ref().and_then(LastCycle::route).cloned();
        state.polling = match &route {
            Some(route) => format!("waiting, by {route}"),
            None => "waiting".to_owned(),
        };
        let (seen, connection) = (state.seen.clone(), state.connection.clone());
        let terms = PollTerms::new(state.configured, seen, route, connection);
        state.poll = Some(terms.held());
        terms
    }

    /// The poll has ended.
    pub fn end_poll(&self) {
        self.state().poll = None;
    }

    /// Reads the configuration again. One that can't be used changes nothing but the log.
    ///
    /// # Errors
    /// Why it can't be used, with its place.
    pub fn reload(&self) -> Result<(), String> {
        let loaded = config_file::load_to_run(&self.path, self.started_by);
        let loaded = loaded.map_err(|error| error.to_string());
        let loaded = loaded.and_then(|loaded| self.same_place(loaded)).inspect_err(|reason| {
            let text = format!("{reason}; the configuration before it stays in use");
            self.log.error(&text);
            self.tell(AgentEventKind::ConfigurationRefused, text);
        })?;
        self.say_unknown(&loaded);
        {
            let mut state = self.state();
            state.loaded = Arc::new(loaded);
            state.configured += 1;
            state.connection = Handover::default();
        }
        self.log.info("the configuration was read again");
        self.tell(
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

    /// Names the keys that have no effect.
    pub fn say_unknown(&self, loaded: &Loaded) {
        for (line, key) in &loaded.unknown {
            let path = self.path.display();
            self.log.warn(&format!("{path}:{line}: {key} is not known here and has no effect"));
        }
    }

    /// Where the agent's own things are.
    #[must_use]
    pub fn config<T>(&self, read: impl FnOnce(&Config) -> T) -> T {
        read(&self.loaded().config)
    }
}
