//! What hosts need to know to reach the platform and to recognize it.

use std::net::SocketAddr;
use std::sync::Arc;

use xshield_wire::message::VERSION;
use xshield_wire::trust::{Der, PublicTrust};

use crate::keys::{KeyError, Keys};
use crate::settings::Settings;
use crate::tls::Tls;

/// The platform as hosts reach it: its URL, its certificate, its policy key.
#[derive(Debug, Clone)]
pub struct HostAccess {
    pub(crate) settings: Arc<Settings>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) listening: SocketAddr,
}

impl HostAccess {
    /// The actual listen address.
    #[must_use]
    pub fn listening(&self) -> SocketAddr {
        self.listening
    }

    /// The URL for host configurations.
    #[must_use]
    pub fn public_url(&self) -> String {
        self.settings.public_url(self.listening)
    }

    /// The same, as `ctagent register --domain` takes it.
    pub(crate) fn public_domain(&self) -> String {
        let url = self.public_url();
        url.strip_prefix("https://").unwrap_or(&url).to_owned()
    }

    /// The certificate authority that hosts pin, as PEM.
    pub(crate) fn ca_pem(&self) -> &str {
        self.tls.ca_pem()
    }

    /// The key that hosts pin, in base64.
    pub(crate) fn policy_key(&self) -> String {
        self.keys.policy.public().to_string()
    }

    /// The trust information for hosts.
    ///
    /// # Errors
    /// When the stored certificate is damaged.
    pub(crate) fn trust(&self) -> Result<PublicTrust, KeyError> {
        let ca = vec![Der(self.tls.ca_der()?)];
        Ok(PublicTrust { version: VERSION, ca, policy_keys: vec![self.keys.policy.public()] })
    }
}
