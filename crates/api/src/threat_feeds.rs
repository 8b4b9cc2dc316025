//! Threat feeds: their settings and state.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
pub use xshield_model::feed::{
    Allow, Exchange, Failure, FeedSettings, Held, ReadState, Sample, Source, Switch, UrlSource,
};
use xshield_threat::feed::Format;
use xshield_threat::{Confidence, FeedId, presets};

use crate::open::Open;

/// A threat feed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Feed {
    pub name: String,
    /// Its settings. The header's value is never shown.
    #[schema(value_type = Object)]
    pub settings: Open<FeedSettings>,
    /// Whether a header's value or a key is stored.
    pub has_secret: bool,
    /// Its state.
    #[schema(value_type = FeedStanding)]
    pub state: Open<FeedStanding>,
    pub running: bool,
    pub created_at: Timestamp,
    pub created_by: String,
    pub next_run: Timestamp,
    pub last_run: Option<Timestamp>,
    pub last_success: Option<Timestamp>,
    /// When its entries in force last changed.
    pub changed_at: Option<Timestamp>,
    /// The number of entries in force.
    pub entries: u64,
    /// Prefixes added by the last change.
    pub added: u64,
    /// Prefixes removed by the last change.
    pub removed: u64,
    /// What the last successful run read.
    pub read: ReadState,
    /// The number of failed runs since the last successful one.
    pub failures: u32,
    pub failure: Option<Failure>,
    /// A listing held for an operator's decision.
    pub held: Option<Held>,
    /// The source's current listing, if an operator rejected it and it differs from the one in force.
    pub differs: Option<Held>,
}

/// The state of a feed; a worse one hides a less severe one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = FeedStanding)]
pub enum FeedStanding {
    /// Switched off.
    Off,
    /// Not read yet.
    New,
    /// Not read for twice its interval: its entries may be out of date.
    Stale,
    /// A listing is held for an operator's decision.
    Held,
    /// The last run failed; it is retried.
    Failing,
    /// The source's current listing differs from the one in force: an operator rejected it.
    Differs,
    /// Good.
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
    /// The header's value or the key; the old one is kept when left out. Required again when the feed's
    /// server changes.
    #[serde(default)]
    pub secret: Option<String>,
}

/// A well-known feed, from which settings can be taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Preset {
    /// The suggested name of the feed.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What it lists, and what to expect.
    pub about: String,
    /// Its location.
    pub source: PresetSource,
    /// Its format.
    pub format: Format,
    /// The confidence of entries that don't state one.
    pub confidence: Confidence,
    /// Whether it requires a key.
    pub key: PresetKey,
    /// A summary of the terms of use.
    pub terms: String,
    /// The terms of use.
    pub terms_url: String,
    /// The minimum interval between fetches.
    pub least_interval: Duration,
}

/// The location of a well-known feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresetSource {
    /// At its publisher.
    Url(String),
    /// On a server of one's own, at an address like this one.
    Own(String),
}

/// How a well-known feed authenticates clients.
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
    fn presets_round_trip() {
        for preset in presets::presets() {
            let kept = serde_json::to_value(&preset).unwrap();
            let told = serde_json::to_value(Preset::from(preset)).unwrap();
            assert_eq!(told, kept);
            let read: Preset = serde_json::from_value(told.clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), told);
        }
    }
}
