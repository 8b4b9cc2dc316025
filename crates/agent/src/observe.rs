//! The thread that reports the host's hardware and installed software, at start and when they change, and
//! that keeps the agent within its budget.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use xshield_enforce::ReportBody;
use xshield_enforce::files;
use xshield_enforce::problems::chain;
use xshield_enforce::resident::{Meter, inventory};
use xshield_enforce::telemetry::{AgentEventKind, HostTelemetry, SoftwarePackage};

use crate::agent::Agent;
use crate::health::Budget;
use crate::os::{self, Stamp};

/// How often the thread checks whether anything is due.
const STEP: Duration = Duration::from_secs(10);
/// How often the host is reported although nothing has changed.
const DAILY: Duration = Duration::from_secs(86_400);
/// How often changes of the host are checked.
const HOURLY: Duration = Duration::from_secs(3_600);
/// The file with the inventory that was last reported, in the state directory.
const INVENTORY: &str = "software";

/// Observes until the agent stops.
pub fn run(agent: &Agent) {
    let mut observer = Observer {
        agent,
        described: None,
        looked: None,
        stamp: Some(Stamp::default()),
        inventoried: None,
        pending: None,
        resends: agent.resends_before(),
        owed: false,
        meter: Meter::new(agent.started),
        over: OverBudget::default(),
    };
    while !agent.is_stopping() {
        observer.check();
        agent.rest(STEP);
    }
}

struct Observer<'a> {
    agent: &'a Agent,
    described: Option<(Instant, HostTelemetry)>,
    looked: Option<Instant>,
    /// `None`: the system has none.
    stamp: Option<Stamp>,
    inventoried: Option<Instant>,
    /// An inventory whose report no cycle has saved yet.
    pending: Option<([u8; 16], BTreeSet<SoftwarePackage>)>,
    /// How often the platform had requested a full report when the last one was sent.
    resends: u64,
    /// Whether the whole inventory is still to be reported.
    owed: bool,
    /// Its own meter: other threads measure over other periods.
    meter: Meter,
    over: OverBudget,
}

/// Whether the budget is exceeded, ignoring short peaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct OverBudget {
    /// The number of consecutive checks that contradict the current state.
    other: u32,
    said: bool,
}

/// The number of consecutive checks that change the state.
const PERSISTENT: u32 = 3;

impl OverBudget {
    /// Adds a check; `true` if the state changes.
    fn turns(&mut self, exceeded: bool) -> bool {
        self.other = if exceeded == self.said { 0 } else { self.other + 1 };
        if self.other < PERSISTENT {
            return false;
        }
        *self = Self { other: 0, said: exceeded };
        true
    }
}

impl Observer<'_> {
    fn check(&mut self) {
        let again = self.wanted_again();
        self.settle_inventory();
        self.describe(again);
        self.take_inventory(again);
        self.watch_budget();
    }

    /// Whether the platform requests a full report.
    fn wanted_again(&mut self) -> bool {
        let requested = self.agent.last_outcome(|outcome| {
            outcome.answer_rest.next_check_in.is_some().then_some(outcome.answer_rest.resends)
        });
        requested
            .is_some_and(|requested| std::mem::replace(&mut self.resends, requested) != requested)
    }

    fn describe(&mut self, again: bool) {
        if !again && self.looked.is_some_and(|looked| looked.elapsed() < HOURLY) {
            return;
        }
        self.looked = Some(Instant::now());
        let asking = self.agent.settings().cloud_metadata;
        let now = os::telemetry(&self.agent.environment, asking);
        let known = self
            .described
            .as_ref()
            .is_some_and(|(told, before)| told.elapsed() < DAILY && steady(before) == steady(&now));
        if again || !known {
            self.agent.report(ReportBody::Host(Box::new(now.clone())));
            self.described = Some((Instant::now(), now));
        }
    }

    fn take_inventory(&mut self, again: bool) {
        self.owed |= again;
        let again = self.owed;
        let every = self.agent.settings().inventory;
        let rested = self.inventoried.is_some_and(|last| last.elapsed() < every);
        if self.pending.is_some() || (rested && !again) || (self.over.said && !again) {
            return;
        }
        self.inventoried = Some(Instant::now());
        let stamp = os::stamp(&self.agent.environment);
        if stamp.is_some() && stamp == self.stamp && !again {
            return;
        }
        let now = match os::inventory(&self.agent.environment.root) {
            Ok(now) => now,
            Err(error) => return self.agent.log.warn(&chain(&error)),
        };
        self.owed = false;
        self.stamp = stamp;
        let before = if again { None } else { self.told_inventory() };
        let taken = self.agent.environment.now();
        if let Some(report) = inventory::report(before.as_ref(), &now, taken) {
            let batch = self.agent.report(ReportBody::Software(report));
            self.pending = Some((batch, now));
        }
    }

    /// Once a cycle has saved the report, the inventory counts as reported.
    fn settle_inventory(&mut self) {
        let Some((batch, now)) = self.pending.take() else { return };
        if self.agent.holds_report(batch) {
            self.pending = Some((batch, now));
            return;
        }
        if let Err(error) = files::write_state(&self.inventory_path(), &now) {
            self.agent.log.warn(&chain(&error));
        }
    }

    fn told_inventory(&self) -> Option<BTreeSet<SoftwarePackage>> {
        files::read_state(&self.inventory_path()).ok().flatten()
    }

    fn inventory_path(&self) -> PathBuf {
        self.agent.config(|config| config.state_directory.join(INVENTORY))
    }

    /// Reports when the agent exceeds its budget, and when it no longer does. Meanwhile optional work is
    /// paused, never policy or events.
    fn watch_budget(&mut self) {
        let settings = self.agent.settings();
        let usage = self.meter.read();
        let over = usage.cpu > settings.cpu_budget || usage.memory > settings.memory_budget;
        if !self.over.turns(over) {
            return;
        }
        let used = format!(
            "{:.1} % of a core and {} KiB, of {:.1} % and {} KiB",
            f64::from(usage.cpu) / 10.0,
            usage.memory,
            f64::from(settings.cpu_budget) / 10.0,
            settings.memory_budget
        );
        let text = if over {
            format!("over the budget ({used}): paths and inventory are paused")
        } else {
            format!("within the budget again ({used})")
        };
        self.agent.log.warn(&text);
        self.agent.set_budget(if over { Budget::Exceeded } else { Budget::Kept });
        self.agent.report_event(AgentEventKind::Throttled, text);
    }
}

/// The facts that normally do not change from hour to hour.
fn steady(telemetry: &HostTelemetry) -> HostTelemetry {
    let mut steady = telemetry.clone();
    steady.taken = 0;
    steady.disks.iter_mut().for_each(|disk| disk.free = 0);
    steady
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_peak_does_not_exceed_the_budget() {
        let mut over = OverBudget::default();
        let turns: Vec<bool> = [true, true, false, true, true, true, true, false, false, false]
            .into_iter()
            .map(|exceeded| over.turns(exceeded))
            .collect();
        let said: Vec<usize> =
            turns.iter().enumerate().filter(|(_, turned)| **turned).map(|(at, _)| at).collect();
        assert_eq!(said, [5, 9]);
    }
}
