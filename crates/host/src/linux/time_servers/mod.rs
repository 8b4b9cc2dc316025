//! Which time servers this host is configured to ask: chrony, ntpd and ntpsec, systemd-timesyncd, and
//! what DHCP told them, as far as files say so.
//!
//! Reading the text of a file is pure; [`configured`] goes through the files, in bounded number and size.

mod chrony;
mod files;
mod ntpd;
mod timesyncd;

use std::net::IpAddr;
use std::path::Path;

use xshield_policy::DomainName;

use self::files::Files;

pub use chrony::parse_chrony;
pub use ntpd::parse_ntpd;
pub use timesyncd::{Timesyncd, parse_netif, parse_timesyncd};

/// Servers that are looked at; no host is configured with more.
pub const MOST: usize = 64;

/// A time server, as a configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeServer {
    /// Where it is.
    pub place: Place,
    /// How its answers are authenticated.
    pub keys: Keys,
}

/// Where a time server is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At this address.
    Address(IpAddr),
    /// At the addresses of this name, as a program on this host would resolve it.
    Name(DomainName),
}

/// How a server's answers are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keys {
    /// Not, or with keys that the host has already.
    None,
    /// With keys that it gets from the server first: NTS (RFC 8915).
    Nts,
}

/// What the text of a configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// Its servers, in order.
    pub servers: Vec<TimeServer>,
    /// Where to read on, in order.
    pub more: Vec<More>,
}

/// Other files of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum More {
    /// This file, or those whose names match its last part (`*` and `?`).
    Files(String),
    /// The files in these directories whose names end so. Of files with one name the first counts.
    Directories {
        /// The directories, the first before the others.
        paths: Vec<String>,
        /// With the dot.
        suffix: &'static str,
    },
}

impl TimeServer {
    /// `None` for what is neither an address nor a name, and for a clock on this host.
    fn new(text: &str, keys: Keys) -> Option<Self> {
        let bare = text.split_once('%').map_or(text, |(address, _scope)| address);
        let place = match bare.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if address.is_loopback() || address.is_unspecified() => return None,
            Ok(address) => Place::Address(address.to_canonical()),
            Err(_) => Place::Name(DomainName::try_from(text.to_owned()).ok()?),
        };
        Some(Self { place, keys })
    }
}

/// Everything that this host is configured with, by files under `root` (`/` on a real host): sorted,
/// each once, at most [`MOST`]. What a program was built with counts where nothing else is configured.
#[must_use]
pub fn configured(root: &Path) -> Vec<TimeServer> {
    let mut files = Files::under(root);
    for path in ["/etc/chrony.conf", "/etc/chrony/chrony.conf"] {
        files.read(path, parse_chrony);
    }
    for path in [
        "/etc/ntp.conf",
        "/etc/ntpsec/ntp.conf",
        // What Debian's hooks write, and its services read in their place.
        "/run/ntp.conf.dhcp",
        "/run/ntpsec/ntp.conf.dhcp",
    ] {
        files.read(path, parse_ntpd);
    }
    timesyncd::read(&mut files);
    files.servers()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
