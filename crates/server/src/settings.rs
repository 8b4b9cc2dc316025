//! The settings of the platform.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::intake::budget::Grant;

/// How the platform runs. [`Settings::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of keys, certificates and the database (mode 0700).
    pub data_dir: PathBuf,
    /// The listen address.
    pub listen: SocketAddr,
    /// The URLs at which hosts and people reach the platform; the first one is used in host configurations.
    pub public_urls: Vec<PublicUrl>,
    /// The first admin's password; generated and shown once if `None`.
    pub admin_password: Option<AdminPassword>,
    /// Seconds between a host's check-ins.
    pub check_in_every: u32,
    /// Seconds that a host's session lasts.
    pub session_for: i64,
    /// Seconds that a sign-in lasts.
    pub login_for: i64,
    /// Seconds that events and counted batches are kept.
    pub keep_for: i64,
    /// Maximum number of flows kept per asset.
    pub flows_per_asset: i64,
    /// Maximum number of flows with listed peers kept per asset.
    pub threat_flows_per_asset: i64,
    /// Seconds until the first retry of a failed alert delivery.
    pub delivery_retry_first: i64,
    /// Maximum number of communication paths kept per asset.
    pub paths_per_asset: i64,
    /// Maximum size of all uploads in bytes.
    pub uploads_total: u64,
    /// Seconds that uploads are kept.
    pub keep_uploads_for: i64,
    /// Seconds before its expiry at which a warning about an enforcement key starts.
    pub key_expiry_warning: i64,
    /// Milliseconds after which a client that reads nothing of a response is disconnected.
    pub not_reading_ms: u64,
    /// Milliseconds for which refusals are aggregated before they are written to the audit log.
    pub gather_refusals_ms: u64,
    /// Networks that may read `/metrics` without a token.
    pub metrics_networks: Vec<IpNet>,
    /// Milliseconds for which a metrics page is cached.
    pub metrics_kept_ms: u64,
    /// Networks of proxies, whose addresses many hosts share.
    pub proxy_networks: Vec<IpNet>,
    /// Session setups per second and source address.
    pub sessions_per_second: u32,
    /// Requests per second of one asset.
    pub requests_per_second: u32,
    /// Burst of changes to what one host reports about itself (addresses, name, system).
    pub host_changes: u32,
    /// Seconds until another change is accepted.
    pub host_change_every: u64,
    /// Rate limit for rows in reports of one asset.
    pub report_items: Grant,
    /// Rate limit for bytes in reports of one asset, decompressed.
    pub report_bytes: Grant,
    /// Milliseconds for which changes of the inventory are combined before rulesets are recompiled.
    pub gather_changes_ms: u64,
    /// Seconds that requests in flight get at shutdown.
    pub shutdown_grace: u64,
    /// The cost of hashing passwords.
    pub password_cost: PasswordCost,
}

/// The cost of hashing passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordCost {
    /// Argon2id with 19 MiB and two passes (OWASP's recommendation).
    Full,
    /// The minimum of the algorithm. For tests only.
    Cheap,
}

/// The first admin's password.
#[derive(Clone)]
pub struct AdminPassword(pub String);

impl std::fmt::Debug for AdminPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminPassword")
    }
}

impl Settings {
    /// The defaults.
    #[must_use]
    pub fn new(data_dir: PathBuf, listen: SocketAddr) -> Self {
        Self {
            data_dir,
            listen,
            public_urls: Vec::new(),
            admin_password: None,
            check_in_every: 240,
            session_for: 24 * 3600,
            login_for: 12 * 3600,
            keep_for: 30 * 24 * 3600,
            flows_per_asset: 200_000,
            paths_per_asset: 100_000,
            uploads_total: 8 << 30,
            keep_uploads_for: 7 * 24 * 3600,
            threat_flows_per_asset: 50_000,
            delivery_retry_first: 10,
            key_expiry_warning: 14 * 24 * 3600,
            not_reading_ms: 20_000,
            gather_refusals_ms: 60_000,
            metrics_networks: loopback(),
            metrics_kept_ms: 5_000,
            proxy_networks: Vec::new(),
            sessions_per_second: 20,
            requests_per_second: 5,
            host_changes: 12,
            host_change_every: 300,
            report_items: Grant { per_second: 200, most: 200_000 },
            report_bytes: Grant { per_second: 256 << 10, most: 128 << 20 },
            gather_changes_ms: 500,
            shutdown_grace: 20,
            password_cost: PasswordCost::Full,
        }
    }

    /// The URL for people and host configurations of a platform with this listen address.
    #[must_use]
    pub fn public_url(&self, listening: SocketAddr) -> String {
        match self.public_urls.first() {
            Some(url) => url.url(listening.port()),
            None if listening.ip().is_unspecified() => {
                format!("https://localhost:{}", listening.port())
            }
            None => format!("https://{listening}"),
        }
    }
}

/// The loopback address.
#[must_use]
pub fn loopback() -> Vec<IpNet> {
    vec![
        IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
    ]
}

/// An `https` URL of the platform: host and port, no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// A DNS name or an address.
    pub host: String,
    /// The port; the listener's when `None`.
    pub port: Option<u16>,
}

/// Why a URL was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a URL of the platform: expected a name or an address with an optional port, e.g. \
     https://xshield.example.com:8443 or 10.0.0.1"
)]
pub struct PublicUrlError(String);

impl std::str::FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let refuse = || PublicUrlError(text.to_owned());
        let rest = text.strip_prefix("https://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if let Ok(address) = rest.parse::<IpAddr>() {
            return Ok(Self { host: address.to_string(), port: None });
        }
        if let Ok(address) = rest.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string(), port: Some(address.port()) });
        }
        if let Some(inner) = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address = inner.parse::<std::net::Ipv6Addr>().map_err(|_| refuse())?;
            return Ok(Self { host: address.to_string(), port: None });
        }
        let (host, port) = match rest.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| refuse())?)),
            None => (rest, None),
        };
        let plain = host == "localhost" || host.parse::<xshield_policy::DomainName>().is_ok();
        if !plain || port == Some(0) {
            return Err(refuse());
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl PublicUrl {
    /// The complete URL, with the listener's port if none is given.
    #[must_use]
    pub fn url(&self, listener: u16) -> String {
        let port = self.port.unwrap_or(listener);
        let host = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.clone(),
        };
        if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, url) in [
            ("https://xshield.example.com", "https://xshield.example.com:8443"),
            ("https://xshield.example.com:443/", "https://xshield.example.com"),
            ("10.0.0.1", "https://10.0.0.1:8443"),
            ("https://10.0.0.1:9000", "https://10.0.0.1:9000"),
            ("2001:db8::1", "https://[2001:db8::1]:8443"),
            ("https://[2001:db8::1]:9000", "https://[2001:db8::1]:9000"),
            ("[2001:db8::1]", "https://[2001:db8::1]:8443"),
            ("localhost", "https://localhost:8443"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().url(8443), url, "{text}");
        }
        for text in ["", "http://a", "https://a/b", "https://a:0", "https://a:99999", "a b", "::x"]
        {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }
}
