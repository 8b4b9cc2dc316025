//! What keeps one caller from hurting others: so many requests in a time, and so much work at once.

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
use crate::problem::Problem;
use crate::refusal_batch::{Refusal, RefusalBatch};
use crate::settings::Settings;
use crate::source::Source;

/// The limits of every kind of caller.
#[derive(Debug)]
pub struct Limits {
    sessions: DefaultKeyedRateLimiter<Source>,
    trusts: DefaultKeyedRateLimiter<Source>,
    knocks: DefaultKeyedRateLimiter<Source>,
    logins: DefaultKeyedRateLimiter<Source>,
    requests: DefaultKeyedRateLimiter<AssetId>,
    namesakes: DefaultKeyedRateLimiter<String>,
    changes: DefaultKeyedRateLimiter<AssetId>,
    /// Passwords checked at a time: each takes memory on purpose.
    pub passwords: Semaphore,
    /// The same for people who have signed in from there before: guesses of others don't hold them up.
    pub(crate) passwords_from_known_places: Semaphore,
    /// Sign-ins that failed.
    pub(crate) sign_ins: FailedSignIns,
    /// What was refused and is not in the audit log yet.
    pub(crate) refused: Mutex<RefusalBatch>,
    /// Threat files read at a time: each may take some megabytes.
    pub files: Semaphore,
    /// One piece of a file at a time from each asset.
    pub uploads: AssetLocks,
    /// Bodies of requests in memory.
    pub(crate) bodies: Bodies,
}

impl Limits {
    /// As the settings say.
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
            knocks: RateLimiter::keyed(per_second(10, 100)),
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

    /// A session from this address.
    ///
    /// # Errors
    /// When there were too many.
    pub fn session(&self, from: IpAddr) -> Result<(), Problem> {
        checked(&self.sessions, &from.into(), "sessions from this address")
    }

    /// A look from this address at whom hosts trust.
    ///
    /// # Errors
    /// When there were too many.
    pub fn trust(&self, from: IpAddr) -> Result<(), Problem> {
        checked(&self.trusts, &from.into(), "requests from this address")
    }

    /// A request from this address that may become a sign-in.
    ///
    /// # Errors
    /// When there were too many.
    pub fn knock(&self, from: IpAddr) -> Result<(), Problem> {
        checked(&self.knocks, &from.into(), "sign-ins from this address")
    }

    /// Something was refused that the audit log should tell of.
    pub(crate) fn note_refused(&self, refused: Refusal) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).note(refused);
    }

    /// A sign-in from this address, with an account that nobody has used from there before.
    ///
    /// # Errors
    /// When there were too many.
    pub fn login(&self, from: IpAddr) -> Result<(), Problem> {
        checked(&self.logins, &from.into(), "sign-ins from this address")
    }

    /// A host that is not known and comes with this enforcement key and another host's name: to note it
    /// is a write, which others wait for.
    ///
    /// # Errors
    /// When there were too many.
    pub(crate) fn namesake(&self, key: &str) -> Result<(), Problem> {
        checked(&self.namesakes, &key.to_owned(), "hosts with this key and names that are taken")
    }

    /// A request of this asset.
    ///
    /// # Errors
    /// When there were too many.
    pub fn request(&self, asset: &AssetId) -> Result<(), Problem> {
        checked(&self.requests, asset, "requests of this asset")
    }

    /// Whether a change of what this asset is may be taken now.
    #[must_use]
    pub fn change(&self, asset: &AssetId) -> bool {
        self.changes.check_key(asset).is_ok()
    }

    /// Forgets callers who are quiet.
    pub fn forget(&self) {
        self.sessions.retain_recent();
        self.trusts.retain_recent();
        self.logins.retain_recent();
        self.knocks.retain_recent();
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
    // None only of a period of nothing.
    let quota = Quota::with_period(every).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
    quota.allow_burst(burst)
}

fn checked<K: std::hash::Hash + Eq + Clone>(
    limiter: &DefaultKeyedRateLimiter<K>,
    key: &K,
    what: &str,
) -> Result<(), Problem> {
    limiter.check_key(key).map_err(|until| {
        let wait = until.wait_time_from(DefaultClock::default().now());
        metrics::counter!("xshield_refused_total", "reason" => "rate").increment(1);
        Problem::too_many(what, wait.as_secs().max(1))
    })
}
