//! Which addresses the platform may connect to under a name that others control.
//!
//! Without it, the operator of a feed (or of its DNS, or of a redirecting page) could make the platform send
//! requests to its own network: cloud metadata, admin interfaces, other tenants.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use url::{Host, Url};

/// The allowed addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Addresses of the internet.
    Internet,
    /// Also private ranges and this machine.
    Private,
}

/// Why an address is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is at {address}, {what}; {}", .what.advice())]
pub struct Refused {
    name: String,
    address: IpAddr,
    what: Kind,
}

/// The kind of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loopback,
    Private,
    /// Never allowed.
    Metadata,
    LinkLocal,
    Special,
}

impl Kind {
    fn advice(self) -> &'static str {
        match self {
            Self::Loopback | Self::Private => {
                "if that is intended, an admin must allow private addresses"
            }
            Self::Metadata | Self::LinkLocal | Self::Special => {
                "connections to it are never allowed"
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "this machine itself",
            Self::Private => "a private address",
            Self::Metadata => "a cloud metadata service",
            Self::LinkLocal => "a link-local address",
            Self::Special => "a special-use address",
        })
    }
}

impl Reach {
    /// Refuses an address that is not allowed.
    ///
    /// # Errors
    /// [`Refused`], with the `name` that resolved to it.
    pub fn check(self, name: &str, address: IpAddr) -> Result<(), Refused> {
        let refused = match (kind(address), self) {
            (None, _) | (Some(Kind::Loopback | Kind::Private), Self::Private) => return Ok(()),
            (Some(what), _) => what,
        };
        Err(Refused { name: name.to_owned(), address, what: refused })
    }
}

/// The kind of a special address; `None` for those of the internet.
fn kind(address: IpAddr) -> Option<Kind> {
    match address.to_canonical() {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Option<Kind> {
    let [a, b, c, _] = address.octets();
    let metadata = [
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(169, 254, 170, 2),
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(192, 0, 0, 192),
        Ipv4Addr::new(168, 63, 129, 16),
    ];
    if metadata.contains(&address) {
        return Some(Kind::Metadata);
    }
    match (a, b, c) {
        (127, ..) => Some(Kind::Loopback),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Some(Kind::Private),
        (169, 254, _) => Some(Kind::LinkLocal),
        (0 | 224.., ..) | (192, 0, 0) | (198, 18..=19, _) => Some(Kind::Special),
        _ => None,
    }
}

fn kind_v6(address: Ipv6Addr) -> Option<Kind> {
    if address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254) {
        return Some(Kind::Metadata);
    }
    let part = address.segments();
    let low = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match part {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Kind::Loopback),
        // Decided by the embedded IPv4 address: NAT64 (RFC 6052), 6to4 (RFC 3056).
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] => kind_v4(low(a, b)),
        [0x2002, a, b, ..] => kind_v4(low(a, b)),
        // IPv4-compatible, local NAT64, Teredo.
        [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => Some(Kind::Special),
        [first, ..] => match first {
            0xfc00..=0xfdff => Some(Kind::Private),
            0xfe80..=0xfebf => Some(Kind::LinkLocal),
            0xfec0..=0xfeff => Some(Kind::Private),
            0xff00.. => Some(Kind::Special),
            _ => None,
        },
    }
}

/// Resolves names, and refuses those with an address that is not allowed. Connections only use its results.
#[derive(Debug)]
pub struct Guarded {
    reach: Reach,
    /// Configured by an operator: it may have any address.
    proxy: Option<(String, u16)>,
    names: DefaultResolver,
}

impl Guarded {
    /// For this reach, through this proxy.
    #[must_use]
    pub fn new(reach: Reach, proxy: Option<&Url>) -> Self {
        let place = |url: &Url| {
            Some((url.host_str()?.to_owned(), url.port_or_known_default().unwrap_or(80)))
        };
        Self { reach, proxy: proxy.and_then(place), names: DefaultResolver::default() }
    }

    /// Refuses a server behind the proxy as far as can be told from here. The proxy resolves its name
    /// independently: refusing the result is up to the proxy.
    ///
    /// # Errors
    /// When the name is, or resolves here to, an address that is not allowed.
    pub fn check_behind_proxy(&self, url: &Url) -> Result<(), ureq::Error> {
        let name = url.host_str().unwrap_or_default();
        let addresses: Vec<IpAddr> = match url.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => {
                let found = (name, 443).to_socket_addrs().into_iter().flatten();
                found.map(|address| address.ip()).collect()
            }
            None => Vec::new(),
        };
        self.check(name, addresses.into_iter())
    }

    fn check(
        &self,
        name: &str,
        mut addresses: impl Iterator<Item = IpAddr>,
    ) -> Result<(), ureq::Error> {
        let checked = addresses.try_for_each(|address| self.reach.check(name, address));
        checked.map_err(|refused| ureq::Error::Other(Box::new(refused)))
    }
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.names.resolve(uri, config, timeout)?;
        let name = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(80);
        let is_proxy = self.proxy.as_ref().is_some_and(|(host, at)| host == name && *at == port);
        if !is_proxy {
            self.check(name, found.iter().map(|address| address.ip()))?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_is_reached_unless_private_addresses_are_allowed() {
        for (addresses, internet, private) in [
            (
                &["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"][..],
                true,
                true,
            ),
            (
                &[
                    "127.0.0.1",
                    "127.9.9.9",
                    "::1",
                    "::ffff:127.0.0.1",
                    "10.0.0.1",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "100.64.0.1",
                    "fd00::1",
                    "::ffff:10.0.0.1",
                    "64:ff9b::a00:1",
                    "2002:a00:1::1",
                ],
                false,
                true,
            ),
            (
                &[
                    "169.254.169.254",
                    "::ffff:169.254.169.254",
                    "fd00:ec2::254",
                    "169.254.1.1",
                    "fe80::1",
                    "0.0.0.0",
                    "224.0.0.1",
                    "255.255.255.255",
                    "240.0.0.1",
                    "::",
                    "ff02::1",
                    "192.0.0.192",
                    "100.100.100.200",
                    "168.63.129.16",
                    "198.18.0.1",
                    "::1.2.3.4",
                    "2001::1",
                    "64:ff9b:1::1",
                    "64:ff9b::a9fe:a9fe",
                ],
                false,
                false,
            ),
        ] {
            for text in addresses {
                let address = text.parse().unwrap();
                assert_eq!(Reach::Internet.check("n", address).is_ok(), internet, "{text}");
                assert_eq!(Reach::Private.check("n", address).is_ok(), private, "{text}");
            }
        }
    }

    #[test]
    fn behind_a_proxy_names_of_this_machine_are_refused() {
        let proxy = "http://proxy.example:3128".parse().unwrap();
        let guarded = Guarded::new(Reach::Internet, Some(&proxy));
        for (url, good) in [
            ("https://93.184.215.14/", true),
            ("https://127.0.0.1/", false),
            // The URL parser normalizes these.
            ("https://0x7f.1/", false),
            ("https://2130706433/", false),
            ("https://[::ffff:169.254.169.254]/", false),
            ("https://localhost/", false),
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!(guarded.check_behind_proxy(&url).is_ok(), good, "{url}");
        }
    }
}
