//! Rate limits on the reports of a host. Pure: the time is an argument.
//!
//! A token bucket. Everything accepted is charged; a report larger than the remaining budget is accepted as
//! well, so that every report fits at some point, and leaves a debt: the next one is accepted when that is
//! paid off.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use xshield_policy::AssetId;

/// The longest wait to ask of a host, in seconds; it is told to wait again then.
const LONGEST: u64 = 3600;

/// The rate and burst of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Per second.
    pub per_second: u32,
    /// The maximum, after a time without reports.
    pub most: u64,
}

/// The remaining budget at a time.
#[derive(Debug, Clone, Copy)]
struct Account {
    left: f64,
    at: Instant,
}

// Item and byte counts are far below the exact range of a float.
#[allow(clippy::cast_precision_loss, reason = "see above")]
impl Account {
    fn full(grant: Grant, now: Instant) -> Self {
        Self { left: grant.most as f64, at: now }
    }

    fn refresh(&mut self, grant: Grant, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * f64::from(grant.per_second)).min(grant.most as f64);
        self.at = self.at.max(now);
    }

    /// The time until some budget is left; zero if there is some.
    fn wait(&self, grant: Grant) -> Option<Duration> {
        let debt = 1.0 - self.left;
        let seconds = debt / f64::from(grant.per_second.max(1));
        (debt > 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// The budgets of one host.
#[derive(Debug, Clone, Copy)]
struct Accounts {
    items: Account,
    bytes: Account,
}

/// The budgets of all hosts.
#[derive(Debug)]
pub struct Budgets {
    items: Grant,
    bytes: Grant,
    hosts: Mutex<HashMap<AssetId, Accounts>>,
}

impl Budgets {
    /// The same rates for every host.
    #[must_use]
    pub fn new(items: Grant, bytes: Grant) -> Self {
        Self { items, bytes, hosts: Mutex::default() }
    }

    /// Whether a report of this host is accepted now.
    ///
    /// # Errors
    /// The number of seconds to wait.
    pub fn admit(&self, asset: &AssetId, now: Instant) -> Result<(), u64> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(accounts) = hosts.get_mut(asset) else { return Ok(()) };
        accounts.items.refresh(self.items, now);
        accounts.bytes.refresh(self.bytes, now);
        match accounts.items.wait(self.items).max(accounts.bytes.wait(self.bytes)) {
            None => Ok(()),
            Some(wait) => Err(wait.as_secs().saturating_add(1).min(LONGEST)),
        }
    }

    /// Charges what was accepted.
    #[allow(clippy::cast_precision_loss, reason = "what one report holds is exact in a float")]
    pub fn charge(&self, asset: &AssetId, items: u64, bytes: u64, now: Instant) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Accounts {
            items: Account::full(self.items, now),
            bytes: Account::full(self.bytes, now),
        };
        let accounts = hosts.entry(asset.clone()).or_insert(full);
        accounts.items.refresh(self.items, now);
        accounts.bytes.refresh(self.bytes, now);
        accounts.items.left -= items as f64;
        accounts.bytes.left -= bytes as f64;
    }

    /// Forgets hosts whose budgets are full again.
    #[allow(clippy::cast_precision_loss, reason = "grants are exact in a float")]
    pub fn forget(&self, now: Instant) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, accounts| {
            accounts.items.refresh(self.items, now);
            accounts.bytes.refresh(self.bytes, now);
            accounts.items.left < self.items.most as f64
                || accounts.bytes.left < self.bytes.most as f64
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ITEMS: Grant = Grant { per_second: 10, most: 100 };
    const BYTES: Grant = Grant { per_second: 1000, most: 10_000 };

    #[test]
    fn excess_use_is_carried_over_until_time_has_refilled_the_budget() {
        let (budgets, begin) = (Budgets::new(ITEMS, BYTES), Instant::now());
        let [a, b]: [AssetId; 2] = ["as-1", "as-2"].map(|id| id.parse().unwrap());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(budgets.admit(&a, at(0)), Ok(()));
        budgets.charge(&a, 99, 0, at(0));
        assert_eq!(budgets.admit(&a, at(0)), Ok(()), "one is left");
        budgets.charge(&a, 151, 0, at(0));
        assert_eq!(budgets.admit(&a, at(0)), Err(16), "150 are owed");
        assert_eq!(budgets.admit(&b, at(0)), Ok(()), "others owe nothing");
        assert_eq!(budgets.admit(&a, at(15)), Err(1));
        assert_eq!(budgets.admit(&a, at(16)), Ok(()));
        budgets.charge(&a, 0, 2_000_000_000, at(16));
        assert_eq!(budgets.admit(&a, at(16)), Err(LONGEST), "bytes count, too");
        budgets.forget(at(17));
        assert_eq!(budgets.admit(&a, at(17)), Err(LONGEST), "debts are not forgotten");
        budgets.forget(at(17 + 2_000_100));
        assert!(budgets.hosts.lock().unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn intake_exceeds_the_budget_by_at_most_one_report(
            reports in prop::collection::vec((0_u64..20, 0_u64..300), 1..200),
        ) {
            let (budgets, begin) = (Budgets::new(ITEMS, BYTES), Instant::now());
            let asset: AssetId = "as-1".parse().unwrap();
            let (mut seconds, mut taken, mut largest) = (0, 0, 0);
            for (pause, items) in reports {
                seconds += pause;
                let now = begin + Duration::from_secs(seconds);
                if budgets.admit(&asset, now).is_ok() {
                    budgets.charge(&asset, items, 0, now);
                    (taken, largest) = (taken + items, largest.max(items));
                }
                prop_assert!(taken <= ITEMS.most + 10 * seconds + largest, "{taken}");
            }
        }
    }
}
