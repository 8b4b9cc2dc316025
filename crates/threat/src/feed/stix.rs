//! STIX 2.1 bundles and TAXII envelopes: of each indicator, the newest version.

use std::collections::HashMap;
use std::io::BufRead;

use ring::digest::{Context, SHA256, digest};

use super::collector::{Collector, Entry};
use super::json::{Lists, Scalar, dated, document};
use super::{FeedError, PageContent, Presence, pattern, unix_seconds};
use crate::text::{Range, Reason};

const WANTED: [&str; 10] = [
    "type",
    "id",
    "modified",
    "pattern",
    "pattern_type",
    "confidence",
    "valid_from",
    "valid_until",
    "revoked",
    "indicator_types",
];
/// The most bytes of a pattern kept for the sample of a rejected one.
const SAMPLE_BYTES: usize = 320;

/// Reads a document to its end, since an older version of an indicator may follow a newer one.
pub(super) fn read(reader: impl BufRead, collector: &mut Collector<'_>) -> Result<(), FeedError> {
    let mut versions = Versions::default();
    let mut content = Context::new(&SHA256);
    let lists = Lists::Keys(&["objects"]);
    document(reader, lists, &WANTED, collector, |line, _, values, collector| {
        let [kind, id, modified, text, pattern_type, rest @ ..] = values else { return Ok(()) };
        for value in [id, modified, text] {
            content.update(value.text().unwrap_or_default().as_bytes());
            content.update(b"\\0");
        }
        if kind.text() != Some("indicator") {
            collector.skip();
            return Ok(());
        }
        let text = text.text().filter(|_| matches!(pattern_type.text(), Some("stix") | None));
        let version = Version::read(line, text, rest);
        match (id.text(), modified.text()) {
            (Some(id), Some(modified)) => versions.add(id, modified, version),
            _ => versions.newest.push((String::new(), version)),
        }
        Ok(())
    })?;
    collector.page().content = content.finish().as_ref().try_into().ok().map(PageContent);
    versions.newest.into_iter().try_for_each(|(_, version)| version.give(collector))
}

/// Indicators with what tells their versions apart.
#[derive(Default)]
struct Versions {
    /// The index in `newest` of an indicator, by the digest of its id, which may be long.
    places: HashMap<[u8; 16], usize>,
    /// When the version was modified, and the version.
    newest: Vec<(String, Version)>,
}

impl Versions {
    /// Of two versions modified at the same time, the first one counts.
    fn add(&mut self, id: &str, modified: &str, version: Version) {
        let id = digest(&SHA256, id.as_bytes());
        let id = *id.as_ref().first_chunk().unwrap_or(&[0; 16]);
        // Times of STIX are in UTC and of one form, so they compare as texts: 10:00:00 is before
        // 10:00:00.5.
        let modified: String = modified.trim_end_matches(['Z', 'z']).chars().take(32).collect();
        match self.places.get(&id).and_then(|at| self.newest.get_mut(*at)) {
            Some(known) if known.0 >= modified => {}
            Some(known) => *known = (modified, version),
            None => {
                self.places.insert(id, self.newest.len());
                self.newest.push((modified, version));
            }
        }
    }
}

/// One version of an indicator.
struct Version {
    line: u64,
    /// Its pattern, if it is needed for a sample.
    sample: String,
    change: Presence,
    /// Its entries; none if it is not about addresses, or about harmless ones.
    entries: Vec<Result<Entry, Reason>>,
}

impl Version {
    /// `rest`: confidence, first and last time, whether it is revoked, types.
    fn read(line: u64, text: Option<&str>, rest: &[Scalar]) -> Self {
        let [confidence, from, until, revoked, types] = rest else {
            return Self {
                line,
                sample: String::new(),
                change: Presence::Listed,
                entries: Vec::new(),
            };
        };
        let change =
            if *revoked == Scalar::Bool(true) { Presence::Withdrawn } else { Presence::Listed };
        // An indicator may also describe what is harmless.
        let text = text.filter(|_| !types.has("benign")).unwrap_or_default();
        let in_force = |range: Range| {
            let entry = dated(range, confidence, until)?;
            Ok(Entry { begin: begin(from)?, ..entry })
        };
        let entries = match pattern::addresses(text) {
            Ok(found) => found.into_iter().map(|range| range.and_then(in_force)).collect(),
            Err(reason) => vec![Err(reason)],
        };
        let is_told = entries.iter().any(Result::is_err);
        let sample = if is_told { text.get(..SAMPLE_BYTES).unwrap_or(text) } else { "" };
        Self { line, sample: sample.to_owned(), change, entries }
    }

    fn give(self, collector: &mut Collector<'_>) -> Result<(), FeedError> {
        let Self { line, sample, change, entries } = self;
        if entries.is_empty() {
            collector.skip();
        }
        entries
            .into_iter()
            .try_for_each(|entry| collector.entry(line, sample.as_bytes(), entry, change))
    }
}

/// From when on an indicator holds.
fn begin(from: &Scalar) -> Result<Option<u64>, Reason> {
    match from {
        Scalar::Missing => Ok(None),
        Scalar::Text(text) => unix_seconds(text).map(Some).ok_or(Reason::Time),
        _ => Err(Reason::Time),
    }
}
