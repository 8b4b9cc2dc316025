//! Enforcement keys as the API shows them.

use std::net::IpAddr;

use serde::Serialize;
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_policy::names::Name;
use xshield_store::assets::Tags;
use xshield_store::enforcement_keys::{AllowedNetworks, KeyKind, StoredKey};
use xshield_store::enrolment::KeyHost;

/// How a key stands: whether hosts can register with it. Registered hosts go on with every key that is
/// not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KeyState {
    /// Hosts can register with it.
    Active,
    /// Hosts can register with it, but not for long, and no other key follows.
    Expiring,
    /// Hosts can still register with it, but another one follows.
    Rotated,
    /// It registers no new host: its time is over.
    Expired,
    /// It registers no new host: as many registered as may.
    UsedUp,
    /// Ended by an operator, for registered hosts, too.
    Revoked,
}

impl KeyState {
    /// `warning`: how long before its end a key counts as expiring, in seconds.
    pub(super) fn of(key: &StoredKey, warning: i64, now: Timestamp) -> Self {
        if key.revoked_at.is_some() {
            Self::Revoked
        } else if key.is_used_up() {
            Self::UsedUp
        } else if key.has_expired(now) {
            Self::Expired
        } else if key.replaced_by.is_some() {
            Self::Rotated
        } else if key.kind == KeyKind::Key && key.has_expired(now.plus(warning)) {
            Self::Expiring
        } else {
            Self::Active
        }
    }
}

/// An enforcement key, without its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Key {
    id: String,
    kind: KeyKind,
    name: String,
    state: KeyState,
    /// Put on assets that register with it.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    tags: Tags,
    /// The one host name that may register with it; any when `null`.
    #[schema(value_type = Option<String>)]
    bound_name: Option<Name>,
    /// How many hosts may register with it; as many as there are when `null`.
    max_registrations: Option<u32>,
    /// From where hosts may register with it; from anywhere when `null`.
    #[schema(value_type = Option<Vec<String>>)]
    allowed_networks: Option<Vec<ipnet::IpNet>>,
    created_at: Timestamp,
    created_by: String,
    /// Until when hosts may register with it.
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    replaced_by: Option<String>,
    /// Hosts that registered with it, ever.
    registrations: u64,
    last_registered_at: Option<Timestamp>,
    /// Hosts whose last session was set up with it.
    hosts: u64,
    last_used_at: Option<Timestamp>,
    /// From which address; a proxy's, when there was one.
    #[schema(value_type = Option<String>)]
    last_used_from: Option<IpAddr>,
}

impl Key {
    pub(super) fn of(key: StoredKey, hosts: u64, warning: i64, now: Timestamp) -> Self {
        Self {
            state: KeyState::of(&key, warning, now),
            id: key.id,
            kind: key.kind,
            name: key.name,
            tags: key.tags,
            bound_name: key.admits.name,
            max_registrations: key.admits.most,
            allowed_networks: match key.admits.networks {
                AllowedNetworks::Any => None,
                AllowedNetworks::Only(networks) => Some(networks),
            },
            created_at: key.created_at,
            created_by: key.created_by,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            replaced_by: key.replaced_by,
            registrations: key.uses.registrations,
            last_registered_at: key.uses.last_registered_at,
            hosts,
            last_used_at: key.uses.last_used_at,
            last_used_from: key.uses.last_used_from,
        }
    }
}

/// A host and the key that it signed in with last.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Host {
    #[schema(value_type = String)]
    asset: AssetId,
    #[schema(value_type = String)]
    name: Name,
    /// When it set up its last session.
    last_session: Timestamp,
    /// From which address; a proxy's, when there was one.
    #[schema(value_type = Option<String>)]
    from: Option<IpAddr>,
}

impl From<KeyHost> for Host {
    fn from(host: KeyHost) -> Self {
        let KeyHost { asset, name, last_session, from } = host;
        Self { asset, name, last_session, from }
    }
}
