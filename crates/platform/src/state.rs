//! What every handler and job shares.

use std::net::SocketAddr;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use xshield_operations::compiler::{Endpoints, RulesetCompiler};
use xshield_operations::parsed_policies::ParsedPolicies;
use xshield_operations::policy::simulations::Simulations;
use xshield_store::Store;
use xshield_wire::message::VERSION;
use xshield_wire::trust::{Der, PublicTrust};

use crate::alerts::Alerts;
use crate::intake::Intake;
use crate::jobs::host_configuration::Configuring;
use crate::jobs::supervise::Jobs;
use crate::kept::Kept;
use crate::keys::{DataDir, KeyError, Keys};
use crate::limits::Limits;
use crate::passwords::Passwords;
use crate::readiness::Readiness;
use crate::rotation::Told;
use crate::settings::Settings;
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
    /// Keeps the committed policy compiled for every asset.
    pub compiler: RulesetCompiler,
    /// Those who try what a policy would come to.
    pub simulations: Simulations,
    /// The policies that speak of assets.
    pub parsed_policies: ParsedPolicies,
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
    pub endpoints: Endpoints,
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
        self.endpoints.get()
    }
}
