//! Enforcement keys.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
pub use xshield_model::key_kind::KeyKind;
use xshield_policy::AssetId;
use xshield_policy::names::{Name, TagKey, TagValue};

use crate::open::Open;

/// Whether hosts can register with a key. Registered hosts can use every key that is not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Hosts can register with it.
    Active,
    /// Hosts can register with it, but not for long, and it has no successor.
    Expiring,
    /// Hosts can still register with it, but it has a successor.
    Rotated,
    /// No new host can register with it: it has expired.
    Expired,
    /// No new host can register with it: the limit is reached.
    UsedUp,
    /// Revoked by an operator, for registered hosts, too.
    Revoked,
}

/// An enforcement key, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Key {
    pub id: String,
    #[schema(value_type = KeyKind)]
    pub kind: Open<KeyKind>,
    pub name: String,
    #[schema(value_type = KeyState)]
    pub state: Open<KeyState>,
    /// Tags for assets that register with it.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub tags: BTreeMap<TagKey, TagValue>,
    /// The one host name that may register with it; any when `null`.
    #[schema(value_type = Option<String>)]
    pub bound_name: Option<Name>,
    /// How many hosts may register with it; unlimited when `null`.
    pub max_registrations: Option<u32>,
    /// Networks from which hosts may register with it; any when `null`.
    #[schema(value_type = Option<Vec<String>>)]
    pub allowed_networks: Option<Vec<IpNet>>,
    pub created_at: Timestamp,
    pub created_by: String,
    /// Until when hosts may register with it.
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub replaced_by: Option<String>,
    /// Total number of hosts that registered with it.
    pub registrations: u64,
    pub last_registered_at: Option<Timestamp>,
    /// Hosts whose last session was set up with it.
    pub hosts: u64,
    pub last_used_at: Option<Timestamp>,
    /// The source address; a proxy's, if there was one.
    #[schema(value_type = Option<String>)]
    pub last_used_from: Option<IpAddr>,
}

/// A host and the key that it used last.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = KeyHost)]
pub struct Host {
    #[schema(value_type = String)]
    pub asset: AssetId,
    #[schema(value_type = String)]
    pub name: Name,
    /// When it set up its last session.
    pub last_session: Timestamp,
    /// The source address; a proxy's, if there was one.
    #[schema(value_type = Option<String>)]
    pub from: Option<IpAddr>,
}

/// A key with its secret, which is not shown again.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    #[serde(flatten)]
    pub about: Key,
    /// `xek1_…`, for `enforcement-key` in host configurations.
    pub key: String,
    /// `xdk1_…`: the key, with the information by which a host recognizes this platform; for `ctagent
    /// register`.
    pub deployment_key: String,
    /// The command that registers an agent's host with this platform, `deployment_key` included.
    pub register: String,
    /// A ready-made host configuration (`config.yaml`).
    pub config: String,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// A `token` registers one host, once.
    #[serde(default = "key")]
    pub kind: KeyKind,
    /// What it is for.
    #[serde(default)]
    pub name: String,
    /// Until when hosts may register with it. When left out: without limit, a token for a day.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Tags for assets that register with it.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub tags: BTreeMap<TagKey, TagValue>,
    /// The one host name that may register with it; any when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub bound_name: Option<Name>,
    /// How many hosts may register with it; unlimited when left out. A token: one.
    #[serde(default)]
    pub max_registrations: Option<u32>,
    /// Prefixes and addresses from which hosts may register with it; any when left out.
    #[serde(default)]
    pub allowed_networks: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Seconds that hosts can still register with the old key; a week when left out.
    #[serde(default)]
    pub overlap_seconds: Option<i64>,
    /// When the new key expires. When left out: it has the same lifetime as the old one, from now on.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A key that expires soon and has no successor.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExpiringKey {
    pub id: String,
    pub name: String,
    pub expires_at: Timestamp,
}

fn key() -> KeyKind {
    KeyKind::Key
}
