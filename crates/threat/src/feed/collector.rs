//! Counts, bounds and samples, the same for every format.

use super::{Change, Expiry, FeedError, Limits, Page, Record, Sample, Summary, unix_seconds};
use crate::entry::Confidence;
use crate::text::{Range, Reason};

/// Rejected lines that are kept as samples.
const SAMPLES: usize = 20;
/// Characters of a sample.
const SAMPLE_CHARACTERS: usize = 80;

/// An entry as its line says.
pub(super) struct Entry {
    pub(super) range: Range,
    pub(super) confidence: Option<Confidence>,
    pub(super) expiry: Expiry,
}

impl From<Range> for Entry {
    fn from(range: Range) -> Self {
        Self { range, confidence: None, expiry: Expiry::Never }
    }
}

/// The time in a field; an empty one says that there is none.
pub(super) fn expiry(text: &str) -> Result<Expiry, Reason> {
    match text.trim() {
        "" => Ok(Expiry::Never),
        text => unix_seconds(text).map(Expiry::At).ok_or(Reason::Time),
    }
}

pub(super) struct Collector<'a> {
    pub(super) limits: Limits,
    each: &'a mut dyn FnMut(Record),
    summary: Summary,
}

impl<'a> Collector<'a> {
    pub(super) fn new(limits: Limits, each: &'a mut dyn FnMut(Record)) -> Self {
        Self { limits, each, summary: Summary::default() }
    }

    /// Counts bytes.
    pub(super) fn read(&mut self, bytes: usize) -> Result<(), FeedError> {
        self.summary.bytes += bytes as u64;
        if self.summary.bytes > self.limits.total_bytes {
            return Err(FeedError::TooLarge { limit: self.limits.total_bytes });
        }
        Ok(())
    }

    /// Gives a record on.
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

    /// Gives an entry on when it is one, and keeps it as a sample when not.
    pub(super) fn entry(
        &mut self,
        line: u64,
        text: &[u8],
        entry: Result<Entry, Reason>,
        change: Change,
    ) -> Result<(), FeedError> {
        let narrow = |entry: Entry| self.narrow(entry.range).map(|range| Entry { range, ..entry });
        match entry.and_then(narrow) {
            Ok(Entry { range, confidence, expiry }) => {
                self.record(Record { range, confidence, expiry, change })
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

    pub(super) fn page(&mut self) -> &mut Page {
        &mut self.summary.page
    }

    /// What became of the lines. A feed that lists everything it stands for has something to list;
    /// one that sends `changes_only` may well have none, or none that can be used.
    pub(super) fn finish(self, changes_only: bool) -> Result<Summary, FeedError> {
        match self.summary {
            summary if changes_only => Ok(summary),
            Summary { records: 0, rejected: 0, .. } => Err(FeedError::Empty),
            Summary { records: 0, rejected, .. } => Err(FeedError::NothingUsable { rejected }),
            summary => Ok(summary),
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
