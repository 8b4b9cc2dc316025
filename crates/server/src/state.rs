//! What every handler and job shares.

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

/// Everything that lives as long as the platform.
#[derive(Debug)]
pub struct Platform {
    /// How it runs.
    pub settings: Settings,
    /// Its files.
    pub dir: DataDir,
    /// Its keys.
    pub keys: Arc<Keys>,
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
    /// Keeps the committed policy compiled for every asset.
    pub compiler: Arc<RulesetCompiler>,
    /// Those who try what a policy would come to.
    pub simulations: Simulations,
    /// The policies that speak of assets.
    pub parsed_policies: Arc<ParsedPolicies>,
    /// Listings of threat feeds, and the list that is made of them.
    pub threat: Arc<Threats>,
    /// Fetches threat feeds.
    pub feeds: Arc<Feeds>,
    /// Tells hosts which list they should have.
    pub orders: Arc<Orders>,
    /// Held-open polls of hosts.
    pub held_polls: Arc<HeldPolls>,
    /// Turns what operators configure into what each host should use.
    pub configuring: Arc<HostConfigurations>,
    /// Wakes those who judge and deliver.
    pub alerts: Arc<Wake>,
    /// Delivers alerts.
    pub delivery: Delivery,
    /// Reports of hosts on their way in.
    pub intake: Arc<Intake>,
    /// How what runs beside requests stands.
    pub jobs: Jobs,
    /// Whether it can write.
    pub readiness: Readiness,
    /// Where it really listens.
    pub listening: SocketAddr,
    /// Addresses at which hosts reach the platform, by now.
    pub endpoints: Endpoints,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// What was rendered last.
    pub(crate) metrics_page: CachedPage,
}

impl Platform {
    /// The URL for host configurations.
    #[must_use]
    pub fn public_url(&self) -> String {
        self.settings.public_url(self.listening)
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
}
