//! A time server that a host is configured to use.

use std::net::IpAddr;

use xshield_policy::DomainName;

/// The most servers used; no host is configured with more.
pub const MOST: usize = 64;

/// A time server, as a configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeServer {
    /// Its address or name.
    pub place: Place,
    /// How its answers are authenticated.
    pub keys: Keys,
}

/// The address or name of a time server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// This address.
    Address(IpAddr),
    /// The addresses of this name, as a program on this host would resolve it.
    Name(DomainName),
}

/// How a server's answers are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keys {
    /// Not, or with keys that the host already has.
    None,
    /// With keys that it gets from the server first: NTS (RFC 8915).
    Nts,
}

impl TimeServer {
    /// `None` for what is neither an address nor a name, and for a clock on this host.
    pub(crate) fn new(text: &str, keys: Keys) -> Option<Self> {
        let bare = text.split_once('%').map_or(text, |(address, _scope)| address);
        let place = match bare.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if address.is_loopback() || address.is_unspecified() => return None,
            Ok(address) => Place::Address(address.to_canonical()),
            Err(_) => Place::Name(DomainName::try_from(text.to_owned()).ok()?),
        };
        Some(Self { place, keys })
    }
}
