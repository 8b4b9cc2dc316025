//! The headers in which proxies name their client.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A header in which proxies name their client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Header {
    /// `X-Forwarded-For`: addresses; each proxy appends its peer.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239): elements with `for=`.
    Forwarded,
    /// `X-Real-IP`: one address, set by the proxy.
    XRealIp,
}

impl Header {
    /// Its name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::XRealIp => "x-real-ip",
        }
    }
}

/// The hops of a header's value from right to left; `None` for those that are not addresses. An empty value,
/// or `-` as logs write it, has no hops.
pub(super) fn from_right(value: &str, header: Header) -> Vec<Option<IpAddr>> {
    let value = value.trim();
    if value.is_empty() || value == "-" {
        return Vec::new();
    }
    match header {
        Header::XForwardedFor => value.rsplit(',').map(node).collect(),
        Header::XRealIp => vec![node(value)],
        Header::Forwarded => elements(value).into_iter().rev().map(for_of).collect(),
    }
}

/// An address as proxies write it: with or without a port, brackets and quotes.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"').trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(with_port) = text.parse::<SocketAddr>() {
        return Some(with_port.ip());
    }
    let inner = text.strip_prefix('[')?;
    let (inner, rest) = inner.split_once(']')?;
    // RFC 7239: the port may be obfuscated, too.
    let port = rest.is_empty() || rest.starts_with(':');
    inner.parse::<IpAddr>().ok().filter(|_| port)
}

/// The elements of a `Forwarded` header: commas inside quotes do not separate them.
fn elements(value: &str) -> Vec<&str> {
    split(value, ',')
}

/// The parts between separators that are not inside quotes.
fn split(value: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(&value[begin..at]);
                begin = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&value[begin..]);
    parts
}

/// The address in an element's `for`; `None` if there is none, or several.
fn for_of(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in split(element, ';') {
        let Some((name, value)) = pair.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("for") {
            if found.is_some() {
                return None;
            }
            found = Some(for_node(value)?);
        }
    }
    found
}

/// Like [`node`], also with an obfuscated port (`192.0.2.1:_x`).
fn for_node(value: &str) -> Option<IpAddr> {
    let bare = value.trim().trim_matches('"');
    node(bare).or_else(|| {
        let (address, port) = bare.rsplit_once(':')?;
        port.starts_with('_').then(|| address.parse().ok()).flatten()
    })
}
