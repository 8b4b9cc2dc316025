//! What operators say about a feed, and how it stands.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;
use xshield_threat::Confidence;
use xshield_threat::feed::taxii::Bookmark;
use xshield_threat::feed::{Format, Limits, Summary};
use xshield_threat::guard::{ChangeLimits, Empty};

use crate::timestamp::Timestamp;

/// Where a feed comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A web server.
    Url(Box<UrlSource>),
    /// A file or directory on the platform's own machine; of a directory, every file counts.
    File(PathBuf),
}

/// A feed on a web server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlSource {
    /// `https`, or `http` where that is allowed.
    pub url: Url,
    /// The name of the header that proves who asks; its value is kept sealed.
    #[serde(default)]
    pub header: Option<String>,
    /// The only authorities (PEM) that may vouch for the server; the system's otherwise.
    #[serde(default)]
    pub ca: Option<String>,
    /// An HTTP proxy, e.g. `http://proxy.example.com:3128`.
    #[serde(default)]
    pub proxy: Option<Url>,
    /// What is refused otherwise.
    #[serde(default)]
    pub allow: Vec<Allow>,
}

/// What a feed may do that others may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Allow {
    /// Be fetched over plain HTTP: whoever sits between can change it.
    Http,
    /// Come from a private or loopback address.
    Private,
}

/// How a feed is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Exchange {
    /// Every answer is the whole list.
    #[default]
    Whole,
    /// TAXII 2.1: pages of a collection, and what was added since.
    Taxii,
    /// CrowdSec's decisions stream: everything at first, then changes.
    Crowdsec,
    /// MISP: a manifest, and a document for each event, of which those that have changed are asked for.
    Misp,
}

/// What operators say about a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedSettings {
    /// Where it comes from.
    pub source: Source,
    /// How it writes its entries.
    pub format: Format,
    /// How it is asked.
    #[serde(default)]
    pub exchange: Exchange,
    /// Whether it is fetched and counts.
    #[serde(default)]
    pub state: Switch,
    /// Seconds between two runs.
    #[serde(default = "a_day")]
    pub every: u32,
    /// How sure the feed is of entries that don't say (percent).
    #[serde(default = "half_sure")]
    pub confidence: Confidence,
    /// Entries below this confidence are left out.
    #[serde(default)]
    pub least_confidence: Confidence,
    /// Bytes on the wire, at most.
    #[serde(default = "wire_bytes")]
    pub max_bytes: u64,
    /// Bytes when unpacked, at most.
    #[serde(default = "unpacked_bytes")]
    pub max_unpacked: u64,
    /// Entries, at most.
    #[serde(default = "entries")]
    pub max_entries: u64,
    /// Seconds that a run may take.
    #[serde(default = "within")]
    pub within: u32,
    /// Growth in percent of the last listing beyond which a listing waits for an operator.
    #[serde(default = "half")]
    pub growth_percent: u64,
    /// Shrinkage in percent of the last listing beyond which a listing waits for an operator.
    #[serde(default = "half")]
    pub shrink_percent: u64,
    /// Whether it may list nothing.
    #[serde(default)]
    pub empty: Empty,
}

/// Whether a feed is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// Fetched, and its entries count.
    #[default]
    On,
    /// Not fetched, and its entries don't count.
    Off,
}

fn a_day() -> u32 {
    24 * 3600
}
fn half_sure() -> Confidence {
    Confidence::new(50).unwrap_or_default()
}
fn wire_bytes() -> u64 {
    128 << 20
}
fn unpacked_bytes() -> u64 {
    512 << 20
}
fn entries() -> u64 {
    5_000_000
}
fn within() -> u32 {
    300
}
fn half() -> u64 {
    50
}

/// `{key}`, as a parsed URL writes it in its query and in its path.
const KEY_IN_URL: [&str; 2] = ["{key}", "%7Bkey%7D"];

