//! Threat feeds: what they are, and how they stand.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
pub use xshield_model::feed::{Failure, FeedSettings, Held, ReadState, Sample, Source};
use xshield_threat::feed::Format;
use xshield_threat::{Confidence, FeedId, presets};

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
#[schema(as = FeedStanding)]
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

/// A well-known feed, from which settings can be taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Preset {
    /// The name that a feed made of it gets.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// What it lists, and what to expect of it.
    pub about: String,
    /// Where it is.
    pub source: PresetSource,
    /// How it is read.
    pub format: Format,
    /// How sure its entries are where it doesn't say so itself.
    pub confidence: Confidence,
    /// Whether it takes a key.
    pub key: PresetKey,
    /// The terms of use in short.
    pub terms: String,
    /// The terms of use.
    pub terms_url: String,
    /// To be fetched no more often.
    pub least_interval: Duration,
}

/// Where a well-known feed is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresetSource {
    /// At its publisher.
    Url(String),
    /// On a server of the operator's own, at an address like this one.
    Own(String),
}

/// How a well-known feed wants to know who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresetKey {
    /// Not at all.
    None,
    /// By this header.
    Header(String),
    /// In place of `{key}` in the URL.
    InUrl,
}

impl From<presets::Preset> for Preset {
    fn from(preset: presets::Preset) -> Self {
        Self {
            id: preset.id.to_owned(),
            title: preset.title.to_owned(),
            about: preset.about.to_owned(),
            source: match preset.source {
                presets::Source::Url(url) => PresetSource::Url(url.to_owned()),
                presets::Source::Own(url) => PresetSource::Own(url.to_owned()),
            },
            format: preset.format,
            confidence: preset.confidence,
            key: match preset.key {
                presets::Key::None => PresetKey::None,
                presets::Key::Header(name) => PresetKey::Header(name.to_owned()),
                presets::Key::InUrl => PresetKey::InUrl,
            },
            terms: preset.terms.to_owned(),
            terms_url: preset.terms_url.to_owned(),
            least_interval: preset.least_interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_told_as_they_are_kept_and_read_back() {
        for preset in presets::presets() {
            let kept = serde_json::to_value(&preset).unwrap();
            let told = serde_json::to_value(Preset::from(preset)).unwrap();
            assert_eq!(told, kept);
            let read: Preset = serde_json::from_value(told.clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), told);
        }
    }
}
