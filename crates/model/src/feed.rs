//! The settings and state of a feed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;
use xshield_threat::Confidence;
use xshield_threat::feed::taxii::Bookmark;
use xshield_threat::feed::{Format, Limits, Summary};
use xshield_threat::guard::{ChangeLimits, Empty};

use crate::timestamp::Timestamp;

/// The source of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A web server.
    Url(Box<UrlSource>),
    /// A file or directory on the platform's own machine; in a directory, every file counts.
    File(PathBuf),
}

/// A feed on a web server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlSource {
    /// `https`, or `http` where that is allowed.
    pub url: Url,
    /// The name of the header with the credentials; its value is stored sealed.
    #[serde(default)]
    pub header: Option<String>,
    /// The only trusted authorities (PEM) for the server; the system's otherwise.
    #[serde(default)]
    pub ca: Option<String>,
    /// An HTTP proxy, e.g. `http://proxy.example.com:3128`.
    #[serde(default)]
    pub proxy: Option<Url>,
    /// What is otherwise refused.
    #[serde(default)]
    pub allow: Vec<Allow>,
}

/// Exceptions for a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Allow {
    /// Plain HTTP: the content can be changed in transit.
    Http,
    /// A private or loopback address.
    Private,
}

/// The protocol of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Exchange {
    /// Every response is the complete list.
    #[default]
    Whole,
    /// TAXII 2.1: pages of a collection, and what was added since.
    Taxii,
    /// CrowdSec's decisions stream: everything at first, then changes.
    Crowdsec,
    /// MISP: a manifest, and a document for each event; changed ones are requested.
    Misp,
}

/// The settings of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedSettings {
    /// The source.
    pub source: Source,
    /// The format of its entries.
    pub format: Format,
    /// The protocol.
    #[serde(default)]
    pub exchange: Exchange,
    /// Whether it is fetched and takes effect.
    #[serde(default)]
    pub state: Switch,
    /// Seconds between two runs.
    #[serde(default = "a_day")]
    pub every: u32,
    /// The confidence of entries that don't state one (percent).
    #[serde(default = "half_sure")]
    pub confidence: Confidence,
    /// Entries below this confidence are omitted.
    #[serde(default)]
    pub least_confidence: Confidence,
    /// Maximum size of the transfer in bytes.
    #[serde(default = "wire_bytes")]
    pub max_bytes: u64,
    /// Maximum size in bytes after decompression.
    #[serde(default = "unpacked_bytes")]
    pub max_unpacked: u64,
    /// Maximum number of entries.
    #[serde(default = "entries")]
    pub max_entries: u64,
    /// Timeout of a run in seconds.
    #[serde(default = "within")]
    pub within: u32,
    /// Growth in percent of the last listing beyond which a listing is held for an operator.
    #[serde(default = "half")]
    pub growth_percent: u64,
    /// Shrinkage in percent of the last listing beyond which a listing is held for an operator.
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
    /// Fetched, and its entries take effect.
    #[default]
    On,
    /// Not fetched, and its entries have no effect.
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

/// `{key}`, as a parsed URL encodes it in its query and in its path.
const KEY_IN_URL: [&str; 2] = ["{key}", "%7Bkey%7D"];

impl FeedSettings {
    /// The settings of a feed for which only source and format are chosen.
    #[must_use]
    pub fn new(source: Source, format: Format) -> Self {
        Self {
            source,
            format,
            exchange: Exchange::default(),
            state: Switch::default(),
            every: a_day(),
            confidence: half_sure(),
            least_confidence: Confidence::default(),
            max_bytes: wire_bytes(),
            max_unpacked: unpacked_bytes(),
            max_entries: entries(),
            within: within(),
            growth_percent: half(),
            shrink_percent: half(),
            empty: Empty::default(),
        }
    }

    /// The limits of its parser.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            total_bytes: self.max_unpacked,
            entries: self.max_entries,
            empty: self.empty,
            ..Limits::default()
        }
    }

    /// How far it may change automatically.
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
    /// A server without further conditions.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self { url, header: None, ca: None, proxy: None, allow: Vec::new() }
    }

    /// Whether the key is in the URL, in place of `{key}`.
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

    /// Whether the feed has this exception.
    #[must_use]
    pub fn allows(&self, what: Allow) -> bool {
        self.allow.contains(&what)
    }
}

/// The state of a feed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedState {
    /// What the last successful run read.
    pub read: ReadState,
    /// When the listing in force last changed.
    pub changed_at: Option<Timestamp>,
    /// Entries in force.
    pub entries: u64,
    /// Prefixes added by that change.
    pub added: u64,
    /// Prefixes removed by it.
    pub removed: u64,
    /// The number of failed runs since the last successful one.
    pub failures: u32,
    /// Why the last run failed, if it did.
    pub failure: Option<Failure>,
    /// The validators of the last response, for the next request.
    pub validators: Validators,
    /// The held listing, if any.
    pub held: Option<Held>,
    /// The listing that an operator rejected: it is not held again.
    pub turned_away: Option<String>,
    /// That listing, as long as the source delivers it.
    pub differs: Option<Differs>,
    /// How far a feed that sends changes was read.
    pub bookmark: Bookmark,
    /// Whether the changes read so far are stored: otherwise everything is requested again.
    pub in_step: bool,
    /// The cache of a MISP feed's events: a file beside the listings.
    pub events: Option<String>,
}

/// The result of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct ReadState {
    /// Bytes, decompressed.
    pub bytes: u64,
    /// Prefixes.
    pub entries: u64,
    /// Items that are not about addresses.
    pub skipped: u64,
    /// Lines that should have been entries and could not be parsed.
    pub rejected: u64,
    /// The first of those.
    pub samples: Vec<Sample>,
}

/// A rejected line.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Sample {
    /// The file, in a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its line, from 1.
    pub line: u64,
    /// Its first characters.
    pub text: String,
    /// The reason.
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

/// HTTP validators, for conditional requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

/// A listing held for an operator's decision.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Held {
    /// Since when.
    pub at: Timestamp,
    /// Why; at least one.
    pub reasons: Vec<String>,
    /// Its entries.
    pub entries: u64,
    /// Prefixes that would be added.
    pub added: u64,
    /// Prefixes that would be removed.
    pub removed: u64,
}

/// A listing that an operator rejected and that the source still delivers: it differs from the one in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Differs {
    /// Its file.
    pub file: String,
    /// When it was rejected, and what it would change.
    pub listing: Held,
}
