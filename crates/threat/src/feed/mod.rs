//! Feeds as they arrive: a stream of bytes in, records out, one at a time and within bounds.
//!
//! A line or object that is no entry is counted and sampled, with its reason; what makes the whole
//! feed doubtful (HTML instead of a list, a truncated document, too much of anything) is an error,
//! and then nothing of the feed may be used.

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

/// How a feed writes its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One address, prefix or range a line; comments begin with `#` or `;`.
    Plain {
        /// How the number behind the address is meant. Without it, such a number is refused.
        levels: Option<Levels>,
    },
    /// Separated values with a line of column names, which may be a `#` comment; without one where
    /// columns are named by their numbers.
    Csv {
        /// The separator, one ASCII character.
        separator: char,
        /// Which column holds what.
        fields: Fields,
        /// What else may stand in the address column.
        port: Port,
    },
    /// One JSON object a line; objects without the address field are skipped.
    JsonLines {
        /// Which field holds what.
        fields: Fields,
    },
    /// A JSON array of texts or objects.
    JsonArray {
        /// The keys that lead to the array; none when the document is the array.
        path: Vec<String>,
        /// Which field holds what; not asked of texts.
        fields: Fields,
    },
    /// STIX 2.1 bundle or TAXII 2.1 envelope ([`taxii`]): indicators whose pattern lists addresses.
    /// `ipv4-addr` and `ipv6-addr` objects are skipped: they say that an address was seen, as the
    /// victim's perhaps, and indicators say that it is to be looked for.
    Stix,
    /// MISP attributes meant for detection (`to_ids`), as JSON wherever they stand or as a CSV
    /// export: `ip-src`, `ip-dst` and both with a port.
    Misp,
    /// CrowdSec decisions stream: bans on addresses and ranges that are not simulated.
    CrowdSec,
}

/// Which column or field of a record holds what. A column may be a number (`@1` is the first one); a
/// field may be within another (`indicator.ip`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// The address, prefix or range.
    pub address: String,
    /// A confidence of 0 to 100.
    pub confidence: Option<String>,
    /// Until when the entry holds.
    pub valid_until: Option<String>,
}

impl Fields {
    /// The names, in the order address, confidence, end.
    fn names(&self) -> Vec<&str> {
        let optional = [&self.confidence, &self.valid_until].into_iter().flatten();
        [&self.address].into_iter().chain(optional).map(String::as_str).collect()
    }
}

/// What else may stand around an address, such as a port; it does not narrow what is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Port {
    /// Nothing.
    Refused,
    /// A port, which is left out.
    LeftOut,
    /// A URL, of which only the host is taken. Those with a name for their host are skipped, since
    /// a name's addresses are often shared with others.
    InUrl,
}

/// What a count behind an address means: each step from its count on, up to the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels(pub Vec<(u32, Confidence)>);

impl Levels {
    /// The confidence of the highest step that `count` reaches; none below the first.
    #[must_use]
    pub fn confidence(&self, count: u32) -> Confidence {
        let reached = self.0.iter().filter(|(from, _)| *from <= count);
        reached.max_by_key(|(from, _)| *from).map_or(Confidence::NONE, |(_, of)| *of)
    }
}

/// What a feed may take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole feed, uncompressed.
    pub total_bytes: u64,
    /// Bytes of a line, or of a text in a JSON document.
    pub line_bytes: usize,
    /// Entries, counted as prefixes.
    pub entries: u64,
    /// An IPv4 prefix needs at least so many bits; a range may not be wider either.
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

/// One entry as a feed gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The addresses.
    pub range: Range,
    /// How sure the feed is, where it says so.
    pub confidence: Option<Confidence>,
    /// From when on it holds, in Unix seconds, where it says so.
    pub begin: Option<u64>,
    /// Until when it holds.
    pub expiry: Expiry,
    /// Whether it comes or goes.
    pub change: Presence,
}

/// Until when an entry holds. No clock here: who reads the feed compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Until the feed leaves it out.
    Never,
    /// Until this time, in Unix seconds.
    At(u64),
    /// So long from the time of the feed.
    In(Duration),
}

impl Expiry {
    /// The time in Unix seconds, for a feed that was read at `now`; nothing for never.
    #[must_use]
    pub fn until(self, now: u64) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::At(until) => Some(until),
            Self::In(wait) => Some(now.saturating_add(wait.as_secs())),
        }
    }
}

/// Whether an entry comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is listed.
    Listed,
    /// It was listed before and is no more.
    Withdrawn,
}

/// What became of a feed's lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Bytes read.
    pub bytes: u64,
    /// Records given.
    pub records: u64,
    /// Prefixes they are made of.
    pub entries: u64,
    /// Things that are not about addresses: metadata, domains, file hashes.
    pub skipped: u64,
    /// Entries that ended before the feed was read; counted by [`contents`], which has the time.
    pub expired: u64,
    /// Entries that begin only after the feed was read; counted by [`contents`], too.
    pub not_yet: u64,
    /// What should have been an entry and is none.
    pub rejected: u64,
    /// The first of the rejected.
    pub samples: Vec<Sample>,
    /// TAXII: whether more pages follow, the `next` to ask with, and what tells the page from others.
    pub page: Page,
}

/// A rejected line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Its line, from 1.
    pub line: u64,
    /// Its first characters; what can't be printed is escaped.
    pub text: String,
    /// Why.
    #[serde(serialize_with = "as_text")]
    pub reason: Reason,
}

fn as_text<S: serde::Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reason)
}

/// Where a TAXII envelope stands among its pages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Page {
    /// Whether more follow.
    pub more: bool,
    /// What to ask for them with.
    pub next: Option<String>,
    /// A digest of the objects on it.
    #[serde(skip)]
    pub content: Option<PageContent>,
}

/// A digest of the objects on a page (SHA-256).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageContent(pub [u8; 32]);

/// Reads a feed and gives every record to `each`, in the feed's order. Memory is bounded by a line
/// (or a text), whatever the length of the feed.
///
/// # Errors
/// When the feed as a whole can't be trusted; what `each` was given is then to be dropped.
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

/// Reads a feed that lists everything it stands for, into a listing. Entries without a confidence
/// get `default`; their ends are left aside, as there is no clock here: [`contents`] minds them.
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

/// What a feed says at one time.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// What it lists and is in force, with its end where it has one.
    pub listed: Listing,
    /// What it takes back or lets end: of interest for feeds that send changes
    /// ([`Listing::updated`]), empty for most others.
    pub withdrawn: Listing,
    /// What became of its lines.
    pub summary: Summary,
}

/// Reads a feed at the time `now` (Unix seconds). Entries without a confidence get `default`.
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
