//! Parses feeds: a stream of bytes becomes records, one at a time and within limits.
//!
//! An invalid line or object is counted and sampled, with its reason; whatever makes the whole feed doubtful
//! (HTML instead of a list, a truncated document, an exceeded limit) is an error, and then nothing of the
//! feed may be used.

mod collector;
mod csv;
mod error;
mod json;
mod lines;
pub mod manifest;
mod misp;
mod pattern;
mod stix;
pub mod taxii;
mod time;

use std::io::Read;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::entry::Confidence;
use crate::guard::Empty;
use crate::listing::{Listing, ListingBuilder};
use crate::text::{Range, Reason};

pub use error::FeedError;
pub use time::unix_seconds;

use collector::Collector;

/// The format of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One address, prefix or range per line; comments start with `#` or `;`.
    Plain {
        /// The meaning of a number after the address. Without it, such a number is refused.
        levels: Option<Levels>,
    },
    /// Separated values with a line of column names, which may be a `#` comment; without one if columns are
    /// given by number.
    Csv {
        /// The separator, one ASCII character.
        separator: char,
        /// The columns.
        fields: Fields,
        /// What the address column may contain besides the address.
        port: Port,
    },
    /// One JSON object per line; objects without the address field are skipped.
    JsonLines {
        /// The fields.
        fields: Fields,
    },
    /// A JSON array of texts or objects.
    JsonArray {
        /// The keys that lead to the array; empty if the document is the array.
        path: Vec<String>,
        /// The fields; not used for texts.
        fields: Fields,
    },
    /// STIX 2.1 bundle or TAXII 2.1 envelope ([`taxii`]): indicators whose pattern lists addresses.
    /// `ipv4-addr` and `ipv6-addr` objects are skipped: they only say that an address was observed, possibly
    /// the victim's, while indicators say what to look for.
    Stix,
    /// MISP attributes for detection (`to_ids`), as JSON at any depth or as a CSV export: `ip-src`, `ip-dst`
    /// and both with a port.
    Misp,
    /// CrowdSec decisions stream: bans on addresses and ranges that are not simulated.
    CrowdSec,
}

/// Which column or field of a record contains what. A column may be a number (`@1` is the first one); a field
/// may be nested (`indicator.ip`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// The address, prefix or range.
    pub address: String,
    /// A confidence of 0 to 100.
    pub confidence: Option<String>,
    /// The end of the entry's validity.
    pub valid_until: Option<String>,
}

impl Fields {
    /// The names, in the order address, confidence, end.
    fn names(&self) -> Vec<&str> {
        let optional = [&self.confidence, &self.valid_until].into_iter().flatten();
        [&self.address].into_iter().chain(optional).map(String::as_str).collect()
    }
}

/// What may surround an address, such as a port; it does not narrow what is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Port {
    /// Nothing.
    Refused,
    /// A port, which is ignored.
    LeftOut,
    /// A URL, of which only the host is used. Those with a host name are skipped, since a name's addresses
    /// are often shared with others.
    InUrl,
}

/// The meaning of a count after an address: each step applies from its count up to the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels(pub Vec<(u32, Confidence)>);

impl Levels {
    /// The confidence of the highest step that `count` reaches; `None` below the first.
    #[must_use]
    pub fn confidence(&self, count: u32) -> Confidence {
        let reached = self.0.iter().filter(|(from, _)| *from <= count);
        reached.max_by_key(|(from, _)| *from).map_or(Confidence::NONE, |(_, of)| *of)
    }
}

/// The limits of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole feed, uncompressed.
    pub total_bytes: u64,
    /// Bytes of a line, or of a text in a JSON document.
    pub line_bytes: usize,
    /// Entries, counted as prefixes.
    pub entries: u64,
    /// The shortest IPv4 prefix, in bits; a range may not be wider either.
    pub least_bits_v4: u8,
    /// The same for IPv6.
    pub least_bits_v6: u8,
    /// Whether it may list nothing.
    pub empty: Empty,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total_bytes: 512 << 20,
            line_bytes: 64 << 10,
            entries: 16_000_000,
            least_bits_v4: 8,
            least_bits_v6: 16,
            empty: Empty::Refused,
        }
    }
}

/// One entry of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The addresses.
    pub range: Range,
    /// The confidence, if the feed has one.
    pub confidence: Option<Confidence>,
    /// The beginning of its validity in Unix seconds, if the feed has one.
    pub begin: Option<u64>,
    /// The end of its validity.
    pub expiry: Expiry,
    /// Whether it is added or removed.
    pub change: Presence,
}

/// The end of an entry's validity. There is no clock here: the caller compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Until the feed no longer lists it.
    Never,
    /// Until this time, in Unix seconds.
    At(u64),
    /// This long after the time of the feed.
    In(Duration),
}

impl Expiry {
    /// The time in Unix seconds, for a feed that was read at `now`; `None` for never.
    #[must_use]
    pub fn until(self, now: u64) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::At(until) => Some(until),
            Self::In(wait) => Some(now.saturating_add(wait.as_secs())),
        }
    }
}

