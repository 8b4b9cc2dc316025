//! Times in feeds.

/// The Unix seconds of RFC 3339 (`2026-11-21T06:00:00.5Z`, also with a space for the `T`, and with no zone or
/// ` UTC` for UTC), of a date (the end of that day in UTC), or of a plain number of seconds. Fractions are
/// dropped. `None` for anything else, and for times before 1970.
#[must_use]
pub fn unix_seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.len() > 5 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (date, rest) = text.split_at_checked(10)?;
    let midnight = days(date)? * DAY;
    let Some(first) = rest.bytes().next() else { return u64::try_from(midnight + DAY).ok() };
    if !matches!(first, b'T' | b't' | b' ') {
        return None;
    }
    let (clock, zone) = rest[1..].split_at_checked(8)?;
    u64::try_from(midnight + seconds(clock)? - offset(without_fraction(zone)?)?).ok()
}

const DAY: i64 = 86_400;

/// Days from 1970-01-01 to `YYYY-MM-DD`.
fn days(date: &str) -> Option<i64> {
    let [year, month, day] = numbers(date, b'-', [4, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if leap { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let at = usize::try_from(month).ok()?.checked_sub(1)?;
    if day < 1 || day > *lengths.get(at)? {
        return None;
    }
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400 - 477;
    let in_year: i64 = lengths[..at].iter().sum();
    Some((year - 1970) * 365 + leap_days + in_year + day - 1)
}

/// Seconds of `HH:MM:SS`; a leap second counts as the following one.
fn seconds(clock: &str) -> Option<i64> {
    let [hours, minutes, seconds] = numbers(clock, b':', [2, 2, 2])?;
    let fits = hours < 24 && minutes < 60 && seconds <= 60;
    fits.then_some(hours * 3600 + minutes * 60 + seconds)
}

fn without_fraction(text: &str) -> Option<&str> {
    let Some(fraction) = text.strip_prefix('.') else { return Some(text) };
    let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < fraction.len()).then_some(rest)
}

/// How many seconds a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z" | " UTC" | " Z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let [hours, minutes] = numbers(rest, b':', [2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Decimal numbers of fixed widths.
fn numbers<const N: usize>(text: &str, separator: u8, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(char::from(separator));
    let mut found = [0; N];
    for (number, width) in found.iter_mut().zip(widths) {
        let part = parts.next()?;
        let digits = part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = digits.then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;
    use time::{OffsetDateTime, UtcOffset};

    use super::*;

    proptest! {
        #[test]
        fn times_agree_with_the_time_crate(
            seconds in 0i64..253_402_200_000,
            nanos in 0u32..1_000_000_000,
            minutes in -1439i32..1440,
        ) {
            let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nanos);
            let zone = UtcOffset::from_whole_seconds(minutes * 60).unwrap();
            let Some(there) = at.unwrap().checked_to_offset(zone) else { return Ok(()) };
            let Ok(text) = there.format(&Rfc3339) else { return Ok(()) };
            prop_assert_eq!(unix_seconds(&text), u64::try_from(seconds).ok(), "{}", text);
        }

        #[test]
        fn any_text_is_refused_or_read(text: String) {
            if let Some(seconds) = unix_seconds(&text) {
                prop_assert_eq!(unix_seconds(&format!("{seconds:0>6}")), Some(seconds));
            }
        }
    }

    #[test]
    fn times_are_read_strictly() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-21T06:07:08Z", Some(1_795_241_228)),
            ("2026-11-21t06:07:08.999999z", Some(1_795_241_228)),
            ("2026-11-21T07:37:08+01:30", Some(1_795_241_228)),
            ("2026-11-20T23:07:08-07:00", Some(1_795_241_228)),
            ("2026-11-21 06:07:08", Some(1_795_241_228)),
            ("2026-11-21 06:07:08 UTC", Some(1_795_241_228)),
            (" 2026-11-21T06:07:08 ", Some(1_795_241_228)),
            ("1795241228", Some(1_795_241_228)),
            ("2000-02-29", Some(951_868_800)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400)),
            ("9999-12-31T23:59:59.999Z", Some(253_402_300_799)),
            ("1969-12-31T23:59:59Z", None),
            ("2026-02-29", None),
            ("2026-13-01", None),
            ("2026-00-01", None),
            ("2026-01-00", None),
            ("2026-11-21T24:00:00Z", None),
            ("2026-11-21T06:07Z", None),
            ("2026-11-21T06:07:08.Z", None),
            ("2026-11-21T06:07:08 CET", None),
            ("2026-11-21T06:07:08+1:00", None),
            ("21.11.2026", None),
            ("2026-1-1", None),
            ("20261", None),
            ("soon", None),
            ("", None),
            ("2026-11-2é", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(unix_seconds(text), expected, "{text:?}");
        }
    }
}
