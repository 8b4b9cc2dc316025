//! The thread that describes the host: what it is made of and what is installed, at start and when it
//! changes; and that keeps the agent within its budget.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use xshield_enforce::ReportBody;
use xshield_enforce::files;
use xshield_enforce::problems::chain;
use xshield_enforce::resident::Asking;
use xshield_enforce::resident::Meter;
use xshield_enforce::resident::host::machine::{self, cloud};
use xshield_enforce::resident::host::software;
use xshield_enforce::telemetry::{AgentEventKind, HostTelemetry, SoftwarePackage};

use crate::agent::Agent;
use crate::health::Budget;
use crate::metadata;

/// How often is looked whether anything is due.
const STEP: Duration = Duration::from_secs(10);
/// How often the host is described though nothing has changed.
const DAILY: Duration = Duration::from_secs(86_400);
/// How often is looked whether the host has changed.
const HOURLY: Duration = Duration::from_secs(3_600);
/// The inventory that the platform was last told of, in the state directory.
const INVENTORY: &str = "software";

/// Observes until the agent comes to an end.
pub fn run(agent: &Agent) {
    let mut observer = Observer {
        agent,
        described: None,
        looked: None,
        stamp: Vec::new(),
        inventoried: None,
        pending: None,
        resends: agent.resends_before(),
        owed: false,
        meter: Meter::new(agent.started),
        over: Over::default(),
    };
    while !agent.is_stopping() {
        observer.look();
        agent.rest(STEP);
    }
}

struct Observer<'a> {
    agent: &'a Agent,
    described: Option<(Instant, HostTelemetry)>,
    looked: Option<Instant>,
    stamp: Vec<(PathBuf, u64, i64, i64)>,
    inventoried: Option<Instant>,
    /// An inventory whose report is not yet written down by a cycle.
    pending: Option<([u8; 16], BTreeSet<SoftwarePackage>)>,
    /// How often the platform had wanted everything again when it was last given it.
    resends: u64,
    /// Whether all of the inventory is still to be told.
    owed: bool,
    /// Of its own: others measure other spans.
    meter: Meter,
    over: Over,
}

/// Whether the budget is exceeded: one busy moment is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Over {
    /// Looks in a row that found it otherwise than it is said to be.
    other: u32,
    said: bool,
}

/// Looks in a row that change what is said.
const PERSISTENT: u32 = 3;

impl Over {
    /// Takes a look; `true` when something else is said from now on.
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
    fn look(&mut self) {
        let again = self.wanted_again();
        self.settle_inventory();
        self.describe(again);
        self.take_inventory(again);
        self.watch_budget();
    }

    /// Whether the platform wants everything again.
    fn wanted_again(&mut self) -> bool {
        let heard = self.agent.last_outcome(|outcome| {
            outcome.heard.next_check_in.is_some().then_some(outcome.heard.resends)
        });
        heard.is_some_and(|heard| std::mem::replace(&mut self.resends, heard) != heard)
    }

    fn describe(&mut self, again: bool) {
        if !again && self.looked.is_some_and(|looked| looked.elapsed() < HOURLY) {
            return;
        }
        self.looked = Some(Instant::now());
        let mut now = machine::telemetry(self.agent.surroundings.now());
        if self.agent.settings().cloud_metadata == Asking::Ask
            && let Some(provider) = cloud::provider(&self.agent.surroundings.root)
        {
            now.cloud = cloud::instance(provider, metadata::send);
        }
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
        let root = self.agent.surroundings.root.clone();
        let stamp = software::stamp(&root);
        if stamp == self.stamp && !again {
            return;
        }
        let now = match software::inventory(&root) {
            Ok(now) => now,
            Err(error) => return self.agent.log.warn(&chain(&error)),
        };
        self.owed = false;
        self.stamp = stamp;
        let before = if again { None } else { self.told_inventory() };
        let taken = self.agent.surroundings.now();
        if let Some(report) = software::report(before.as_ref(), &now, taken) {
            let batch = self.agent.report(ReportBody::Software(report));
            self.pending = Some((batch, now));
        }
    }

    /// Once a cycle has written the report down, the inventory counts as told.
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

    /// Says when the agent needs more than it may, and when that is over. What is optional rests
    /// meanwhile: policy and events never do.
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
            format!("over the budget ({used}): paths and inventory rest")
        } else {
            format!("within the budget again ({used})")
        };
        self.agent.log.warn(&text);
        self.agent.set_budget(if over { Budget::Exceeded } else { Budget::Kept });
        self.agent.tell(AgentEventKind::Throttled, text);
    }
}

/// What does not change by itself from hour to hour.
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
    fn one_busy_moment_is_not_over_the_budget() {
        let mut over = Over::default();
        let turns: Vec<bool> = [true, true, false, true, true, true, true, false, false, false]
            .into_iter()
            .map(|exceeded| over.turns(exceeded))
            .collect();
        let said: Vec<usize> =
            turns.iter().enumerate().filter(|(_, turned)| **turned).map(|(at, _)| at).collect();
        assert_eq!(said, [5, 9]);
    }
}
