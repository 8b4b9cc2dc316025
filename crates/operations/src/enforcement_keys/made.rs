//! Creating enforcement keys, and what hosts need besides.

use std::fmt::Write as _;

use ipnet::IpNet;
use xshield_api::keys::{CreatedKey, NewKey};
use xshield_model::Timestamp;
use xshield_model::key_kind::KeyKind;
use xshield_model::secrets::Secrets;
use xshield_policy::names::Name;
use xshield_policy::peer::parse_net;
use xshield_store::assets::Tags;
use xshield_store::enforcement_keys::{Admission, AllowedNetworks, StoredKey, Uses};
use xshield_wire::{DeploymentKey, EnforcementKey};

use super::access::{Issuer, PlatformAccess};
use super::shown::shown;
use crate::error::{Doing as _, OperationError, Result};
use crate::expiry::in_future;
use crate::ids::{new_id, random};

/// The default lifetime of a token, in seconds.
const TOKEN_LASTS: i64 = 24 * 3600;
/// The maximum number of networks of a key.
const MOST_NETWORKS: usize = 100;
const LONGEST_NAME: usize = 200;

/// A validated request for a key.
pub(super) struct Wanted {
    kind: KeyKind,
    name: String,
    expires_at: Option<Timestamp>,
    tags: Tags,
    admits: Admission,
}

/// Validates the request.
pub(super) fn checked(new: NewKey, now: Timestamp) -> Result<Wanted> {
    in_future(new.expires_at, now)?;
    if new.name.chars().count() > LONGEST_NAME {
        return Err(OperationError::invalid(
            "/name",
            format!("longer than {LONGEST_NAME} characters"),
        ));
    }
    let most = match (new.kind, new.max_registrations) {
        (_, Some(0)) => {
            let reason = "0 hosts: omit it for an unlimited number";
            return Err(OperationError::invalid("/max_registrations", reason));
        }
        (KeyKind::Token, Some(2..)) => {
            let reason = "a token registers one host; create a key for several";
            return Err(OperationError::invalid("/max_registrations", reason));
        }
        (KeyKind::Token, _) => Some(1),
        (KeyKind::Key, most) => most,
    };
    let expires_at = match new.kind {
        KeyKind::Token => new.expires_at.or(Some(now.plus(TOKEN_LASTS))),
        KeyKind::Key => new.expires_at,
    };
    let networks = new.allowed_networks.map_or(Ok(AllowedNetworks::Any), networks)?;
    let admits = Admission { name: new.bound_name, most, networks };
    Ok(Wanted { kind: new.kind, name: new.name, expires_at, tags: new.tags, admits })
}

fn networks(texts: Vec<String>) -> Result<AllowedNetworks> {
    let refuse = |reason: String| OperationError::invalid("/allowed_networks", reason);
    if texts.is_empty() {
        return Err(refuse("empty: omit it if hosts may register from anywhere".to_owned()));
    }
    if texts.len() > MOST_NETWORKS {
        return Err(refuse(format!("more than {MOST_NETWORKS}")));
    }
    let net = |text: &String| {
        let net: std::result::Result<IpNet, String> = parse_net(text.trim());
        net.map_err(|reason| refuse(format!("{text:?}: {reason}")))
    };
    texts.iter().map(net).collect::<Result<_>>().map(AllowedNetworks::Only)
}

impl Wanted {
    /// The successor of `old`: for the same hosts.
    pub(super) fn following(old: StoredKey, expires_at: Option<Timestamp>) -> Self {
        let StoredKey { kind, name, tags, admits, .. } = old;
        Self { kind, name, expires_at, tags, admits }
    }

    /// Generates the secret.
    pub(super) fn make(
        self,
        seal: &impl Secrets,
        created_by: String,
        now: Timestamp,
    ) -> Result<(StoredKey, EnforcementKey)> {
        const ACTION: &str = "create an enforcement key";
        let id = new_id("").doing(ACTION)?;
        let secret = random::<32>().doing(ACTION)?;
        let sealed_secret = seal.seal(&id, &secret).doing("seal a key's secret")?;
        let key_id = id.parse().doing(ACTION)?;
        let stored = StoredKey {
            id,
            kind: self.kind,
            name: self.name,
            sealed_secret,
            tags: self.tags,
            admits: self.admits,
            created_at: now,
            created_by,
            expires_at: self.expires_at,
            revoked_at: None,
            replaced_by: None,
            uses: Uses::default(),
        };
        Ok((stored, EnforcementKey::new(key_id, secret)))
    }
}

/// For the audit log.
pub(super) fn summary(key: &StoredKey) -> String {
    let end = key.expires_at.map_or_else(|| "never".to_owned(), Timestamp::to_rfc3339);
    let tags: Vec<_> = key.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let kind = match key.kind {
        KeyKind::Key => "key",
        KeyKind::Token => "token",
    };
    let mut text =
        format!("{kind}, name {:?}, expires {end}, tags [{}]", key.name, tags.join(", "));
    if let Some(name) = &key.admits.name {
        text.push_str(&format!(", for host {name}"));
    }
    if let Some(most) = key.admits.most {
        text.push_str(&format!(", for {most} at most"));
    }
    if let AllowedNetworks::Only(networks) = &key.admits.networks {
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        text.push_str(&format!(", from {}", networks.join(", ")));
    }
    text
}

/// The key with its secret and the derived texts.
pub(super) fn created(
    issuer: &Issuer<'_, impl Secrets>,
    stored: StoredKey,
    key: EnforcementKey,
    now: Timestamp,
) -> CreatedKey {
    let Issuer { platform, expiry_warning, .. } = issuer;
    let text = key.to_text().to_string();
    let deployment_key = DeploymentKey::new(key, platform.trust).to_text().to_string();
    let domain = &platform.domain;
    let name = stored.admits.name.as_ref();
    let mut register =
        format!("ctagent register --domain {domain} --deploymentKey {deployment_key}");
    if let Some(name) = name {
        register.push_str(&format!(" --name {name}"));
    }
    let config = host_config(platform, &text, name);
    let about = shown(stored, 0, *expiry_warning, now);
    CreatedKey { about, key: text, deployment_key, register, config }
}

/// A `config.yaml` with which a host finds and trusts this platform.
fn host_config(platform: &PlatformAccess, key: &str, name: Option<&Name>) -> String {
    let PlatformAccess { url, policy_key, ca_pem, .. } = platform;
    let mut config =
        format!("platform: {url}\nenforcement-key: {key}\npolicy-keys:\n  - {policy_key}\nca: |\n");
    for line in ca_pem.lines().filter(|line| !line.trim().is_empty()) {
        // Writing to a string can't fail.
        let _ = writeln!(config, "  {}", line.trim());
    }
    if let Some(name) = name {
        // Quoted: a name may look like a number.
        let _ = writeln!(config, "name: \"{name}\"");
    }
    config
}
