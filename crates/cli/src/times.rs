//! Times as people write and read them: `90d`, `3 min ago`.

use std::str::FromStr;

use time::OffsetDateTime;
use xshield_api::Timestamp;
pub(crate) use xshield_api::relative;
use xshield_policy::duration;

/// Longer than anyone means, and short enough to keep sums of times in range, in seconds.
const CENTURY: i64 = 36_525 * 24 * 3600;

/// A duration in whole seconds: `45s`, `10min`, `12h`, `90d`, `2w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(i64);

/// Why a text is not a duration.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a duration: expected a whole number and s, min, h, d or w, e.g. 90d")]
pub(crate) struct SpanError(String);

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let written = duration::parse(text);
        let total = written.map(|(number, unit)| i64::from(number) * i64::from(unit.seconds()));
        total.filter(|total| *total <= CENTURY).map(Self).ok_or_else(|| SpanError(text.to_owned()))
    }
}

impl Span {
    /// The duration.
    pub(crate) fn seconds(self) -> i64 {
        self.0
    }

    /// The duration as an API takes it; the platform names the longest, and a longer one than can be expressed
    /// is longer than that.
    pub(crate) fn at_most_seconds(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    /// The time this long after `now`.
    pub(crate) fn after(self, now: Timestamp) -> Timestamp {
        now.plus(self.0)
    }
}

/// A point in the past: a duration ago, or an RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// A duration ago.
    Ago(Span),
    /// An absolute time.
    At(Timestamp),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = text.parse() {
            return Ok(Self::Ago(span));
        }
        let quoted = serde_json::Value::from(text);
        let at = serde_json::from_value(quoted).map_err(|_| {
            format!("{text:?} is neither a duration (1h, 7d) nor a time (2026-11-21T04:00:00Z)")
        })?;
        Ok(Self::At(at))
    }
}

impl Since {
    /// The absolute time.
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now.plus(-span.0),
            Self::At(at) => at,
        }
    }
}

/// [`relative`], or a dash.
pub(crate) fn relative_or_dash(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "-".to_owned(), |then| relative(then, now))
}

/// The time of day, in UTC, for consecutive lines.
pub(crate) fn of_day(then: Timestamp) -> String {
    match OffsetDateTime::from_unix_timestamp(then.0) {
        Ok(time) => format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()),
        Err(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (text, seconds) in [
            ("0s", 0),
            ("45s", 45),
            ("10min", 600),
            ("10m", 600),
            ("1h", 3600),
            ("90d", 7_776_000),
            ("2w", 1_209_600),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().seconds(), seconds, "{text}");
        }
        for text in [
            "",
            "5",
            "h",
            "-1h",
            "1 h",
            "1.5h",
            "1y",
            "1hh",
            "99999999999999999999d",
            "999999w",
            "１h",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn points_in_the_past_are_parsed() {
        let now = Timestamp(1_800_000_000);
        assert_eq!("1h".parse::<Since>().unwrap().at(now), Timestamp(1_799_996_400));
        assert_eq!("2027-01-15T08:00:00Z".parse::<Since>().unwrap().at(now), now);
        assert_eq!("2027-01-15T09:00:00+01:00".parse::<Since>().unwrap().at(now), now);
        for text in ["", "yesterday", "2027-01-15", "1"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_of_a_day() {
        let now = Timestamp(1_800_000_000);
        assert_eq!(relative_or_dash(None, now), "-");
        assert_eq!(of_day(now), "08:00:00");
    }

    proptest::proptest! {
        #[test]
        fn no_time_causes_a_panic(then: i64) {
            of_day(Timestamp(then));
        }
    }
}
