//! The time servers that this host is configured to use: from the files of chrony, ntpd and ntpsec,
//! systemd-timesyncd, and from DHCP as far as it is in files.
//!
//! Parsing a file is pure; [`configured`] reads the files, limited in number and size.

mod chrony;
mod files;
mod ntpd;
mod timesyncd;

use std::path::Path;

use self::files::Files;
use crate::time_server::{Keys, MOST, TimeServer};

pub use chrony::parse_chrony;
pub use ntpd::parse_ntpd;
pub use timesyncd::{Timesyncd, parse_netif, parse_timesyncd};

/// The parsed content of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedFile {
    /// Its servers, in order.
    pub servers: Vec<TimeServer>,
    /// The other files to read, in order.
    pub more: Vec<Include>,
}

/// Other files of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Include {
    /// This file, or those whose names match its last part (`*` and `?`).
    Files(String),
    /// The files in these directories with this suffix. Of files with the same name the first counts.
    Directories {
        /// The directories, the first before the others.
        paths: Vec<String>,
        /// The suffix with the dot.
        suffix: &'static str,
    },
}

/// All configured time servers, from files under `root` (`/` on a real host): sorted, without duplicates, at
/// most [`MOST`]. A program's built-in servers count only if nothing else is configured.
#[must_use]
pub fn configured(root: &Path) -> Vec<TimeServer> {
    let mut files = Files::under(root);
    for path in ["/etc/chrony.conf", "/etc/chrony/chrony.conf"] {
        files.read(path, parse_chrony);
    }
    for path in [
        "/etc/ntp.conf",
        "/etc/ntpsec/ntp.conf",
        // Written by Debian's hooks, and read by its services instead.
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
