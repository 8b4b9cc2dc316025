//! State shared by all handlers and jobs.

use std::net::SocketAddr;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use xshield_intelligence::Threats;
use xshield_intelligence::orders::Orders;
use xshield_intelligence::run::Feeds;
use xshield_operations::compiler::{Endpoints, RulesetCompiler};
use xshield_operations::parsed_policies::ParsedPolicies;
use xshield_operations::policy::simulations::Simulations;
use xshield_store::Store;
use xshield_wire::message::VERSION;
use xshield_wire::trust::{Der, PublicTrust};

use crate::cached_page::CachedPage;
use crate::held_polls::HeldPolls;
use crate::intake::Intake;
use crate::jobs::host_configuration::HostConfigurations;
use crate::jobs::maintenance::Maintenance;
use crate::jobs::recover::Recovery;
use crate::jobs::supervise::Jobs;
use crate::keys::{DataDir, KeyError, Keys};
use crate::limits::Limits;
use crate::passwords::Passwords;
use crate::readiness::Readiness;
use crate::rotation::Told;
use crate::settings::Settings;
use crate::tls::Tls;
use xshield_alerting::Wake;
use xshield_alerting::deliver::Delivery;

/// The platform, as handlers see it.
pub type App = Arc<Platform>;

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
    pub told: Option<Told>,
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
    pub simulations: Simulations,
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
    pub jobs: Jobs,
    /// Whether it can write.
    pub readiness: Readiness,
    /// The actual listen address.
    pub listening: SocketAddr,
    /// The current addresses at which hosts reach the platform.
    pub endpoints: Endpoints,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// The last rendered page.
    pub(crate) metrics_page: CachedPage,
}

impl Platform {
    /// The URL for host configurations.
    #[must_use]
    pub fn public_url(&self) -> String {
        self.settings.public_url(self.listening)
    }

    /// The same, as `ctagent register --domain` takes it.
    #[must_use]
    pub fn public_domain(&self) -> String {
        let url = self.public_url();
        url.strip_prefix("https://").unwrap_or(&url).to_owned()
    }

    /// The trust information for hosts.
    ///
    /// # Errors
    /// When the stored certificate is damaged.
    pub fn trust(&self) -> Result<PublicTrust, KeyError> {
        let ca = vec![Der(self.tls.ca_der()?)];
        Ok(PublicTrust { version: VERSION, ca, policy_keys: vec![self.keys.policy.public()] })
    }
}
