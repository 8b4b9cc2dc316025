//! How long a domain's address stays in the rules after DNS last returned it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::duration::{self, Unit};

/// A duration in whole seconds, as in documents: `0s`, `90s`, `30m`, `12h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(u32);

/// The text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: expected a whole number and s, m, h or d, at most 30d, e.g. 30m")]
pub struct SpanError(String);

const MINUTE: u32 = Unit::Minute.seconds();
const HOUR: u32 = Unit::Hour.seconds();
const DAY: u32 = Unit::Day.seconds();

impl Span {
    /// The longest duration.
    pub const MAX: Self = Self(30 * DAY);

    /// This many minutes, at most [`Span::MAX`].
    #[must_use]
    pub const fn minutes(minutes: u32) -> Self {
        let seconds = minutes.saturating_mul(MINUTE);
        if seconds > Self::MAX.0 { Self::MAX } else { Self(seconds) }
    }

    /// The duration in seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0.into()
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let written = duration::parse(text).filter(|(_, unit)| *unit != Unit::Week);
        let total = written.and_then(|(number, unit)| number.checked_mul(unit.seconds()));
        let total = total.map(Self).filter(|total| *total <= Self::MAX);
        total.ok_or_else(|| SpanError(text.to_owned()))
    }
}

impl TryFrom<String> for Span {
    type Error = SpanError;

    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

/// In the largest unit that divides it.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm')];
        let unit = units.into_iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (unit, letter) = unit.unwrap_or((1, 's'));
        write!(f, "{}{letter}", self.0 / unit)
    }
}

/// How long an address stays that its name no longer resolves to. The default is half an hour after it was
/// last resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grace {
    /// How long it stays after it was last resolved; with zero it leaves in the first run without it.
    pub span: Span,
    /// Whether it stays longer while the host has a connection with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub while_connected: bool,
}

impl Grace {
    /// The default.
    pub const DEFAULT: Self = Self { span: Span::minutes(30), while_connected: false };
}

impl Default for Grace {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for (text, seconds, written) in [
            ("0s", 0, "0s"),
            ("0d", 0, "0s"),
            ("90s", 90, "90s"),
            ("30m", 1800, "30m"),
            ("30min", 1800, "30m"),
            ("120m", 7200, "2h"),
            ("48h", 172_800, "2d"),
            ("30d", 2_592_000, "30d"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.seconds(), span.to_string().as_str()), (seconds, written), "{text}");
            assert_eq!(written.parse::<Span>().unwrap(), span);
        }
        for text in ["", "5", "m", "-1m", "1 h", "1.5h", "1y", "31d", "4294967296s", "99999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
