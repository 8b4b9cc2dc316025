//! Communication paths from the kernel's connection table, watched live.
//!
//! The kernel sends a message for each connection that begins or ends, so that short ones are seen, too;
//! counters come with the end, and from the kernel's list for open ones. The kernel tracks connections where
//! a rule of any table asks for their state, and counts where `nf_conntrack_acct` is on, see [`Accounting`].
//!
//! Messages that do not fit the socket's buffer are lost: a listener that asks the kernel to keep them
//! (`NETLINK_BROADCAST_ERROR`) fills the connection table when it stalls, and then the host drops packets.
//! Losses are counted, and the list is read again.

mod message;
mod monitor;
mod paths;
mod watched;

use std::path::Path as FilePath;
use std::{fs, io};

use super::netlink::Messages;

pub use message::{Connection, Counters, Event, Phase, Tuple};
pub use monitor::{Activity, ConntrackError, Monitor, Report, Settings};
pub use paths::{ConnectionDirection, Drained, Limits, Path, PathKey, Paths};

/// Whether the kernel counts packets and bytes of connections. It starts with connections opened after it was
/// switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounting {
    /// It counts.
    On,
    /// It doesn't: paths have connection counts, but no bytes.
    Off,
    /// The setting does not exist: the kernel's connection tracking is not loaded.
    Missing,
}

const SWITCH: &str = "/proc/sys/net/netfilter/nf_conntrack_acct";

impl Accounting {
    /// Reads the setting of this network namespace.
    #[must_use]
    pub fn read() -> Self {
        match fs::read_to_string(SWITCH) {
            Ok(text) if text.trim() == "0" => Self::Off,
            Ok(_) => Self::On,
            Err(_) => Self::Missing,
        }
    }

    /// Switches counting on. This affects the whole network namespace, so do it only if an operator has
    /// requested it.
    ///
    /// # Errors
    /// Without the privilege, or when `/proc/sys` is read-only.
    pub fn switch_on() -> io::Result<()> {
        fs::write(SWITCH, "1")
    }
}

/// For how many seconds the kernel keeps an idle TCP connection.
#[must_use]
pub fn established_timeout() -> u32 {
    /// Linux's default, five days, if connection tracking is not loaded yet.
    const DEFAULT: u32 = 432_000;
    let path = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established";
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT)
}

/// The number of entries in the kernel's connection table, and the limit beyond which it drops packets.
#[must_use]
pub fn fullness() -> Option<(u64, u64)> {
    let number = |name: &str| -> Option<u64> {
        let path = FilePath::new("/proc/sys/net/netfilter").join(name);
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    Some((number("nf_conntrack_count")?, number("nf_conntrack_max")?))
}

/// The events in one datagram of the kernel; other messages are ignored.
pub fn events(datagram: &[u8]) -> impl Iterator<Item = Event> {
    Messages(datagram).filter_map(|message| Event::read(&message))
}
