//! The addresses of the platform and the proxies.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Expected `host:port`.
    #[error(
        "{0:?} is not an address: expected host:port, e.g. proxy.example.com:3128 or [2001:db8::1]:3128"
    )]
    Endpoint(String),
    /// Not a valid platform URL.
    #[error(
        "{0:?} is not the platform's URL: expected https://host or https://host:port and nothing more"
    )]
    Url(String),
}

/// A host, by name or address, and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Endpoint {
    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address; `None` for a name.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Address(address) => Some(SocketAddr::new(address, self.port)),
            Host::Name(_) => None,
        }
    }

    /// The name; `None` for an address.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Address(_) => None,
            Host::Name(name) => Some(name),
        }
    }

    /// The host as URLs write it: IPv6 addresses in brackets.
    pub(crate) fn url_host(&self) -> String {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let host = Host::Address(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?));
            let port = match port {
                "" => default_port?,
                port => parse_port(port.strip_prefix(':')?)?,
            };
            return Some(Self { host, port });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, parse_port(port)?),
            None => (text, default_port?),
        };
        Some(Self { host: parse_host(host)?, port })
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&port| plain && port != 0)
}

fn parse_host(text: &str) -> Option<Host> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Host::Address(address));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // A name that ends in a number is a mistyped address (WHATWG URL, "ends in a number").
    let numeric =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    let valid = name.len() <= 253 && name.split('.').all(label) && !numeric;
    valid.then_some(Host::Name(name))
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::parse(text, None).ok_or_else(|| EndpointError::Endpoint(text.to_owned()))
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Address(address.ip()), port: address.port() }
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        endpoint.to_string()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.url_host(), self.port)
    }
}

/// The URL `https://host[:port]` without path, user or anything else. The default port is 443.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlatformUrl(Endpoint);

impl PlatformUrl {
    /// Host and port.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.0
    }
}

impl FromStr for PlatformUrl {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let rest = text.trim().strip_prefix("https://");
        let rest = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let endpoint = rest.and_then(|rest| Endpoint::parse(rest, Some(443)));
        endpoint.map(Self).ok_or_else(|| EndpointError::Url(text.to_owned()))
    }
}

impl TryFrom<String> for PlatformUrl {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<PlatformUrl> for String {
    fn from(url: PlatformUrl) -> String {
        url.to_string()
    }
}

impl fmt::Display for PlatformUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_urls() {
        let table = [
            ("https://platform.example.com", Some("https://platform.example.com:443")),
            ("https://Platform.example.com.:8443/", Some("https://platform.example.com:8443")),
            ("https://192.0.2.1:8443", Some("https://192.0.2.1:8443")),
            ("https://[2001:db8::1]", Some("https://[2001:db8::1]:443")),
            ("http://platform.example.com", None),
            ("platform.example.com", None),
            ("https://", None),
            ("https://a:0", None),
            ("https://a:65536", None),
            ("https://a:+443", None),
            ("https://a/path", None),
            ("https://a?query", None),
            ("https://user:secret@a", None),
            ("https://2001:db8::1", None),
            ("https://192.0.2.256", None),
            ("https://a b", None),
        ];
        for (text, expected) in table {
            let got = text.parse::<PlatformUrl>().ok().map(|url| url.to_string());
            assert_eq!(got.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn endpoints() {
        for text in ["proxy:3128", "192.0.2.1:1", "[::1]:65535", "a_b.example.com:80"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in ["proxy", ":80", "[::1]", "[::1]80", "::1:80", "-a:80", "a..b:80", "a:80:90"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
