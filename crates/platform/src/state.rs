//! What every handler and job shares.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_store::Store;
use xshield_wire::message::VERSION;
use xshield_wire::trust::{Der, PublicTrust};

use crate::alerts::Alerts;
use crate::auth::Passwords;
use crate::bodies::Bodies;
use crate::gathered::{Gathered, Refused};
use crate::intake::Intake;
use crate::jobs::compile::Compiling;
use crate::jobs::host_configuration::Configuring;
use crate::jobs::supervise::Jobs;
use crate::kept::Kept;
use crate::keys::{DataDir, KeyError, Keys};
use crate::problem::Problem;
use crate::readiness::Readiness;
use crate::rehearsals::Rehearsals;
use crate::rotation::Told;
use crate::settings::Settings;
use crate::sign_in::SignIns;
use crate::source::Source;
use crate::spoken::Spoken;
use crate::threat::Threats;
use crate::tls::Tls;
use crate::waking::Waking;

/// The platform, as handlers see it.
pub type App = Arc<Platform>;

/// Everything that lives as long as the platform.
#[derive(Debug)]
pub struct Platform {
    /// How it runs.
    pub settings: Settings,
    /// Its files.
    pub dir: DataDir,
    /// Its keys.
    pub keys: Keys,
    /// Whom hosts are told to trust, since the keys are not the first ones.
    pub told: Option<Told>,
    /// Its certificates.
    pub tls: Tls,
    /// Its database.
    pub store: Store,
    /// Checks passwords.
    pub passwords: Passwords,
    /// What keeps one caller from hurting others.
    pub limits: Limits,
    /// Turns policy into rulesets.
    pub compiling: Compiling,
    /// Those who try what a policy would come to.
    pub rehearsals: Rehearsals,
    /// The policies that speak of assets.
    pub spoken: Spoken,
    /// Threat feeds and what became of them.
    pub threat: Threats,
    /// Held-open polls of hosts.
    pub waking: Waking,
    /// Turns what operators configure into what each host should use.
    pub configuring: Configuring,
    /// Wakes those who judge and deliver.
    pub alerts: Alerts,
    /// Reports of hosts on their way in.
    pub intake: Intake,
    /// How what runs beside requests stands.
    pub jobs: Jobs,
    /// Whether it can write.
    pub readiness: Readiness,
    /// Where it really listens.
    pub listening: SocketAddr,
    /// Addresses at which hosts reach the platform, by now.
    pub endpoints: RwLock<Vec<SocketAddr>>,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// What was rendered last.
    pub(crate) metrics_page: Kept,
}

impl Platform {
    /// The URL for host configurations.
    #[must_use]
    pub fn public_url(&self) -> String {
        match self.settings.public_urls.first() {
            Some(url) => url.url(self.listening.port()),
            None if self.listening.ip().is_unspecified() => {
                format!("https://localhost:{}", self.listening.port())
            }
            None => format!("https://{}", self.listening),
        }
    }

    /// The same as `ctagent register --domain` takes it.
    #[must_use]
    pub fn public_domain(&self) -> String {
        let url = self.public_url();
        url.strip_prefix("https://").unwrap_or(&url).to_owned()
    }

    /// Whom hosts trust.
    ///
    /// # Errors
    /// When the stored certificate is damaged.
    pub fn trust(&self) -> Result<PublicTrust, KeyError> {
        let ca = vec![Der(self.tls.ca_der()?)];
        Ok(PublicTrust { version: VERSION, ca, policy_keys: vec![self.keys.policy.public()] })
    }

    /// Addresses at which hosts reach the platform, by now.
    #[must_use]
    pub fn endpoints(&self) -> Vec<SocketAddr> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What keeps one caller from hurting others.
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
    pub(crate) sign_ins: SignIns,
    /// What was refused and is not in the audit log yet.
    pub(crate) refused: Mutex<Gathered>,
    /// Threat files read at a time: each may take some megabytes.
    pub files: Semaphore,
    /// One piece of a file at a time from each asset.
    pub uploads: Turns,
    /// Bodies of requests in memory.
    pub(crate) bodies: Bodies,
}

/// One at a time for each asset.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<AssetId, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// This asset's turn, which ends when the value is dropped.
    pub async fn lock(&self, asset: &AssetId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.get(asset).and_then(Weak::upgrade);
            let turn = known.unwrap_or_default();
            turns.insert(asset.clone(), Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
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
            sign_ins: SignIns::default(),
            refused: Mutex::default(),
            files: Semaphore::new(8),
            uploads: Turns::default(),
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
    pub(crate) fn note_refused(&self, refused: Refused) {
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