impl FeedSettings {
    /// What its parser may take up.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            total_bytes: self.max_unpacked,
            entries: self.max_entries,
            empty: self.empty,
            ..Limits::default()
        }
    }

    /// How far it may change by itself.
    #[must_use]
    pub fn change_limits(&self) -> ChangeLimits {
        ChangeLimits {
            growth_percent: self.growth_percent,
            shrink_percent: self.shrink_percent,
            empty: self.empty,
            ..ChangeLimits::default()
        }
    }
}

impl UrlSource {
    /// Whether the key stands in the URL, in place of `{key}`.
    #[must_use]
    pub fn key_in_url(&self) -> bool {
        KEY_IN_URL.iter().any(|place| self.url.as_str().contains(place))
    }

    /// The URL with the key. It is a secret.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Url {
        let escaped: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
        let whole =
            KEY_IN_URL.iter().fold(self.url.to_string(), |url, place| url.replace(place, &escaped));
        whole.parse().unwrap_or_else(|_| self.url.clone())
    }

    /// Whether the feed may do this.
    #[must_use]
    pub fn allows(&self, what: Allow) -> bool {
        self.allow.contains(&what)
    }
}

/// How a feed stands, besides its settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedState {
    /// What the last good run read.
    pub read: ReadState,
    /// When the listing in force last changed.
    pub changed_at: Option<Timestamp>,
    /// Entries in force.
    pub entries: u64,
    /// Prefixes that came with that change.
    pub added: u64,
    /// Prefixes that went with it.
    pub removed: u64,
    /// Runs that failed since the last good one.
    pub failures: u32,
    /// Why the last run failed, if it did.
    pub failure: Option<Failure>,
    /// What the server said the last answer was, for the next question.
    pub validators: Validators,
    /// Why a listing waits for an operator.
    pub held: Option<Held>,
    /// The listing that an operator turned away: it is not asked about again.
    pub turned_away: Option<String>,
    /// That listing, for as long as the source says so.
    pub differs: Option<Differs>,
    /// How far a feed that sends changes was read.
    pub bookmark: Bookmark,
    /// Whether the changes read so far are stored: otherwise all of it is asked for again.
    pub in_step: bool,
    /// What was read of a MISP feed's events: a file beside the listings.
    pub events: Option<String>,
}

/// What a run read.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct ReadState {
    /// Bytes, unpacked.
    pub bytes: u64,
    /// Prefixes.
    pub entries: u64,
    /// Things that are not about addresses.
    pub skipped: u64,
    /// Lines that should have been entries.
    pub rejected: u64,
    /// The first of those.
    pub samples: Vec<Sample>,
}

/// A rejected line.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Sample {
    /// The file of a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its line, from 1.
    pub line: u64,
    /// Its first characters.
    pub text: String,
    /// Why.
    pub reason: String,
}

impl From<&Summary> for ReadState {
    fn from(summary: &Summary) -> Self {
        let sample = |sample: &xshield_threat::feed::Sample| Sample {
            file: None,
            line: sample.line,
            text: sample.text.clone(),
            reason: sample.reason.to_string(),
        };
        Self {
            bytes: summary.bytes,
            entries: summary.entries,
            skipped: summary.skipped,
            rejected: summary.rejected,
            samples: summary.samples.iter().map(sample).collect(),
        }
    }
}

/// Why a run failed.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// What happened and what to do.
    pub reason: String,
    /// The HTTP status, when there was one.
    pub status: Option<u16>,
}

/// How a server names its answer, so that it need not send it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

/// A listing that waits for an operator.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Held {
    /// Since when.
    pub at: Timestamp,
    /// Why; at least one.
    pub reasons: Vec<String>,
    /// Its entries.
    pub entries: u64,
    /// Prefixes that would come.
    pub added: u64,
    /// Prefixes that would go.
    pub removed: u64,
}

/// A listing that an operator turned away and that the source still gives: what is in force differs from
/// it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Differs {
    /// Its file.
    pub file: String,
    /// Since when it was turned away, and what would come with it.
    pub listing: Held,
}
