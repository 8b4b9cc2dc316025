//! State shared by all handlers and jobs.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use metrics_exporter_prometheus::PrometheusHandle;
use xshield_intelligence::Threats;
use xshield_intelligence::orders::Orders;
use xshield_intelligence::run::Feeds;
use xshield_operations::compiler::{Endpoints, RulesetCompiler};
use xshield_operations::parsed_policies::ParsedPolicies;
use xshield_operations::policy::simulations::Simulations;
use xshield_store::Store;

use crate::api::host::check_in::CheckInParts;
use crate::api::host::session::SessionParts;
use crate::api::host::signed::VerifierParts;
use crate::api::host::uploads::UploadParts;
use crate::api::metrics_page::MetricsParts;
use crate::cached_page::CachedPage;
use crate::held_polls::HeldPolls;
use crate::host_access::HostAccess;
use crate::intake::Intake;
use crate::jobs::host_configuration::HostConfigurations;
use crate::jobs::maintenance::Maintenance;
use crate::jobs::recover::Recovery;
use crate::jobs::supervise::Jobs;
use crate::keys::{DataDir, Keys};
use crate::limits::Limits;
use crate::passwords::Passwords;
use crate::readiness::Readiness;
use crate::rotation::Told;
use crate::settings::Settings;
use crate::sign_in::{PasswordHashing, SignInParts};
use crate::signals::{ChannelService, HostEffects, ThreatService};
use crate::tls::Tls;
use xshield_alerting::Wake;
use xshield_alerting::deliver::Delivery;

/// The platform, as the router holds it. Handlers and extractors name the parts that they need, and get these
/// ([`FromRef`]).
#[derive(Debug, Clone)]
pub struct App(Arc<Platform>);

impl App {
    /// For the router and the jobs.
    pub(crate) fn new(platform: Platform) -> Self {
        Self(Arc::new(platform))
    }
}

impl Deref for App {
    type Target = Platform;

    fn deref(&self) -> &Platform {
        &self.0
    }
}

/// Everything with the lifetime of the platform.
#[derive(Debug)]
pub struct Platform {
    /// How it runs.
    pub settings: Arc<Settings>,
    /// Its files.
    pub dir: Arc<DataDir>,
    /// Its keys.
    pub keys: Arc<Keys>,
    /// What hosts are told to trust, once the keys are not the first ones.
    pub told: Option<Arc<Told>>,
    /// Its certificates.
    pub tls: Arc<Tls>,
    /// Its database.
    pub store: Store,
    /// Checks passwords.
    pub passwords: Passwords,
    /// Limits that protect callers from each other.
    pub limits: Arc<Limits>,
    /// Keeps the committed policy compiled for every asset.
    pub compiler: Arc<RulesetCompiler>,
    /// Policy simulations.
    pub simulations: Arc<Simulations>,
    /// The parsed policies that match assets.
    pub parsed_policies: Arc<ParsedPolicies>,
    /// Listings of threat feeds, and the list compiled from them.
    pub threat: Arc<Threats>,
    /// Fetches threat feeds.
    pub feeds: Arc<Feeds>,
    /// The orders that tell hosts which list to use.
    pub orders: Arc<Orders>,
    /// Open polls of hosts.
    pub held_polls: Arc<HeldPolls>,
    /// Computes the settings of each host.
    pub configuring: Arc<HostConfigurations>,
    /// Raises numbers above those that hosts hold, after a restore.
    pub recovery: Arc<Recovery>,
    /// Forgets, renews and looks up again every few minutes.
    pub maintenance: Arc<Maintenance>,
    /// Wakes alert evaluation and delivery.
    pub alerts: Arc<Wake>,
    /// Delivers alerts.
    pub delivery: Delivery,
    /// Incoming reports of hosts.
    pub intake: Arc<Intake>,
    /// The state of the background jobs.
    pub jobs: Arc<Jobs>,
    /// Whether it can write.
    pub readiness: Arc<Readiness>,
    /// How hosts reach the platform, and recognize it.
    pub host_access: HostAccess,
    /// The current addresses at which hosts reach the platform.
    pub endpoints: Endpoints,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// The last rendered page.
    pub(crate) metrics_page: Arc<CachedPage>,
}

