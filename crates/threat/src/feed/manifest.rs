//! The manifest of a MISP feed: its events, each in a separate document, and when each was last changed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{FeedError, Limits};

/// The largest manifest, in bytes. Usual are some 1 KiB per event.
const BYTES: u64 = 64 << 20;

/// The id of an event and its document: a UUID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId(String);

impl FromStr for EventId {
    type Err = FeedError;

    fn from_str(text: &str) -> Result<Self, FeedError> {
        let parts = [8, 4, 4, 4, 12];
        let mut given = text.split('-');
        let is_part = |length: usize, part: Option<&str>| {
            part.is_some_and(|part| {
                part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        };
        // It becomes part of a URL, so nothing else may be in it.
        if parts.into_iter().all(|length| is_part(length, given.next())) && given.next().is_none() {
            return Ok(Self(text.to_owned()));
        }
        let name = text.chars().take(NAME).collect();
        Err(FeedError::NoEvent { name })
    }
}

/// The most characters shown of an invalid name.
const NAME: usize = 60;

impl TryFrom<String> for EventId {
    type Error = FeedError;

    fn try_from(text: String) -> Result<Self, FeedError> {
        text.parse()
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> Self {
        id.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The events of a feed, each with the time of its last change in Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest(pub BTreeMap<EventId, u64>);

#[derive(Deserialize)]
struct About {
    timestamp: Time,
}

/// MISP writes times as texts, other programs as numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Number(u64),
    Text(String),
}

impl Manifest {
    /// Parses a manifest.
    ///
    /// # Errors
    /// When it is not a manifest, is truncated, or has more events than the feed may have entries.
    pub fn read(reader: impl Read, limits: Limits) -> Result<Self, FeedError> {
        let most = BYTES.min(limits.total_bytes);
        let mut bytes = Vec::new();
        let read = reader.take(most.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(FeedError::Read)?;
        if bytes.len() as u64 > most {
            return Err(FeedError::TooLarge { limit: most });
        }
        match bytes.trim_ascii_start().first() {
            None => return Err(FeedError::Empty),
            Some(b'<') => return Err(FeedError::Html),
            Some(_) => {}
        }
        let events: BTreeMap<String, About> = serde_json::from_slice(&bytes).map_err(|error| {
            if error.is_eof() { FeedError::Truncated } else { FeedError::Json(error) }
        })?;
        if events.len() as u64 > limits.entries {
            return Err(FeedError::TooManyEntries { limit: limits.entries });
        }
        let event = |(name, about): (String, About)| {
            let id: EventId = name.parse()?;
            let changed = match about.timestamp {
                Time::Number(seconds) => Some(seconds),
                Time::Text(text) => text.trim().parse().ok(),
            };
            Ok((id, changed.ok_or(FeedError::NoEvent { name })?))
        };
        events.into_iter().map(event).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "5a1b2c3d-0001-4000-8000-0123456789ab";
    const TWO: &str = "5A1B2C3D-0002-4000-8000-0123456789AB";

    #[test]
    fn a_manifest_names_events_and_when_they_changed() {
        let text = format!(
            r#"{{"{ONE}": {{"Orgc": {{"name": "x"}}, "Tag": [{{"name": "tlp:white"}}],
                "info": "scans", "date": "2026-11-01", "timestamp": "1793491200"}},
                "{TWO}": {{"timestamp": 1793491201}}}}"#
        );
        let read = Manifest::read(text.as_bytes(), Limits::default()).unwrap();
        let found: Vec<_> = read.0.iter().map(|(id, at)| (id.to_string(), *at)).collect();
        assert_eq!(found, [(TWO.to_owned(), 1_793_491_201), (ONE.to_owned(), 1_793_491_200)]);
        let few = Limits { entries: 1, ..Limits::default() };
        let read = Manifest::read(text.as_bytes(), few);
        assert!(matches!(read, Err(FeedError::TooManyEntries { limit: 1 })), "{read:?}");
        let short = Limits { total_bytes: 20, ..Limits::default() };
        let read = Manifest::read(text.as_bytes(), short);
        assert!(matches!(read, Err(FeedError::TooLarge { limit: 20 })), "{read:?}");
    }

    #[test]
    fn invalid_manifests_are_refused() {
        for (text, expected) in [
            (String::new(), "has no entries"),
            ("<html>sign in</html>".to_owned(), "web page"),
            ("[]".to_owned(), "not a JSON document"),
            (format!(r#"{{"{ONE}": {{"timestamp": "1"}}"#), "ends in the middle"),
            (format!(r#"{{"{ONE}": {{"info": "x"}}}}"#), "not a JSON document"),
            (format!(r#"{{"{ONE}": {{"timestamp": "soon"}}}}"#), "not an event"),
            (r#"{"../../etc/passwd": {"timestamp": "1"}}"#.to_owned(), "not an event"),
            (format!(r#"{{"{ONE}/../x": {{"timestamp": "1"}}}}"#), "not an event"),
            (format!(r#"{{"{ONE}-": {{"timestamp": "1"}}}}"#), "not an event"),
        ] {
            let error = Manifest::read(text.as_bytes(), Limits::default()).unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
        assert_eq!(Manifest::read(&b"{}"[..], Limits::default()).unwrap(), Manifest::default());
    }
}
