//! JSON objects with the names that nginx's examples, Caddy and Traefik use.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::combined::days;
use super::{Fields, Header, texts};

/// What a line says; nothing when it is no object with an address at a known place.
pub(super) fn fields(line: &str, header: Header) -> Option<Fields<'static>> {
    let value: Value = serde_json::from_str(line).ok()?;
    if !value.is_object() {
        return None;
    }
    // Who spoke to the server, never who it says it is: Caddy's `client_ip`, for one, is derived.
    let places = ["/remote_addr", "/request/remote_ip", "/ClientHost", "/ClientAddr", "/remote_ip"];
    let peer = places.iter().find_map(|place| address(value.pointer(place)?.as_str()?))?;
    Some(Fields {
        peer,
        forwarded: forwarded(&value, header).into_iter().map(Cow::Owned).collect(),
        at: time(&value),
        request: request(&value),
    })
}

fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))
}

/// The header's values: nginx `http_x_forwarded_for`, Caddy `request.headers`, Traefik `request_…`.
fn forwarded(value: &Value, header: Header) -> Vec<String> {
    let plain = header.name().replace('-', "_");
    for name in [format!("http_{plain}"), plain] {
        if let Some(found) = value.get(&name) {
            return texts(found);
        }
    }
    let named = |fields: &Value, prefix: &str| {
        let fields = fields.as_object()?;
        fields.iter().find_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            (name.strip_prefix(prefix) == Some(header.name())).then(|| texts(value))
        })
    };
    let caddy = value.pointer("/request/headers").and_then(|headers| named(headers, ""));
    caddy.or_else(|| named(value, "request_")).or_else(|| named(value, "")).unwrap_or_default()
}

fn request(value: &Value) -> Option<String> {
    let text = |place: &str| value.pointer(place).and_then(Value::as_str);
    let pair = |method: &str, path: &str| Some(format!("{} {}", text(method)?, text(path)?));
    text("/request")
        .map(str::to_owned)
        .or_else(|| pair("/request/method", "/request/uri"))
        .or_else(|| pair("/RequestMethod", "/RequestPath"))
        .or_else(|| pair("/request_method", "/request_uri"))
        .or_else(|| pair("/method", "/uri"))
}

fn time(value: &Value) -> Option<u64> {
    for place in ["ts", "msec", "time_iso8601", "StartUTC", "time", "timestamp", "@timestamp"] {
        let found = match value.get(place) {
            Some(Value::Number(number)) => number.as_f64().and_then(unix),
            Some(Value::String(text)) => rfc3339(text).or_else(|| unix(text.parse().ok()?)),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Seconds, or milliseconds, since 1970.
fn unix(number: f64) -> Option<u64> {
    let seconds = if number > 1e11 { number / 1000.0 } else { number };
    // Casts of floats saturate; what is out of range was ruled out.
    (0.0..2.6e11).contains(&seconds).then_some(seconds as u64)
}

/// `2026-11-21T04:00:00Z`, with fractions and offsets.
fn rfc3339(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let bytes = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| bytes.get(*at) != Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !in_range {
        return None;
    }
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes().first() {
        None | Some(b'Z' | b'z') => 0,
        Some(sign @ (b'+' | b'-')) => {
            let hours: i64 = zone.get(1..3)?.parse().ok()?;
            let minutes: i64 = zone.get(zone.len().checked_sub(2)?..)?.parse().ok()?;
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'+' { offset } else { -offset }
        }
        Some(_) => return None,
    };
    let total = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    u64::try_from(total).ok()
}