/// Whether an entry is added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is listed.
    Listed,
    /// It was listed before and is withdrawn.
    Withdrawn,
}

/// The summary of a feed's lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Bytes read.
    pub bytes: u64,
    /// Valid records.
    pub records: u64,
    /// The prefixes of the records.
    pub entries: u64,
    /// Items that are not addresses: metadata, domains, file hashes.
    pub skipped: u64,
    /// Entries that expired before the feed was read; counted by [`contents`], which has the time.
    pub expired: u64,
    /// Entries that become valid after the feed was read; counted by [`contents`], too.
    pub not_yet: u64,
    /// Invalid entries.
    pub rejected: u64,
    /// The first of the invalid entries.
    pub samples: Vec<Sample>,
    /// TAXII: whether more pages follow, the `next` to request them with, and the page's digest.
    pub page: Page,
}

/// A rejected line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Its line, from 1.
    pub line: u64,
    /// Its first characters; what can't be printed is escaped.
    pub text: String,
    /// The reason.
    #[serde(serialize_with = "as_text")]
    pub reason: Reason,
}

fn as_text<S: serde::Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reason)
}

/// The position of a TAXII envelope among its pages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Page {
    /// Whether more follow.
    pub more: bool,
    /// The value with which to request them.
    pub next: Option<String>,
    /// A digest of the objects on it.
    #[serde(skip)]
    pub content: Option<PageContent>,
}

/// A digest of the objects on a page (SHA-256).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageContent(pub [u8; 32]);

/// Parses a feed and calls `each` with every record, in the feed's order. Memory is limited to a line (or a
/// text), whatever the length of the feed.
///
/// # Errors
/// When the feed as a whole can't be trusted; the records passed to `each` must then be discarded.
pub fn read(
    format: &Format,
    reader: impl Read,
    limits: Limits,
    mut each: impl FnMut(Record),
) -> Result<Summary, FeedError> {
    let mut collector = Collector::new(limits, &mut each);
    let reader = lines::sniffed(reader)?;
    match format {
        Format::Plain { levels } => lines::plain(reader, levels.as_ref(), &mut collector)?,
        Format::Csv { separator, fields, port } => {
            csv::read(reader, *separator, fields, *port, &mut collector)?;
        }
        Format::JsonLines { fields } => json::lines(reader, fields, &mut collector)?,
        Format::JsonArray { path, fields } => json::array(reader, path, fields, &mut collector)?,
        Format::Stix => stix::read(reader, &mut collector)?,
        Format::Misp => misp::read(reader, &mut collector)?,
        Format::CrowdSec => json::crowdsec(reader, &mut collector)?,
    }
    let changes_only = matches!(format, Format::Stix | Format::CrowdSec);
    collector.finish(changes_only)
}

/// Parses a complete feed into a listing. Entries without a confidence get `default`; the ends of their
/// validity are ignored, since there is no clock here: [`contents`] considers them.
///
/// # Errors
/// When the feed as a whole can't be trusted.
pub fn listing(
    format: &Format,
    reader: impl Read,
    limits: Limits,
    default: Confidence,
) -> Result<(Listing, Summary), FeedError> {
    let mut builder = ListingBuilder::default();
    let summary = read(format, reader, limits, |record| {
        if record.change == Presence::Listed {
            builder.push(record.range, record.confidence.unwrap_or(default));
        }
    })?;
    Ok((builder.finish(), summary))
}

/// The content of a feed at one time.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// The entries in force, with their expiry if they have one.
    pub listed: Listing,
    /// Withdrawn and expired entries: needed for feeds that send changes ([`Listing::updated`]), empty for
    /// most others.
    pub withdrawn: Listing,
    /// The summary of its lines.
    pub summary: Summary,
}

/// Parses a feed at the time `now` (Unix seconds). Entries without a confidence get `default`.
///
/// # Errors
/// When the feed as a whole can't be trusted.
pub fn contents(
    format: &Format,
    reader: impl Read,
    limits: Limits,
    default: Confidence,
    now: u64,
) -> Result<Contents, FeedError> {
    let (mut listed, mut withdrawn) = (ListingBuilder::default(), ListingBuilder::default());
    let (mut expired, mut not_yet) = (0, 0);
    let mut summary = read(format, reader, limits, |record| {
        let confidence = record.confidence.unwrap_or(default);
        match (record.change, record.expiry.until(now)) {
            (Presence::Withdrawn, _) => withdrawn.push(record.range, confidence),
            (Presence::Listed, _) if record.begin.is_some_and(|begin| begin > now) => {
                not_yet += 1;
                withdrawn.push(record.range, confidence);
            }
            (Presence::Listed, Some(until)) if until <= now => {
                expired += 1;
                withdrawn.push(record.range, confidence);
            }
            (Presence::Listed, Some(until)) => listed.push_until(record.range, confidence, until),
            (Presence::Listed, None) => listed.push(record.range, confidence),
        }
    })?;
    (summary.expired, summary.not_yet) = (expired, not_yet);
    Ok(Contents { listed: listed.finish(), withdrawn: withdrawn.finish(), summary })
}
