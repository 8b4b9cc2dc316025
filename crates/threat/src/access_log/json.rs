//! JSON objects with the names that nginx's examples, Caddy, Traefik, Envoy (Istio) and Cloudflare use.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::{Fields, Header, texts, times};

/// The fields of a line; `None` if it is not an object with an address in a known field.
pub(super) fn fields(line: &str, header: Header) -> Option<Fields<'static>> {
    let value: Value = serde_json::from_str(line).ok()?;
    if !value.is_object() {
        return None;
    }
    // The server's peer, never a claimed one: Caddy's `client_ip` and Traefik's `ClientHost` come from the
    // header.
    let places = [
        "/remote_addr",
        "/request/remote_ip",
        "/request/remote_addr",
        "/ClientAddr",
        "/downstream_direct_remote_address",
        "/downstream_remote_address",
        "/ClientIP",
        "/remote_ip",
    ];
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
        .or_else(|| pair("/ClientRequestMethod", "/ClientRequestURI"))
        .or_else(|| pair("/method", "/uri"))
        .or_else(|| pair("/method", "/path"))
}

/// The first of the known names that exists.
fn time(value: &Value) -> Option<u64> {
    let names = [
        "ts",
        "msec",
        "time_iso8601",
        "time_local",
        "StartUTC",
        "start_time",
        "EdgeStartTimestamp",
        "time",
        "timestamp",
        "@timestamp",
    ];
    match names.iter().find_map(|name| value.get(name))? {
        Value::Number(number) => number.as_f64().and_then(times::since_1970),
        Value::String(text) => times::any(text),
        _ => None,
    }
}
