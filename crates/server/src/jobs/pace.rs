//! Rate of recomputation triggered by changes: soon after a single change, but rarely enough that many
//! changes, or one host that changes constantly, do not keep the platform and all hosts busy.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use xshield_operations::compiler::Changes;

/// The work itself takes at most a tenth of the time.
const SHARE: u32 = 9;
/// The platform's cost of a host fetching an update: the fetches of a fleet take at most about a third of the
/// time.
const TOLD: Duration = Duration::from_millis(10);
/// The longest that a host's change waits.
const LONGEST: Duration = Duration::from_secs(30);

/// How long to pause after work of this duration that concerned this many hosts.
fn rest(took: Duration, told: u32) -> Duration {
    took.saturating_mul(SHARE).max(TOLD.saturating_mul(told)).min(LONGEST)
}

/// The origin of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Host,
    Operator,
}

/// When the work may run again.
#[derive(Debug)]
pub struct Pace {
    least: Duration,
    not_before: Option<Instant>,
}

impl Pace {
    /// Changes that arrive within `least` are always combined.
    #[must_use]
    pub fn new(least: Duration) -> Self {
        Self { least, not_before: None }
    }

    /// When the work for a change made at `changed` starts.
    fn due(&self, changed: Instant, by: By) -> Instant {
        let collected = changed + self.least;
        match (by, self.not_before) {
            (By::Host, Some(not_before)) => collected.max(not_before),
            _ => collected,
        }
    }

    /// Completes when there are changes and the work is due.
    pub async fn collect(&self, changes: &Changes) {
        let due = |by| sleep_until(self.due(Instant::now(), by));
        let by_hosts = async {
            changes.of_hosts().await;
            due(By::Host).await;
        };
        let by_operators = async {
            changes.of_operators().await;
            due(By::Operator).await;
        };
        tokio::select! {
            // So that all changes of hosts until now are counted as included.
            biased;
            () = by_hosts => {}
            () = by_operators => {}
        }
    }

    /// Records that the work started then, ended at `now`, and concerned this many hosts.
    pub fn worked(&mut self, begun: Instant, now: Instant, told: usize) {
        let told = u32::try_from(told).unwrap_or(u32::MAX);
        self.not_before = Some(now + rest(now.saturating_duration_since(begun), told));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_with_the_work_up_to_a_maximum() {
        let ms = Duration::from_millis;
        assert_eq!(rest(ms(2), 3), ms(30));
        assert_eq!(rest(ms(100), 3), ms(900));
        assert_eq!(rest(ms(100), 2_000), ms(20_000));
        assert_eq!(rest(Duration::MAX, 1), LONGEST);
        assert_eq!(rest(ms(1), u32::MAX), LONGEST);
    }

    #[test]
    fn changes_by_hosts_are_delayed_and_those_by_operators_are_not() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut pace = Pace::new(ms(500));
        assert_eq!(pace.due(start, By::Host), start + ms(500), "a first change");
        pace.worked(start + ms(500), start + ms(600), 1_000);
        for at in [600, 700, 9_000] {
            assert_eq!(pace.due(start + ms(at), By::Host), start + ms(10_600), "{at}");
        }
        assert_eq!(pace.due(start + ms(700), By::Operator), start + ms(1_200));
        assert_eq!(pace.due(start + ms(60_000), By::Host), start + ms(60_500), "after quiet");
    }

    #[tokio::test]
    async fn many_changes_are_handled_in_one_run() {
        let changes = Changes::default();
        let pace = Pace::new(Duration::ZERO);
        for _ in 0..100 {
            changes.by_host();
            changes.by_operator();
        }
        pace.collect(&changes).await;
        // At most one more: for an operator's change it is unknown whether it was included.
        let more = || tokio::time::timeout(Duration::from_millis(50), pace.collect(&changes));
        drop(more().await);
        assert!(more().await.is_err());
    }
}
