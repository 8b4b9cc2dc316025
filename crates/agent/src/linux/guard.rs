//! The thread that detects changes of our tables by other programs.
//!
//! The kernel counts changes of all tables, including those by our own cycles. So a cycle is only run if the
//! count differs from the one that the last cycle left: at once if a table of ours lost or gained anything,
//! and otherwise less and less often while our tables turn out to be unchanged, since some programs change
//! their own tables every second.

use std::time::{Duration, Instant};

use xshield_enforce::outcome::RulesetChange;
use xshield_enforce::problems::chain;
use xshield_enforce::resident::host::watch::{TableChange, Watch, WatchResult};

use crate::agent::Agent;
use crate::cycles::Wake;

/// Our tables, in family `inet`.
const TABLES: [&str; 2] = ["xshield", "xshield_threat"];
/// The longest wait for a change at a time.
const SPAN: Duration = Duration::from_secs(30);
/// How soon a cycle checks a change that may not concern our tables.
const SOONEST: Duration = Duration::from_secs(2);
/// The longest delay of that check.
const LATEST: Duration = Duration::from_secs(60);

/// Watches the tables until the agent stops.
pub(super) fn run(agent: &Agent) {
    let mut watch = match Watch::open(&TABLES) {
        Ok(watch) => watch,
        Err(error) => {
            agent.log.error(&format!("{}; tables are repaired only at heartbeats", chain(&error)));
            return;
        }
    };
    let mut delay = RecheckDelay::default();
    while !agent.is_stopping() {
        match watch.wait(SPAN) {
            Ok(WatchResult::Unchanged) => {}
            Ok(WatchResult::Changed { generation, tables }) => {
                let shape = tables.values().copied().max_by_key(|change| change_rank(*change));
                follow_up(agent, generation, shape.unwrap_or(TableChange::Present), &mut delay);
            }
            Err(error) => {
                agent.log.debug(&chain(&error));
                agent.rest(SPAN);
            }
        }
    }
}

fn follow_up(agent: &Agent, generation: u32, shape: TableChange, delay: &mut RecheckDelay) {
    let Some(cycles) = agent.wait_for_idle() else { return };
    if last_generation(agent) == Some(generation) {
        return;
    }
    if change_rank(shape) == 0 {
        agent.rest(delay.wait());
        // A heartbeat may have checked them meanwhile.
        if last_generation(agent).is_some_and(|known| known >= generation) {
            return;
        }
    }
    agent.wake(Wake::Tampered);
    let found = agent.wait_for_cycle_after(cycles);
    delay.settle(found == Some(RulesetChange::Repaired));
}

/// The kernel's ruleset generation after the last cycle.
fn last_generation(agent: &Agent) -> Option<u32> {
    agent.last_outcome(|outcome| outcome.generation)
}

/// How much a table has changed, as far as known without reading it.
fn change_rank(change: TableChange) -> u8 {
    match change {
        TableChange::Present | TableChange::Absent => 0,
        TableChange::Appeared
        | TableChange::Reshaped
        | TableChange::Replaced
        | TableChange::Gone => 1,
    }
}

/// The delay of checks that have found no change so far.
#[derive(Debug, Clone, Copy)]
struct RecheckDelay {
    wait: Duration,
    last: Option<Instant>,
}

impl Default for RecheckDelay {
    fn default() -> Self {
        Self { wait: SOONEST, last: None }
    }
}

impl RecheckDelay {
    /// The time until the next check is allowed.
    fn wait(&self) -> Duration {
        let since = self.last.map_or(Duration::MAX, |last| last.elapsed());
        self.wait.saturating_sub(since)
    }

    fn settle(&mut self, found: bool) {
        self.last = Some(Instant::now());
        self.wait = if found { SOONEST } else { (self.wait * 2).min(LATEST) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unneeded_checks_become_rarer() {
        let mut delay = RecheckDelay::default();
        assert_eq!(delay.wait(), Duration::ZERO);
        for _ in 0..10 {
            delay.settle(false);
        }
        assert_eq!(delay.wait, LATEST);
        assert!(delay.wait() > Duration::ZERO);
        delay.settle(true);
        assert_eq!(delay.wait, SOONEST);
    }
}
