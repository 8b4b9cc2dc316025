//! Counts, limits and samples, the same for every format.

use super::{Expiry, FeedError, Limits, Page, Presence, Record, Sample, Summary, unix_seconds};
use crate::entry::Confidence;
use crate::guard::Empty;
use crate::text::{Range, Reason};

/// The most rejected lines kept as samples.
const SAMPLES: usize = 20;
/// The most characters of a sample.
const SAMPLE_CHARACTERS: usize = 80;

/// An entry as in its line.
pub(super) struct Entry {
    pub(super) range: Range,
    pub(super) confidence: Option<Confidence>,
    pub(super) begin: Option<u64>,
    pub(super) expiry: Expiry,
}

impl From<Range> for Entry {
    fn from(range: Range) -> Self {
        Self { range, confidence: None, begin: None, expiry: Expiry::Never }
    }
}

/// The time in a field; an empty field means none.
pub(super) fn expiry(text: &str) -> Result<Expiry, Reason> {
    match text.trim() {
        "" => Ok(Expiry::Never),
        text => unix_seconds(text).map(Expiry::At).ok_or(Reason::Time),
    }
}

/// The confidence in a field, 0 to 100 and rounded; an empty field means none.
pub(super) fn percent(text: &[u8]) -> Result<Option<Confidence>, Reason> {
    let text = str::from_utf8(text).map_err(|_| Reason::NotUtf8)?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = text.parse().ok().filter(|_| is_number).and_then(rounded);
    number.map(Some).ok_or(Reason::Confidence)
}

/// A confidence of 0 to 100, rounded.
pub(super) fn rounded(number: f64) -> Option<Confidence> {
    // What is in the bounds fits.
    (0.0..=100.0).contains(&number).then(|| Confidence::new(number.round() as u8)).flatten()
}

pub(super) struct Collector<'a> {
    pub(super) limits: Limits,
    each: &'a mut dyn FnMut(Record),
    summary: Summary,
    /// The missing field in the first object without it, and the fields that it has.
    field: Option<(String, Vec<String>)>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(limits: Limits, each: &'a mut dyn FnMut(Record)) -> Self {
        Self { limits, each, summary: Summary::default(), field: None }
    }

    /// Counts bytes.
    pub(super) fn read(&mut self, bytes: usize) -> Result<(), FeedError> {
        self.summary.bytes += bytes as u64;
        if self.summary.bytes > self.limits.total_bytes {
            return Err(FeedError::TooLarge { limit: self.limits.total_bytes });
        }
        Ok(())
    }

    /// Passes on a record.
    pub(super) fn record(&mut self, record: Record) -> Result<(), FeedError> {
        let mut entries = 0;
        record.range.each_prefix(|_| entries += 1);
        self.summary.records += 1;
        self.summary.entries += entries;
        if self.summary.entries > self.limits.entries {
            return Err(FeedError::TooManyEntries { limit: self.limits.entries });
        }
        (self.each)(record);
        Ok(())
    }

    /// Passes on a valid entry, and keeps an invalid one as a sample.
    pub(super) fn entry(
        &mut self,
        line: u64,
        text: &[u8],
        entry: Result<Entry, Reason>,
        change: Presence,
    ) -> Result<(), FeedError> {
        let narrow = |entry: Entry| self.narrow(entry.range).map(|range| Entry { range, ..entry });
        match entry.and_then(narrow) {
            Ok(Entry { range, confidence, begin, expiry }) => {
                self.record(Record { range, confidence, begin, expiry, change })
            }
            Err(reason) => {
                self.reject(line, text, reason);
                Ok(())
            }
        }
    }

    pub(super) fn reject(&mut self, line: u64, text: &[u8], reason: Reason) {
        self.summary.rejected += 1;
        if self.summary.samples.len() < SAMPLES {
            let start = &text[..text.len().min(4 * SAMPLE_CHARACTERS)];
            let text = String::from_utf8_lossy(start);
            let text = text.trim().chars().take(SAMPLE_CHARACTERS).flat_map(char::escape_debug);
            self.summary.samples.push(Sample { line, text: text.collect(), reason });
        }
    }

    pub(super) fn skip(&mut self) {
        self.summary.skipped += 1;
    }

    /// Counts an object without the address field.
    pub(super) fn without(&mut self, field: &str, there: impl FnOnce() -> Vec<String>) {
        self.skip();
        self.field.get_or_insert_with(|| (field.to_owned(), there()));
    }

    pub(super) fn page(&mut self) -> &mut Page {
        &mut self.summary.page
    }

    /// The summary of the lines. A complete feed must list something; one that sends `changes_only` may have
    /// no entries, or only unusable ones.
    pub(super) fn finish(self, changes_only: bool) -> Result<Summary, FeedError> {
        match self.summary {
            _ if changes_only => Ok(self.summary),
            Summary { records: 0, rejected: 0, .. } => match self.field {
                Some((field, there)) => Err(FeedError::NoField { field, there }),
                None if self.limits.empty == Empty::Allowed => Ok(self.summary),
                None => Err(FeedError::Empty),
            },
            Summary { records: 0, rejected, .. } => Err(FeedError::NothingUsable { rejected }),
            _ => Ok(self.summary),
        }
    }

    fn narrow(&self, range: Range) -> Result<Range, Reason> {
        let wide = match range {
            Range::V4(first, last) => {
                (last - first).checked_shr(32 - u32::from(self.limits.least_bits_v4)).unwrap_or(0)
                    > 0
            }
            Range::V6(first, last) => {
                let free = 128 - u32::from(self.limits.least_bits_v6);
                (last - first).checked_shr(free).unwrap_or(0) > 0
            }
        };
        if wide { Err(Reason::TooWide) } else { Ok(range) }
    }
}
