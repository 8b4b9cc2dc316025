//! `203.0.113.9 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326 "ref" "agent" "forwarded"`

use std::borrow::Cow;
use std::net::IpAddr;

use super::Fields;

/// What a line says; nothing when it does not begin with an address.
pub(super) fn fields(line: &str) -> Option<Fields<'_>> {
    let (address, mut rest) = line.split_once(' ')?;
    let peer: IpAddr = address.parse().ok()?;
    let mut at = None;
    let mut quoted = Vec::new();
    while let Some(begin) = rest.find(['[', '"']) {
        let (opening, inner) = (rest.as_bytes()[begin], &rest[begin + 1..]);
        if opening == b'[' && at.is_none() && quoted.is_empty() {
            let (time, after) = inner.split_once(']')?;
            at = Some(seconds(time));
            rest = after;
        } else if opening == b'"' {
            let end = closing_quote(inner)?;
            quoted.push(&inner[..end]);
            rest = &inner[end + 1..];
        } else {
            rest = inner;
        }
    }
    // Without a time it is another kind of line that begins with an address.
    let at = at?;
    let request = quoted.first().map(|request| request.trim().to_owned());
    // Request, referer, agent, and then the header.
    let forwarded = quoted.get(3).map(|value| unescaped(value)).into_iter().collect();
    Some(Fields { peer, forwarded, at, request: request.filter(|text| !text.is_empty()) })
}

/// Where the quote ends: servers write quotes of clients as `\"` or `\x22`.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// Quotes as they were sent.
fn unescaped(text: &str) -> Cow<'_, str> {
    if text.contains('\\') {
        Cow::Owned(text.replace("\\x22", "\"").replace("\\\"", "\""))
    } else {
        Cow::Borrowed(text)
    }
}

/// `10/Oct/2000:13:55:36 -0700`, in seconds since 1970.
fn seconds(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (time, zone) = text.split_once(' ')?;
    let mut parts = time.splitn(3, '/');
    let day: i64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|known| *known == month)? as i64 + 1;
    let mut clock = parts.next()?.split(':');
    let mut number = || clock.next()?.parse::<i64>().ok();
    let (year, hour, minute, second) = (number()?, number()?, number()?, number()?);
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let zone: i64 = zone.get(1..5)?.parse().ok()?;
    let offset = sign * (zone / 100 * 3600 + zone % 100 * 60);
    let in_range = (1970..=9999).contains(&year)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !in_range {
        return None;
    }
    let total = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    u64::try_from(total).ok()
}

/// Days since 1970-01-01 of a date in the Gregorian calendar.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
