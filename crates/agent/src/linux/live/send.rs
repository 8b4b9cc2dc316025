//! The thread that adds programs to flows and reports them to the platform.

use std::time::{Duration, Instant};

use xshield_enforce::RunOutcome;
use xshield_enforce::problems::chain;
use xshield_enforce::resident::live::{Described, Describer, LiveReporter};
use xshield_enforce::state::StateDirectory;
use xshield_enforce::telemetry::LiveReport;
use xshield_enforce::{Report, ReportBody};

use super::outbox::{Batch, Outbox};
use crate::agent::Agent;

/// The longest wait for a batch at a time.
const WAIT: Duration = Duration::from_secs(2);
/// How long an event is shown after it happened; later only its count is reported.
const SHOWN_FOR: Duration = Duration::from_secs(5);
/// How long a report waits for the names of programs.
const ATTRIBUTION: Duration = Duration::from_millis(300);
/// The time between two attempts.
const AGAIN: Duration = Duration::from_secs(1);
/// The time between two attempts if the platform is unreachable, or does not accept such reports.
const RARELY: Duration = Duration::from_secs(15);

/// Reports to the platform until the agent stops.
pub(crate) fn run(agent: &Agent, outbox: &Outbox) {
    let mut sender =
        LiveSender { agent, outbox, tools: None, pending: None, lost: 0, not_before: None };
    while !agent.is_stopping() {
        sender.step();
    }
}

struct LiveSender<'a> {
    agent: &'a Agent,
    outbox: &'a Outbox,
    /// With the number of the configuration for which they were created.
    tools: Option<(u64, Describer, LiveReporter)>,
    /// A report that may or may not have arrived.
    pending: Option<Pending>,
    /// Packets that are lost and not reported yet.
    lost: u64,
    not_before: Option<Instant>,
}

/// A report being delivered.
struct Pending {
    report: Report,
    /// The number of packets that it shows.
    shown: u64,
    /// The number of packets that it reports as lost.
    lost: u64,
    since: Instant,
}

impl Pending {
    /// Removes the flows and counts their packets as lost. The batch id stays: if the platform has accepted
    /// the flows after all, it accepts no other report with that id.
    fn grow_old(&mut self) {
        self.lost += std::mem::take(&mut self.shown);
        let (events, threats) = (Vec::new(), Vec::new());
        self.report.body = ReportBody::Live(LiveReport { events, threats, lost: self.lost });
    }
}

impl LiveSender<'_> {
    fn step(&mut self) {
        let now = Instant::now();
        let resting = self.not_before.map_or(Duration::ZERO, |then| then - now.min(then));
        let idle = self.pending.is_none() && self.lost == 0;
        let wait = if idle { WAIT } else { resting.min(WAIT) };
        let batch = self.outbox.take(wait);
        let may_try = self.not_before.is_none_or(|then| Instant::now() >= then);
        if self.pending.is_some() || !may_try {
            // At most one report may be in doubt: packets that arrive meanwhile are only counted.
            self.lose(batch.map_or(0, |batch| batch.packets() + batch.lost));
        } else if batch.is_some() || self.lost > 0 {
            self.make(batch.unwrap_or_default());
        }
        if may_try && self.pending.is_some() {
            self.send();
        }
    }

    fn lose(&mut self, packets: u64) {
        self.lost += packets;
        self.agent.live.lose(packets);
    }

    /// Builds a report from a batch.
    fn make(&mut self, batch: Batch) {
        let shown = batch.packets();
        if let Err(reason) = self.tool() {
            self.untold(reason);
            self.lose(shown + batch.lost);
            return self.rest(RARELY);
        }
        self.lose(batch.lost);
        let revision = self.list_revision();
        let agent = self.agent;
        let described = match &mut self.tools {
            Some((_, describer, _)) => {
                if let Some(then) = describer.look_up(&batch.flows) {
                    agent.rest(then.saturating_duration_since(Instant::now()).min(ATTRIBUTION));
                    let _ = describer.look_up(&batch.flows);
                }
                describer.describe(batch.flows, revision)
            }
            None => Described::default(),
        };
        let lost = std::mem::take(&mut self.lost);
        let Described { events, threats } = described;
        let body = ReportBody::Live(LiveReport { events, threats, lost });
        let environment = &self.agent.environment;
        let report = Report::new(environment.random(), environment.now(), body);
        self.pending = Some(Pending { report, shown, lost, since: Instant::now() });
    }

    fn send(&mut self) {
        let Some(mut pending) = self.pending.take() else { return };
        if pending.since.elapsed() >= SHOWN_FOR && pending.shown > 0 {
            self.agent.live.lose(pending.shown);
            pending.grow_old();
        }
        let route = self.agent.route();
        let told = match self.tool() {
            Ok(reporter) => reporter.report(&pending.report, route.as_ref()),
            Err(reason) => {
                self.untold(reason);
                self.pending = Some(pending);
                return self.rest(RARELY);
            }
        };
        match told {
            Ok(()) => {
                self.agent.live.reported(pending.shown);
                self.not_before = None;
            }
            Err(error) => {
                self.untold(chain(&error));
                let old = pending.shown == 0;
                self.rest(if old || error.is_final() { RARELY } else { AGAIN });
                match error {
                    // The platform will never accept it: its packets are lost, and reported with a later one.
                    error if error.is_final() => {
                        self.lost += pending.lost;
                        self.lose(pending.shown);
                    }
                    _ => self.pending = Some(pending),
                }
            }
        }
    }

    fn rest(&mut self, time: Duration) {
        self.not_before = Some(Instant::now() + time);
    }

    fn untold(&self, reason: String) {
        let text = format!("live events are not reported: {reason}");
        if self.agent.live.unreported(reason) {
            self.agent.log.debug(&text);
        }
    }

    /// Creates the describer and the reporter with the configuration in use.
    fn tool(&mut self) -> Result<&mut LiveReporter, String> {
        let configured = self.agent.configured();
        let current = self.tools.take().filter(|(made_for, ..)| *made_for == configured);
        let tools = match current {
            Some(tools) => tools,
            None => self.new_tools(configured)?,
        };
        Ok(&mut self.tools.insert(tools).2)
    }

    fn new_tools(&self, configured: u64) -> Result<(u64, Describer, LiveReporter), String> {
        let loaded = self.agent.loaded();
        let state = StateDirectory::open(&loaded.config.state_directory);
        let state = state.map_err(|error| chain(&error))?;
        let (program, environment) = (&self.agent.program, self.agent.environment.clone());
        let reporter = LiveReporter::new(&loaded.config, program, state.clone(), environment);
        let reporter = reporter.map_err(|error| chain(&error))?;
        Ok((configured, Describer::new(&loaded.config, state), reporter))
    }

    /// The revision of the threat list in force.
    fn list_revision(&self) -> u64 {
        let list = |outcome: &RunOutcome| outcome.threat.list.as_ref().map(|list| list.revision);
        self.agent.last_outcome(list).unwrap_or_default()
    }
}
