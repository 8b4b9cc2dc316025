//! Feeds in JSON, read as a stream: only the few texts of one object are kept at a time.

mod guarded;
mod scalar;
mod walk;

use std::io::BufRead;
use std::time::Duration;

use serde::de::DeserializeSeed;
use serde_json::Deserializer;

use super::collector::{Collector, Entry, expiry, percent, rounded};
use super::misp::Attribute;
use super::{Expiry, FeedError, Fields, Presence, lines as text_lines};
use crate::entry::Confidence;
use crate::text::{self, Range, Reason};
use guarded::{Guarded, Progress};
use walk::{Keys, Object, Walk};

pub(super) use scalar::{Scalar, says};
pub(super) use walk::Lists;

/// The requested fields of an object, in the order of the request.
pub(super) type Values = [Scalar];

/// JSON lines.
pub(super) fn lines(
    reader: impl BufRead,
    fields: &Fields,
    collector: &mut Collector<'_>,
) -> Result<(), FeedError> {
    let wanted = fields.names();
    let keys = Keys::default();
    text_lines::each_line(reader, collector, |number, line, collector| {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let mut json = Deserializer::from_slice(line);
        let values = Object { wanted: &wanted, keys: &keys }.deserialize(&mut json);
        match values.and_then(|values| json.end().map(|()| values)) {
            Ok(values) => element(number, fields, &values, &keys, collector),
            Err(_) => {
                collector.reject(number, line, Reason::NotJson);
                Ok(())
            }
        }
    })
}

/// An array of texts or objects.
pub(super) fn array(
    reader: impl BufRead,
    path: &[String],
    fields: &Fields,
    collector: &mut Collector<'_>,
) -> Result<(), FeedError> {
    let keys = Keys::default();
    let names = fields.names();
    document_of(reader, Lists::At(path), &names, &keys, collector, |line, _, values, collector| {
        element(line, fields, values, &keys, collector)
    })
}

/// MISP attributes.
pub(super) fn misp(reader: impl BufRead, collector: &mut Collector<'_>) -> Result<(), FeedError> {
    let wanted = ["type", "value", "to_ids", "deleted"];
    let lists = Lists::Anywhere("Attribute");
    document(reader, lists, &wanted, collector, |line, _, values, collector| {
        let [kind, value, to_ids, deleted] = values else { return Ok(()) };
        let (Some(kind), Some(value)) = (kind.text(), value.text()) else {
            collector.skip();
            return Ok(());
        };
        let attribute = Attribute {
            kind,
            value,
            detects: !to_ids.says_no(),
            change: if deleted.says_yes() { Presence::Withdrawn } else { Presence::Listed },
        };
        attribute.give(line, value.as_bytes(), collector)
    })
}

/// CrowdSec decisions.
pub(super) fn crowdsec(
    reader: impl BufRead,
    collector: &mut Collector<'_>,
) -> Result<(), FeedError> {
    let wanted = ["type", "scope", "value", "duration", "simulated"];
    let lists = Lists::Keys(&["new", "deleted"]);
    document(reader, lists, &wanted, collector, |line, list, values, collector| {
        let [kind, scope, value, duration, simulated] = values else { return Ok(()) };
        let scope = scope.text().unwrap_or_default().to_ascii_lowercase();
        let ban = kind.text().is_none_or(|kind| kind.eq_ignore_ascii_case("ban"));
        let about = (scope == "ip" || scope == "range") && ban && !simulated.says_yes();
        let Some(value) = value.text().filter(|_| about) else {
            collector.skip();
            return Ok(());
        };
        let change = if list == "deleted" { Presence::Withdrawn } else { Presence::Listed };
        // A deleted decision has its remaining duration, which is often negative.
        let wait = match (change, duration.text()) {
            (Presence::Listed, Some(duration)) => {
                go_duration(duration).map(Expiry::In).ok_or(Reason::Duration)
            }
            _ => Ok(Expiry::Never),
        };
        let range = text::range(value.as_bytes());
        let entry =
            range.and_then(|range| wait.map(|expiry| Entry { expiry, ..Entry::from(range) }));
        collector.entry(line, value.as_bytes(), entry, change)
    })
}

