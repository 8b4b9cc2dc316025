//! Points in time, and their forms in the API and for people.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time: seconds since 1970-01-01 UTC internally, RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The current time, for use at the edges. Logic takes the time as an argument.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// The time in the form of hosts; times before 1970 become 1970.
    #[must_use]
    pub fn unix(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }

    /// A time from a host; out-of-range times become the last possible one.
    #[must_use]
    pub fn from_unix(seconds: u64) -> Self {
        Self(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    /// `seconds` later.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// The time in RFC 3339; out-of-range times become the last possible one.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let bounded = self.0.clamp(0, 253_402_300_799);
        OffsetDateTime::from_unix_timestamp(bounded)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_default()
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| {
            de::Error::custom(format!(
                "{text:?} is not an RFC 3339 time, e.g. 2026-11-21T04:00:00Z"
            ))
        })?;
        Ok(Self(time.unix_timestamp()))
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

/// A time relative to `now`: `3 min ago`, `in 12 days`; distant ones as a date.
#[must_use]
pub fn relative(then: Timestamp, now: Timestamp) -> String {
    let distance = now.0.saturating_sub(then.0);
    // What was set to expire in an hour still shows so a moment later.
    let slack = if distance < -60 { 30 } else { 0 };
    let long = match distance.unsigned_abs().saturating_add(slack) {
        0..5 => return "now".to_owned(),
        seconds @ 5..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds @ 172_800..8_640_000 => format!("{} days", seconds / 86_400),
        _ => return date(then),
    };
    if distance > 0 { format!("{long} ago") } else { format!("in {long}") }
}

fn date(then: Timestamp) -> String {
    let text = then.to_rfc3339();
    text.split_once('T').map_or(text.clone(), |(date, _)| date.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_relative_to_now() {
        let now = Timestamp(1_800_000_000);
        for (seconds, text) in [
            (0, "now"),
            (4, "now"),
            (5, "5 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (200, "3 min ago"),
            (3_599, "59 min ago"),
            (3_600, "1 h ago"),
            (172_799, "47 h ago"),
            (172_800, "2 days ago"),
            (8_640_000, "2026-10-07"),
            (-3, "now"),
            (-80, "in 1 min"),
            (-3_590, "in 1 h"),
            (-7_776_000, "in 90 days"),
            (-31_536_000, "2028-01-15"),
        ] {
            assert_eq!(relative(now.plus(-seconds), now), text, "{seconds}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_time_causes_a_panic(then: i64, now: i64) {
            drop(relative(Timestamp(then), Timestamp(now)));
        }
    }
}
