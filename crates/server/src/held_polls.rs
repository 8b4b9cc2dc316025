//! Long polls of hosts, and their wake-ups.
//!
//! A poll carries a token of what its host knows; it is answered when the database differs. HeldPolls only
//! makes a poll check again, so a spurious wake-up does no harm, and a missing one is not fatal: the poll
//! checks by itself after [`LOOK_AGAIN`]. A new threat list, or new modes for all, are deliberately found
//! that way: every host has to fetch then, and they are spread over time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use tokio::sync::Notify;
use xshield_policy::AssetId;
use xshield_store::pending::Pending;

/// The interval at which a poll checks without a wake-up.
pub const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// A short text that changes whenever anything pending changes; unreserved characters of RFC 3986.
#[must_use]
pub fn token(pending: &Pending) -> String {
    let hash = digest(&SHA256, format!("{pending:?}").as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..12])
}

/// Why a poll was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeReason {
    /// Something may be new.
    CheckNow,
    /// The host has opened another poll.
    Replaced,
    /// The platform shuts down.
    Closing,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    wake: Arc<Notify>,
}

/// The open polls, at most one per asset.
#[derive(Debug, Default)]
pub struct HeldPolls {
    waiting: Mutex<HashMap<AssetId, Waiter>>,
    tickets: AtomicU64,
    closing: AtomicBool,
}

impl HeldPolls {
    /// Registers the poll of an asset. Its previous one is [replaced](WakeReason::Replaced). Register before
    /// checking what is pending, so that later changes are not missed.
    #[must_use]
    pub fn register<'a>(&'a self, asset: &'a AssetId) -> PollRegistration<'a> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let wake = Arc::new(Notify::new());
        let waiter = Waiter { ticket, wake: wake.clone() };
        if let Some(older) = self.lock().insert(asset.clone(), waiter) {
            older.wake.notify_one();
        }
        PollRegistration { polls: self, asset, ticket, wake }
    }

    /// Something may be new for this asset.
    pub fn wake(&self, asset: &AssetId) {
        if let Some(waiter) = self.lock().get(asset) {
            waiter.wake.notify_one();
        }
    }

    /// Something may be new for every asset.
    pub fn wake_all(&self) {
        self.lock().values().for_each(|waiter| waiter.wake.notify_one());
    }

    /// Ends all polls, and future ones at once.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// The number of open polls.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AssetId, Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The registration of a poll; removed when dropped.
#[derive(Debug)]
pub struct PollRegistration<'a> {
    polls: &'a HeldPolls,
    asset: &'a AssetId,
    ticket: u64,
    wake: Arc<Notify>,
}

impl PollRegistration<'_> {
    /// Completes on a wake-up, also one that happened since the registration.
    pub async fn wake_reason(&self) -> WakeReason {
        if !self.polls.closing.load(Ordering::SeqCst) {
            self.wake.notified().await;
        }
        if self.polls.closing.load(Ordering::SeqCst) {
            return WakeReason::Closing;
        }
        match self.polls.lock().get(self.asset) {
            Some(waiter) if waiter.ticket == self.ticket => WakeReason::CheckNow,
            _ => WakeReason::Replaced,
        }
    }
}

impl Drop for PollRegistration<'_> {
    fn drop(&mut self) {
        let mut waiting = self.polls.lock();
        if waiting.get(self.asset).is_some_and(|waiter| waiter.ticket == self.ticket) {
            waiting.remove(self.asset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshield_policy::Revision;
    use xshield_wire::Bytes;
    use xshield_wire::message::InForce;

    fn id(text: &str) -> AssetId {
        text.parse().unwrap()
    }

    #[test]
    fn tokens_change_with_pending_work() {
        let held = |digest| Some(InForce { revision: Revision(1), digest: Bytes([digest; 32]) });
        let all = [
            Pending::default(),
            Pending { wanted: held(1), ..Pending::default() },
            Pending { wanted: held(2), ..Pending::default() },
            Pending { command: 1, ..Pending::default() },
            Pending { threat: "block".to_owned(), ..Pending::default() },
            Pending { configuration: 1, ..Pending::default() },
        ];
        let tokens: std::collections::BTreeSet<_> = all.iter().map(token).collect();
        assert_eq!(tokens.len(), all.len());
        let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        assert!(tokens.iter().all(|token| token.len() == 16 && token.chars().all(unreserved)));
    }

    #[tokio::test]
    async fn wake_ups_are_not_missed_and_reach_only_their_asset() {
        let polls = HeldPolls::default();
        let (a, b) = (id("as-a"), id("as-b"));
        let (registration_a, registration_b) = (polls.register(&a), polls.register(&b));
        polls.wake(&a);
        assert_eq!(
            registration_a.wake_reason().await,
            WakeReason::CheckNow,
            "woken before it waited"
        );
        let idle =
            tokio::time::timeout(Duration::from_millis(1), registration_b.wake_reason()).await;
        assert!(idle.is_err());
        polls.wake_all();
        assert_eq!(
            (registration_a.wake_reason().await, registration_b.wake_reason().await),
            (WakeReason::CheckNow, WakeReason::CheckNow)
        );
    }

    #[tokio::test]
    async fn the_newer_poll_of_an_asset_ends_the_older() {
        let polls = HeldPolls::default();
        let a = id("as-a");
        let older = polls.register(&a);
        let newer = polls.register(&a);
        assert_eq!(older.wake_reason().await, WakeReason::Replaced);
        drop(older);
        assert_eq!(polls.held(), 1, "the older one gives back its own place only");
        polls.wake(&a);
        assert_eq!(newer.wake_reason().await, WakeReason::CheckNow);
        drop(newer);
        assert_eq!(polls.held(), 0);
    }

    #[tokio::test]
    async fn closing_ends_current_and_later_polls() {
        let polls = HeldPolls::default();
        let (a, b) = (id("as-a"), id("as-b"));
        let registration = polls.register(&a);
        polls.close();
        assert_eq!(registration.wake_reason().await, WakeReason::Closing);
        assert_eq!(polls.register(&b).wake_reason().await, WakeReason::Closing);
    }
}
