//! Recompiles the threat list whenever its inputs change.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use xshield_intelligence::Threats;
use xshield_intelligence::orders::{self, Orders};
use xshield_model::Timestamp;
use xshield_model::causes::in_words;
use xshield_operations::compiler::RulesetCompiler;
use xshield_store::{Store, threat_lists};

use super::pace::Pace;
use crate::held_polls::HeldPolls;

/// Entries that expire are removed within this time.
const EXPIRIES: Duration = Duration::from_secs(600);
const RETRY: Duration = Duration::from_secs(30);

/// Notifies hosts until the platform shuts down.
pub async fn tell_hosts(orders: Arc<Orders>, held_polls: Arc<HeldPolls>) {
    loop {
        orders.threats.wake.orders.notified().await;
        if let Err(error) = orders::sign_all(&orders, |asset| held_polls.wake(asset)).await {
            // Hosts learn of it at their check-in anyway.
            tracing::error!(reason = in_words(&error), "could not notify hosts about threats");
        }
    }
}

/// Compiles whenever the inventory or the list's own sources have changed, combining changes that arrive
/// within `least`, until the platform shuts down.
pub async fn run(
    threats: Arc<Threats>,
    store: Store,
    compiler: Arc<RulesetCompiler>,
    least: Duration,
) {
    let mut pace = Pace::new(least);
    loop {
        tokio::select! {
            () = pace.collect(compiler.inventory_changes()) => {}
            () = threats.wake.sources.notified() => tokio::time::sleep(least).await,
            () = something_ends(&threats, &store) => {}
        }
        let begun = Instant::now();
        let done = threats.compile().await;
        pace.worked(begun, Instant::now(), 0);
        if done.is_err() {
            tokio::time::sleep(RETRY).await;
            threats.changed();
        }
    }
}

/// Completes when an entry or an exception has expired, but not more often than every few minutes.
async fn something_ends(threats: &Threats, store: &Store) {
    loop {
        let checked = Timestamp::now();
        tokio::time::sleep(EXPIRIES).await;
        let now = Timestamp::now();
        let ended = |end: Timestamp| end > checked && end <= now;
        let list = threats.list();
        let entries = list.sources().feeds.iter().filter_map(|feed| feed.listing.next_expiry());
        if entries.map(Timestamp::from_unix).any(|end| end <= now) {
            return;
        }
        let Ok(mut conn) = store.read().await else { continue };
        let Ok(exceptions) = threat_lists::exceptions(&mut conn).await else { continue };
        if exceptions.iter().filter_map(|one| one.expires_at).any(ended) {
            return;
        }
    }
}