/// Gives out single parts: `field: Type`.
macro_rules! parts {
    ($($field:ident: $part:ty),* $(,)?) => {$(
        impl FromRef<App> for $part {
            fn from_ref(app: &App) -> Self {
                app.$field.clone()
            }
        }
    )*};
}

/// Gives out parts that belong together: `Type { field, … }`.
macro_rules! together {
    ($($part:ident { $($field:ident),* $(,)? })*) => {$(
        impl FromRef<App> for $part {
            fn from_ref(app: &App) -> Self {
                Self { $($field: FromRef::from_ref(app)),* }
            }
        }
    )*};
}

parts! {
    settings: Arc<Settings>,
    dir: Arc<DataDir>,
    keys: Arc<Keys>,
    told: Option<Arc<Told>>,
    host_access: HostAccess,
    store: Store,
    passwords: Passwords,
    limits: Arc<Limits>,
    compiler: Arc<RulesetCompiler>,
    simulations: Arc<Simulations>,
    parsed_policies: Arc<ParsedPolicies>,
    threat: Arc<Threats>,
    feeds: Arc<Feeds>,
    orders: Arc<Orders>,
    held_polls: Arc<HeldPolls>,
    configuring: Arc<HostConfigurations>,
    recovery: Arc<Recovery>,
    alerts: Arc<Wake>,
    delivery: Delivery,
    intake: Arc<Intake>,
    jobs: Arc<Jobs>,
    readiness: Arc<Readiness>,
    endpoints: Endpoints,
    metrics: PrometheusHandle,
    metrics_page: Arc<CachedPage>,
}

together! {
    HostEffects { held_polls, configuring, threat }
    ThreatService { threat, feeds, settings, alerts }
    ChannelService { keys, delivery, alerts }
    PasswordHashing { limits, passwords }
    SignInParts { store, settings, hashing }
    VerifierParts { store, keys, limits }
    SessionParts { store, settings, keys, limits, compiler, parsed_policies }
    CheckInParts {
        store, settings, limits, compiler, parsed_policies, endpoints, threat, orders, recovery, told,
    }
    UploadParts { store, settings, limits, dir }
    MetricsParts { store, settings, held_polls, threat, metrics, metrics_page }
    CandidateParts { store, compiler, simulations }
    HostTableParts { store, compiler, settings }
}

/// What the pages about the candidate policy need.
#[derive(Debug, Clone)]
pub(crate) struct CandidateParts {
    pub(crate) store: Store,
    pub(crate) compiler: Arc<RulesetCompiler>,
    pub(crate) simulations: Arc<Simulations>,
}

/// What a table of hosts needs.
#[derive(Debug, Clone)]
pub(crate) struct HostTableParts {
    pub(crate) store: Store,
    pub(crate) compiler: Arc<RulesetCompiler>,
    pub(crate) settings: Arc<Settings>,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    /// A handler that took `App` would depend on everything.
    #[test]
    fn only_routers_and_the_start_name_app() {
        let source = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
        let mut dirs = vec![source.clone()];
        let mut routers = 0;
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let file = path.strip_prefix(&source).unwrap().display().to_string();
                if ["state.rs", "serve.rs"].contains(&file.as_str()) {
                    continue;
                }
                for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
                    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
                    if !words.any(|word| word == "App") || line.starts_with("use crate::state::") {
                        continue;
                    }
                    let is_router = line.contains("Router<App>") || line.contains("fn router(");
                    assert!(is_router, "{file}:{}: take the parts that are needed", number + 1);
                    routers += 1;
                }
            }
        }
        assert!(routers > 30, "the sources are elsewhere: {routers}");
    }
}
