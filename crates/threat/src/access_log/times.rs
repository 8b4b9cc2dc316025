//! Times of access logs.

use crate::feed::unix_seconds;

/// `10/Oct/2000:13:55:36 -0700`, in seconds since 1970. Fractions are dropped; a time without a zone
/// (HAProxy's) counts as UTC.
pub(super) fn of_day(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (time, zone) = text.split_once(' ').unwrap_or((text, "+0000"));
    let [day, month, rest]: [&str; 3] = time.splitn(3, '/').collect::<Vec<_>>().try_into().ok()?;
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    let (year, clock) = rest.split_once(':')?;
    let (hours, minutes) = zone.split_at_checked(3)?;
    unix_seconds(&format!("{year}-{month:02}-{day}T{clock}{hours}:{minutes}"))
}

/// A time in a JSON log: RFC 3339, the format of [`of_day`], or a number since 1970.
pub(super) fn any(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.parse() {
        Ok(number) => since_1970(number),
        Err(_) => unix_seconds(text).or_else(|| of_day(text)),
    }
}

/// Seconds, milliseconds, microseconds or nanoseconds since 1970: seconds have at most twelve digits.
pub(super) fn since_1970(number: f64) -> Option<u64> {
    const YEAR_9999: f64 = 253_402_300_800.0;
    let steps = [1.0, 1e3, 1e6, 1e9].into_iter();
    let seconds = steps.map(|step| number / step).find(|seconds| *seconds < YEAR_9999)?;
    // A cast of what is in the bounds is exact but for the fraction.
    (seconds >= 0.0).then_some(seconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_or_refused() {
        for (text, expected) in [
            ("10/Oct/2000:13:55:36 -0700", Some(971_211_336)),
            ("06/Feb/2009:12:14:14.655", Some(1_233_922_454)),
            ("06/Feb/2009:12:14:14 +0000", Some(1_233_922_454)),
            ("29/Feb/2009:12:14:14 +0000", None),
            ("06/Fab/2009:12:14:14 +0000", None),
            ("06/Feb/2009:25:14:14 +0000", None),
            ("6/Feb/2009:12:14:14", None),
            ("06/Feb/2009", None),
            ("2026-11-21T04:00:00.5Z", Some(1_795_233_600)),
            ("1795233600.25", Some(1_795_233_600)),
            ("1795233600250", Some(1_795_233_600)),
            ("1795233600250000", Some(1_795_233_600)),
            ("1795233600250000000", Some(1_795_233_600)),
            ("-5", None),
            ("NaN", None),
            ("inf", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(any(text), expected, "{text:?}");
        }
    }
}
