//! The thread that runs cycles: at every heartbeat, and at once if there is a reason.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use xshield_enforce::options::{PlatformContact, RunOptions};
use xshield_enforce::outcome::{RulesetChange, RunOutcome};
use xshield_enforce::paths::RecordedPaths;
use xshield_enforce::problems::chain;
use xshield_enforce::telemetry::AgentEventKind;
use xshield_enforce::{Cycle, Problem};

use crate::agent::{Agent, CycleTerms};
use crate::cycles::{LastCycle, Task, Wake};
use crate::health::ActivePathSource;
use crate::os::supervisor::Supervisor;
use crate::schedule::{Reach, Schedule};

/// The time limit for delivering reports in one cycle.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The delay before a cycle continues what the last one left.
const SOON: Duration = Duration::from_secs(1);

/// How long the first cycle waits until it is known whether live events can be received.
const DECISION: Duration = Duration::from_secs(1);

/// Runs cycles until the agent stops.
pub fn run(agent: &Agent, supervisor: &Supervisor) {
    agent.live.wait_for_decision(DECISION);
    let mut worker = Worker { agent, schedule: Schedule::default(), said: None };
    loop {
        match agent.next_task(supervisor.interval()) {
            Task::Stop => break,
            Task::StillWaiting => {}
            Task::Cycle(wakes) => supervisor.status(&worker.cycle(wakes, AfterCycle::Continue)),
        }
    }
    supervisor.stopping();
    agent.report_event(
        AgentEventKind::Stopped,
        "the agent was stopped; the policy stays in force".to_owned(),
    );
    // Reports in memory are saved for the next start; the platform is not contacted.
    worker.cycle(BTreeSet::from([Wake::Asked]), AfterCycle::Stop);
}

/// Whether another cycle follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterCycle {
    Continue,
    Stop,
}

struct Worker<'a> {
    agent: &'a Agent,
    schedule: Schedule,
    /// The last logged summary.
    said: Option<String>,
}

impl Worker<'_> {
    fn cycle(&mut self, wakes: BTreeSet<Wake>, after_cycle: AfterCycle) -> String {
        let agent = self.agent;
        let terms = agent.cycle_terms();
        let CycleTerms { loaded, configured, reports, usage, archive, paths, connection } = terms;
        let settings = agent.settings();
        let paths = match paths {
            ActivePathSource::Recorder { .. } | ActivePathSource::SecurityLog => {
                RecordedPaths::Told
            }
            ActivePathSource::Conntrack | ActivePathSource::None => RecordedPaths::Left,
        };
        let sent: Vec<_> = reports.iter().map(|report| report.batch.0).collect();
        // A change of the firewall is repaired before the platform is contacted.
        let local = wakes.iter().all(|why| *why == Wake::Tampered);
        let spare = after_cycle == AfterCycle::Stop || local;
        let options = RunOptions {
            interval: u32::try_from(settings.heartbeat.as_secs()).ok(),
            usage: Some(usage),
            reports,
            contact: if spare { PlatformContact::Skipped } else { PlatformContact::Allowed },
            delivery_timeout: Some(TIMEOUT),
            archive,
            paths,
            recent_log: agent.log.recent(),
            live: agent.live.logging(),
            connection,
        };
        agent.log.debug(&format!("a cycle begins: {wakes:?}"));
        let began = Instant::now();
        let cycle = Cycle {
            config: &loaded.config,
            program: agent.program.clone(),
            environment: &agent.environment,
            options,
        };
        let result = cycle.run().map_err(|error| chain(&error));
        if result.is_ok() {
            agent.mark_saved(&sent);
        }
        let ended = agent.environment.now();
        let last = LastCycle { ended, took: began.elapsed(), wakes, configured, result };
        let status = self.say(&last);
        let due = self.due(&last, spare, settings.heartbeat);
        let repaired =
            last.result.as_ref().is_ok_and(|outcome| outcome.change == RulesetChange::Repaired);
        agent.cycle_ended(last, due);
        if local && repaired && !self.schedule.is_backing_off() {
            agent.wake(Wake::Unfinished);
        }
        status
    }

    fn due(&mut self, last: &LastCycle, spared: bool, heartbeat: Duration) -> Instant {
        if spared {
            return self.agent.due();
        }
        let reach = last.reach();
        let wait = self.schedule.after(reach, heartbeat, self.agent.random_fraction());
        let waiting = last.result.as_ref().is_ok_and(|outcome| outcome.waiting > 0);
        let unfinished = waiting && reach == Reach::Reached && last.took >= TIMEOUT;
        Instant::now() + if unfinished { SOON } else { wait }
    }

    /// Logs the summary if it has changed, and every problem once.
    fn say(&mut self, last: &LastCycle) -> String {
        let log = &self.agent.log;
        log.debug(&format!("a cycle ended after {} ms", last.took.as_millis()));
        let status = match &last.result {
            Ok(outcome) => summary(outcome),
            Err(error) => format!("failed: {error}"),
        };
        if self.said.as_ref() != Some(&status) {
            match &last.result {
                Ok(outcome) => {
                    log.info(&status);
                    outcome.problems.iter().for_each(|Problem { code, text }| {
                        log.warn(&format!("{code}: {text}"));
                    });
                }
                Err(_) => log.error(&status),
            }
            self.said = Some(status.clone());
        }
        status
    }
}

/// A summary of the outcome, on one line.
fn summary(outcome: &RunOutcome) -> String {
    let status = serde_json::to_value(outcome.status).unwrap_or_default();
    let mut text = status.as_str().unwrap_or("unknown").replace('-', " ");
    if let Some(in_force) = outcome.in_force {
        text.push_str(&format!(", revision {} in force", in_force.revision));
    }
    match outcome.change {
        RulesetChange::None => {}
        RulesetChange::Applied => text.push_str(", applied"),
        RulesetChange::Repaired => text.push_str(", repaired"),
        RulesetChange::Reverted => text.push_str(", taken back"),
    }
    if let Some(route) = outcome.routes.iter().find(|route| route.in_use) {
        text.push_str(&format!(", by {}", route.route));
    }
    let codes: Vec<&str> = outcome.problems.iter().map(|p| p.code.as_str()).collect();
    if !codes.is_empty() {
        text.push_str(&format!("; problems: {}", codes.join(", ")));
    }
    text
}
