//! Threat feeds: what they are, and how they stand.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
pub use xshield_model::feed::{Failure, FeedSettings, Held, ReadState, Sample, Source};
use xshield_threat::FeedId;

/// A threat feed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Feed {
    pub name: String,
    /// What operators say about it. The header's value is never shown.
    #[schema(value_type = Object)]
    pub settings: FeedSettings,
    /// Whether a header's value or a key is stored.
    pub has_secret: bool,
    /// How it stands.
    pub state: Standing,
    pub running: bool,
    pub created_at: Timestamp,
    pub created_by: String,
    pub next_run: Timestamp,
    pub last_run: Option<Timestamp>,
    pub last_success: Option<Timestamp>,
    /// When its entries in force last changed.
    pub changed_at: Option<Timestamp>,
    /// Its entries in force.
    pub entries: u64,
    /// Prefixes that came with the last change.
    pub added: u64,
    /// Prefixes that went with the last change.
    pub removed: u64,
    /// What the last good run read.
    pub read: ReadState,
    /// Runs that failed since the last good one.
    pub failures: u32,
    pub failure: Option<Failure>,
    /// A listing that waits for an operator.
    pub held: Option<Held>,
    /// What the source says otherwise than what is in force: a listing that an operator turned away.
    pub differs: Option<Held>,
}

/// How a feed stands; what is worse hides what is less bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Switched off.
    Off,
    /// Not read yet.
    New,
    /// Not read for twice its interval: its entries may be out of date.
    Stale,
    /// A listing waits for an operator.
    Held,
    /// The last run failed; it is tried again.
    Failing,
    /// The source says otherwise than what is in force: an operator turned that away.
    Differs,
    /// All is well.
    Good,
}

#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFeed {
    /// 1 to 64 of `a-z 0-9 - _ .`.
    #[schema(value_type = String)]
    pub name: FeedId,
    #[schema(value_type = Object)]
    pub settings: FeedSettings,
    /// The value of the header that the settings name, or the key in the URL.
    #[serde(default)]
    pub secret: Option<String>,
}

#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedChange {
    /// Replaces all settings.
    #[schema(value_type = Object)]
    pub settings: FeedSettings,
    /// The header's value or the key; the old one stays when left out. Needed again when the feed's
    /// server changes.
    #[serde(default)]
    pub secret: Option<String>,
}
