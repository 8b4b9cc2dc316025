//! Limits that protect callers from each other: request rates and concurrent work.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;
use xshield_model::Timestamp;
use xshield_policy::AssetId;

use crate::asset_locks::AssetLocks;
use crate::bodies::Bodies;
use crate::failed_sign_ins::FailedSignIns;
use crate::refusal_batch::{Refusal, RefusalBatch};
use crate::settings::Settings;
use crate::source::Source;

/// More was asked for than a limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many {what}; try again in {seconds} s")]
pub struct TooMany {
    /// Of what.
    pub what: &'static str,
    /// When to try again.
    pub seconds: u64,
}

/// The limits for every kind of caller.
#[derive(Debug)]
pub struct Limits {
    sessions: DefaultKeyedRateLimiter<Source>,
    trusts: DefaultKeyedRateLimiter<Source>,
    sign_in_requests: DefaultKeyedRateLimiter<Source>,
    logins: DefaultKeyedRateLimiter<Source>,
    requests: DefaultKeyedRateLimiter<AssetId>,
    namesakes: DefaultKeyedRateLimiter<String>,
    changes: DefaultKeyedRateLimiter<AssetId>,
    /// Concurrent password checks: each uses memory on purpose.
    pub passwords: Semaphore,
    /// The same for people who have signed in from that source before: guesses of others don't delay them.
    pub(crate) passwords_from_known_places: Semaphore,
    /// Failed sign-ins.
    pub(crate) sign_ins: FailedSignIns,
    /// Refusals that are not in the audit log yet.
    pub(crate) refused: Mutex<RefusalBatch>,
    /// Concurrent reads of threat files: each may use some megabytes.
    pub files: Semaphore,
    /// One upload chunk of an asset at a time.
    pub uploads: AssetLocks,
    /// Request bodies in memory.
    pub(crate) bodies: Bodies,
}

impl Limits {
    /// As configured.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let per_second = |rate: u32, burst: u32| {
            let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
            let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
            Quota::per_second(rate).allow_burst(burst)
        };
        let sessions = settings.sessions_per_second;
        let requests = settings.requests_per_second;
        Self {
            sessions: RateLimiter::keyed(per_second(sessions, sessions.saturating_mul(20))),
            trusts: RateLimiter::keyed(per_second(sessions, sessions.saturating_mul(20))),
            sign_in_requests: RateLimiter::keyed(per_second(10, 100)),
            logins: RateLimiter::keyed(per_second(1, 20)),
            namesakes: RateLimiter::keyed(per_second(5, 50)),
            requests: RateLimiter::keyed(per_second(requests, requests.saturating_mul(20))),
            changes: RateLimiter::keyed(changes(settings)),
            passwords: Semaphore::new(2),
            passwords_from_known_places: Semaphore::new(1),
            sign_ins: FailedSignIns::default(),
            refused: Mutex::default(),
            files: Semaphore::new(8),
            uploads: AssetLocks::default(),
            bodies: Bodies::default(),
        }
    }

    /// Counts a session setup from this address.
    ///
    /// # Errors
    /// When there were too many.
    pub fn session(&self, from: IpAddr) -> Result<(), TooMany> {
        checked(&self.sessions, &from.into(), "sessions from this address")
    }

    /// Counts a request for the trust information from this address.
    ///
    /// # Errors
    /// When there were too many.
    pub fn trust(&self, from: IpAddr) -> Result<(), TooMany> {
        checked(&self.trusts, &from.into(), "requests from this address")
    }

    /// Counts a request from this address that may become a sign-in.
    ///
    /// # Errors
    /// When there were too many.
    pub fn sign_in_permit(&self, from: IpAddr) -> Result<(), TooMany> {
        checked(&self.sign_in_requests, &from.into(), "sign-ins from this address")
    }

    /// Records a refusal for the audit log.
    pub(crate) fn note_refused(&self, refused: Refusal) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).note(refused);
    }

    /// Counts a sign-in from this address to an account that has not been used from there before.
    ///
    /// # Errors
    /// When there were too many.
    pub fn login(&self, from: IpAddr) -> Result<(), TooMany> {
        checked(&self.logins, &from.into(), "sign-ins from this address")
    }

    /// Counts an unknown host with this enforcement key and another host's name: recording it is a write that
    /// others wait for.
    ///
    /// # Errors
    /// When there were too many.
    pub(crate) fn namesake(&self, key: &str) -> Result<(), TooMany> {
        checked(&self.namesakes, &key.to_owned(), "hosts with this key and the names of others")
    }

    /// Counts a request of this asset.
    ///
    /// # Errors
    /// When there were too many.
    pub fn request(&self, asset: &AssetId) -> Result<(), TooMany> {
        checked(&self.requests, asset, "requests of this asset")
    }

    /// Whether a change of this asset's properties is accepted now.
    #[must_use]
    pub fn change(&self, asset: &AssetId) -> bool {
        self.changes.check_key(asset).is_ok()
    }

    /// Forgets idle callers.
    pub fn forget(&self) {
        self.sessions.retain_recent();
        self.trusts.retain_recent();
        self.logins.retain_recent();
        self.sign_in_requests.retain_recent();
        self.sign_ins.forget(Timestamp::now());
        self.requests.retain_recent();
        self.namesakes.retain_recent();
        self.bodies.forget();
        self.changes.retain_recent();
    }
}

fn changes(settings: &Settings) -> Quota {
    let burst = NonZeroU32::new(settings.host_changes).unwrap_or(NonZeroU32::MIN);
    let every = Duration::from_secs(settings.host_change_every.max(1));
    // `None` only for a period of zero.
    let quota = Quota::with_period(every).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
    quota.allow_burst(burst)
}

fn checked<K: std::hash::Hash + Eq + Clone>(
    limiter: &DefaultKeyedRateLimiter<K>,
    key: &K,
    what: &'static str,
) -> Result<(), TooMany> {
    limiter.check_key(key).map_err(|until| {
        let wait = until.wait_time_from(DefaultClock::default().now());
        metrics::counter!("xshield_refused_total", "reason" => "rate").increment(1);
        TooMany { what, seconds: wait.as_secs().max(1) }
    })
}