/// An element with its address, and its confidence and end if requested.
fn element(
    line: u64,
    fields: &Fields,
    values: &Values,
    keys: &Keys,
    collector: &mut Collector<'_>,
) -> Result<(), FeedError> {
    let mut values = values.iter();
    let address = values.next().unwrap_or(&Scalar::Missing);
    let mut asked = |name: &Option<String>| name.as_ref().and_then(|_| values.next());
    let confidence = asked(&fields.confidence).unwrap_or(&Scalar::Missing);
    let until = asked(&fields.valid_until).unwrap_or(&Scalar::Missing);
    let address = match address {
        Scalar::Text(address) => address.trim(),
        Scalar::Missing => {
            collector.without(&fields.address, || keys.names());
            return Ok(());
        }
        _ => {
            collector.reject(line, b"", Reason::NotAnAddress);
            return Ok(());
        }
    };
    let range = text::range(address.as_bytes());
    let entry = range.and_then(|range| dated(range, confidence, until));
    collector.entry(line, address.as_bytes(), entry, Presence::Listed)
}

pub(super) fn dated(range: Range, confidence: &Scalar, until: &Scalar) -> Result<Entry, Reason> {
    let expiry = match until {
        Scalar::Missing => Expiry::Never,
        Scalar::Number(seconds) => Expiry::At(*seconds),
        Scalar::Text(text) => expiry(text)?,
        Scalar::Bool(_) | Scalar::Fraction(_) | Scalar::Texts(_) | Scalar::Other => {
            return Err(Reason::Time);
        }
    };
    Ok(Entry { confidence: confidence_of(confidence)?, expiry, ..range.into() })
}

fn confidence_of(value: &Scalar) -> Result<Option<Confidence>, Reason> {
    let confidence = match value {
        Scalar::Missing => return Ok(None),
        Scalar::Text(text) => return percent(text.as_bytes()),
        Scalar::Number(number) => u8::try_from(*number).ok().and_then(Confidence::new),
        Scalar::Fraction(number) => rounded(*number),
        Scalar::Bool(_) | Scalar::Texts(_) | Scalar::Other => None,
    };
    confidence.map(Some).ok_or(Reason::Confidence)
}

/// A duration in Go's format: `3h59m4.5s`, `250ms`. `None` for a negative one.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit_at);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

pub(super) fn document(
    reader: impl BufRead,
    lists: Lists<'_>,
    wanted: &[&str],
    collector: &mut Collector<'_>,
    each: impl FnMut(u64, &str, &Values, &mut Collector<'_>) -> Result<(), FeedError>,
) -> Result<(), FeedError> {
    document_of(reader, lists, wanted, &Keys::default(), collector, each)
}

/// Reads one document and calls `each` with every element of its lists: its last line, the key of the list,
/// its values.
fn document_of(
    reader: impl BufRead,
    lists: Lists<'_>,
    wanted: &[&str],
    keys: &Keys,
    collector: &mut Collector<'_>,
    mut each: impl FnMut(u64, &str, &Values, &mut Collector<'_>) -> Result<(), FeedError>,
) -> Result<(), FeedError> {
    let progress = Progress::new(collector.limits);
    let mut stopped = None;
    let mut page = std::mem::take(collector.page());
    let read = {
        let mut each = |key: &str, values: &Values| {
            each(progress.line(), key, values, collector).map_err(|error| stopped = Some(error))
        };
        let mut found = false;
        let walk = Walk {
            lists,
            wanted,
            keys,
            page: &mut page,
            found: &mut found,
            depth: 0,
            each: &mut each,
        };
        let mut json = Deserializer::from_reader(Guarded::new(reader, &progress));
        walk.deserialize(&mut json).and_then(|()| json.end()).map(|()| found)
    };
    *collector.page() = page;
    collector.read(usize::try_from(progress.bytes()).unwrap_or(usize::MAX))?;
    match (stopped.or_else(|| progress.stopped()), read) {
        (Some(error), _) => Err(error),
        (None, Ok(true)) => Ok(()),
        (None, Ok(false)) => Err(FeedError::NoList { list: lists.to_string() }),
        (None, Err(_)) if progress.is_blank() => Err(FeedError::Empty),
        (None, Err(error)) if error.is_eof() => Err(FeedError::Truncated),
        (None, Err(error)) if error.is_io() => Err(FeedError::Read(error.into())),
        (None, Err(error)) => Err(FeedError::Json(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_like_go() {
        for (text, expected) in [
            ("3h59m4s", Some(Duration::from_secs(14_344))),
            ("4h0m0.5s", Some(Duration::from_millis(14_400_500))),
            ("250ms", Some(Duration::from_millis(250))),
            ("-3h", None),
            ("", None),
            ("3", None),
            ("h", None),
            ("3d", None),
            ("1e9h", None),
        ] {
            assert_eq!(go_duration(text), expected, "{text:?}");
        }
    }
}
