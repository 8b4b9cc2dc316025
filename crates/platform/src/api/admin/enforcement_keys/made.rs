//! Making enforcement keys and what hosts need besides.

use std::fmt::Write as _;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use xshield_model::Timestamp;
use xshield_policy::names::Name;
use xshield_policy::peer::parse_net;
use xshield_store::assets::Tags;
use xshield_store::enforcement_keys::{Admission, AllowedNetworks, KeyKind, StoredKey, Uses};
use xshield_wire::{DeploymentKey, EnforcementKey};

use super::shown::Key;
use crate::auth::Caller;
use crate::keys::{new_id, random};
use crate::problem::{Answer, Problem};
use crate::state::App;

/// How long a token can be used, in seconds, unless said otherwise.
const TOKEN_LASTS: i64 = 24 * 3600;
/// No key names more networks.
const MOST_NETWORKS: usize = 100;
const LONGEST_NAME: usize = 200;

/// A key with its secret, which is not shown again.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct CreatedKey {
    #[serde(flatten)]
    about: Key,
    /// `xek1_…`, for `enforcement-key` in host configurations.
    key: String,
    /// `xdk1_…`: the key, and by which a host knows this platform; for `ctagent register`.
    deployment_key: String,
    /// The command that makes an agent's host known to this platform, `deployment_key` included.
    register: String,
    /// A ready-made host configuration (`config.yaml`).
    config: String,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// A `token` registers one host, once.
    #[serde(default = "key")]
    kind: KeyKind,
    /// What it is for.
    #[serde(default)]
    name: String,
    /// Until when hosts may register with it. Left out: for ever, a token for a day.
    #[serde(default)]
    expires_at: Option<Timestamp>,
    /// Put on assets that register with it.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    tags: Tags,
    /// The one host name that may register with it; any when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    bound_name: Option<Name>,
    /// How many hosts may register with it; as many as there are when left out. A token: one.
    #[serde(default)]
    max_registrations: Option<u32>,
    /// Prefixes and addresses from which hosts may register with it; from anywhere when left out.
    #[serde(default)]
    allowed_networks: Option<Vec<String>>,
}

fn key() -> KeyKind {
    KeyKind::Key
}

/// A key that is asked for, checked.
pub(super) struct Wanted {
    kind: KeyKind,
    name: String,
    expires_at: Option<Timestamp>,
    tags: Tags,
    admits: Admission,
}

impl NewKey {
    pub(super) fn checked(self, now: Timestamp) -> Answer<Wanted> {
        in_future(self.expires_at, now)?;
        if self.name.chars().count() > LONGEST_NAME {
            return Err(Problem::invalid(
                "/name",
                format!("longer than {LONGEST_NAME} characters"),
            ));
        }
        let most = match (self.kind, self.max_registrations) {
            (_, Some(0)) => {
                let reason = "0 hosts: leave it out for as many as there are";
                return Err(Problem::invalid("/max_registrations", reason));
            }
            (KeyKind::Token, Some(2..)) => {
                let reason = "a token registers one host; make a key for several";
                return Err(Problem::invalid("/max_registrations", reason));
            }
            (KeyKind::Token, _) => Some(1),
            (KeyKind::Key, most) => most,
        };
        let expires_at = match self.kind {
            KeyKind::Token => self.expires_at.or(Some(now.plus(TOKEN_LASTS))),
            KeyKind::Key => self.expires_at,
        };
        let networks = self.allowed_networks.map_or(Ok(AllowedNetworks::Any), networks)?;
        let admits = Admission { name: self.bound_name, most, networks };
        Ok(Wanted { kind: self.kind, name: self.name, expires_at, tags: self.tags, admits })
    }
}

fn networks(texts: Vec<String>) -> Answer<AllowedNetworks> {
    let refuse = |reason: String| Problem::invalid("/allowed_networks", reason);
    if texts.is_empty() {
        return Err(refuse("empty: leave it out when hosts may register from anywhere".to_owned()));
    }
    if texts.len() > MOST_NETWORKS {
        return Err(refuse(format!("more than {MOST_NETWORKS}")));
    }
    let net = |text: &String| {
        let net: Result<IpNet, String> = parse_net(text.trim());
        net.map_err(|reason| refuse(format!("{text:?}: {reason}")))
    };
    texts.iter().map(net).collect::<Answer<_>>().map(AllowedNetworks::Only)
}

impl Wanted {
    /// What follows `old`: for the same hosts.
    pub(super) fn following(old: StoredKey, expires_at: Option<Timestamp>) -> Self {
        let StoredKey { kind, name, tags, admits, .. } = old;
        Self { kind, name, expires_at, tags, admits }
    }

    /// Draws the secret.
    pub(super) fn make(
        self,
        app: &App,
        caller: &Caller,
        now: Timestamp,
    ) -> Answer<(StoredKey, EnforcementKey)> {
        let id = new_id("").map_err(|error| Problem::internal(&error))?;
        let secret = random::<32>().map_err(|error| Problem::internal(&error))?;
        let sealed =
            app.keys.seal.secret(&id, &secret).map_err(|error| Problem::internal(&error))?;
        let key_id = id.parse().map_err(|error| Problem::internal(&error))?;
        let stored = StoredKey {
            id,
            kind: self.kind,
            name: self.name,
            sealed_secret: sealed,
            tags: self.tags,
            admits: self.admits,
            created_at: now,
            created_by: caller.actor(),
            expires_at: self.expires_at,
            revoked_at: None,
            replaced_by: None,
            uses: Uses::default(),
        };
        Ok((stored, EnforcementKey::new(key_id, secret)))
    }
}

/// Refuses an end that is over.
pub(in crate::api::admin) fn in_future(end: Option<Timestamp>, now: Timestamp) -> Answer<()> {
    if end.is_some_and(|end| end <= now) {
        return Err(Problem::invalid("/expires_at", "not in the future"));
    }
    Ok(())
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

/// The key with its secret and what is made of it.
pub(super) fn created(
    app: &App,
    stored: StoredKey,
    key: EnforcementKey,
    now: Timestamp,
) -> Answer<CreatedKey> {
    let trust = app.trust().map_err(|error| Problem::internal(&error))?.digest();
    let text = key.to_text().to_string();
    let deployment_key = DeploymentKey::new(key, trust).to_text().to_string();
    let domain = app.public_domain();
    let name = stored.admits.name.as_ref();
    let mut register =
        format!("ctagent register --domain {domain} --deploymentKey {deployment_key}");
    if let Some(name) = name {
        register.push_str(&format!(" --name {name}"));
    }
    let config = host_config(app, &text, name);
    let about = Key::of(stored, 0, app.settings.key_expiry_warning, now);
    Ok(CreatedKey { about, key: text, deployment_key, register, config })
}

/// The `config.yaml` with which a host finds and trusts this platform.
fn host_config(app: &App, key: &str, name: Option<&Name>) -> String {
    let mut config = format!(
        "platform: {}\nenforcement-key: {key}\npolicy-keys:\n  - {}\nca: |\n",
        app.public_url(),
        app.keys.policy.public(),
    );
    for line in app.tls.ca_pem().lines().filter(|line| !line.trim().is_empty()) {
        // Writing to a string can't fail.
        let _ = writeln!(config, "  {}", line.trim());
    }
    if let Some(name) = name {
        // Quoted: a name may look like a number.
        let _ = writeln!(config, "name: \"{name}\"");
    }
    config
}
