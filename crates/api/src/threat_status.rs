//! How the threat list stands: on the platform, and on every host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
use xshield_model::threat_settings::PrivateRanges;
use xshield_threat::ThreatMode;

/// How the list stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The revision in force; nothing before there ever was a feed.
    pub revision: Option<u64>,
    /// Its prefixes.
    pub entries: u64,
    /// What it takes in a host's kernel, in bytes.
    pub kernel_bytes: u64,
    /// The revision whose listings hold until an operator resumes: feeds don't count meanwhile.
    pub restored: Option<u64>,
    /// Why the list could not be compiled when it last should have been.
    pub trouble: Option<String>,
    pub private_ranges: PrivateRanges,
    /// Addresses that hosts say are theirs, though they were on the list before: they stay on it
    /// until an operator makes an exception.
    pub listed_assets: Vec<ListedAsset>,
    pub feeds: Feeds,
    pub hosts: Hosts,
}

/// An asset's address that is on the list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ListedAsset {
    pub asset: String,
    pub address: String,
}

/// How the feeds stand, in numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Feeds {
    pub all: u64,
    /// Their entries may be out of date.
    pub stale: Vec<String>,
    /// A listing waits for an operator.
    pub held: Vec<String>,
    /// The source says otherwise than what is in force: an operator turned that away.
    pub differs: Vec<String>,
    /// The last run failed.
    pub failing: Vec<String>,
}

/// How the hosts stand, in numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Hosts {
    /// That know threat lists.
    pub all: u64,
    /// That have the list they should have.
    pub up_to_date: u64,
    /// How many hold which revision.
    pub by_revision: BTreeMap<u64, u64>,
    /// How many are in which mode, `inbound/outbound`.
    pub by_mode: BTreeMap<String, u64>,
    /// Whose memory holds a part of the list only.
    pub parts: Vec<String>,
    /// That could not carry their order out, and why.
    pub failures: Vec<HostFailure>,
}

/// A host that could not carry its order out.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HostFailure {
    pub asset: String,
    pub reason: String,
}

/// What an asset's view says about threats.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AssetThreat {
    /// The modes ordered.
    #[schema(value_type = Option<String>)]
    pub inbound: Option<ThreatMode>,
    #[schema(value_type = Option<String>)]
    pub outbound: Option<ThreatMode>,
    /// The list it should have.
    pub wanted: Option<List>,
    /// The list in its kernel.
    pub in_force: Option<List>,
    /// Whether it carries out what it should.
    pub up_to_date: bool,
    /// Bytes that the list may take there; nothing when nobody knows.
    pub budget: Option<u64>,
    /// Elements in its kernel's sets.
    pub elements: u64,
    /// When its kernel's list was last compared entry by entry and found equal.
    pub verified_at: Option<Timestamp>,
    /// Why it could not carry its order out.
    pub failure: Option<String>,
    /// When it said so.
    pub told_at: Timestamp,
}

/// A list or a part of one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct List {
    pub revision: u64,
    pub entries: u64,
    /// Prefixes of the whole list: more than `entries` when only a part fits.
    pub whole_entries: u64,
    /// Entries below this confidence (percent) are left out; 0 for a whole list.
    pub least_confidence: u8,
}
