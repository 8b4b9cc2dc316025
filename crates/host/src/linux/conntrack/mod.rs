//! Who talks to whom: the kernel's connection table, watched live.
//!
//! A message for each connection that begins and for each that ends tells of short ones, too; the
//! counters come with the end, and from the kernel's list for those that stay open. The kernel tracks
//! connections where a rule of any table asks for their state, and counts where `nf_conntrack_acct` is
//! on, see [`Accounting`].
//!
//! Messages that find no room are lost, not kept back: a listener that asks the kernel to keep them
//! (`NETLINK_BROADCAST_ERROR`) fills the connection table when it stalls, and then the host drops
//! packets. Losses are counted, and the list is read again.

mod message;
mod monitor;
mod paths;
mod watched;

use std::path::Path as FilePath;
use std::{fs, io};

use super::netlink::Messages;

pub use message::{Connection, Counters, Event, Phase, Tuple};
pub use monitor::{Activity, ConntrackError, Monitor, Report, Settings};
pub use paths::{Drained, Limits, Path, PathKey, Paths, Way};

/// Whether the kernel counts packets and bytes of connections. It begins with connections that are made
/// after it was switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounting {
    /// It counts.
    On,
    /// It doesn't: paths have connections, and no bytes.
    Off,
    /// The switch is not there; the kernel's connection tracking is not loaded.
    Missing,
}

const SWITCH: &str = "/proc/sys/net/netfilter/nf_conntrack_acct";

impl Accounting {
    /// Of this network namespace.
    #[must_use]
    pub fn read() -> Self {
        match fs::read_to_string(SWITCH) {
            Ok(text) if text.trim() == "0" => Self::Off,
            Ok(_) => Self::On,
            Err(_) => Self::Missing,
        }
    }

    /// Switches counting on. A setting of the whole network namespace: only for an operator who said so.
    ///
    /// # Errors
    /// Without the privilege, or when `/proc/sys` is read-only.
    pub fn switch_on() -> io::Result<()> {
        fs::write(SWITCH, "1")
    }
}

/// For how many seconds the kernel remembers a TCP connection on which nothing is said.
#[must_use]
pub fn established_timeout() -> u32 {
    /// Linux's own choice, five days, where connection tracking is not loaded yet.
    const DEFAULT: u32 = 432_000;
    let path = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established";
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT)
}

/// How full the kernel's connection table is: entries, and how many it takes before it drops packets.
#[must_use]
pub fn fullness() -> Option<(u64, u64)> {
    let number = |name: &str| -> Option<u64> {
        let path = FilePath::new("/proc/sys/net/netfilter").join(name);
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    Some((number("nf_conntrack_count")?, number("nf_conntrack_max")?))
}

/// The events of one datagram of the kernel. What is no event of a connection is left out.
pub fn events(datagram: &[u8]) -> impl Iterator<Item = Event> {
    Messages(datagram).filter_map(|message| Event::read(&message))
}
