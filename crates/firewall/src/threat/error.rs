//! Errors of the threat list in the kernel.

use super::list::Counts;
use crate::error::FirewallError;
use crate::plan::Digest;

/// Why an entry can't be read, from its reader.
pub type Unreadable = Box<dyn std::error::Error + Send + Sync>;

/// Each names the action that failed and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ThreatError {
    /// The kernel could not be read, or refused.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// The second thread could not be started.
    #[error(
        "loading a threat list: no thread could be started; nothing was changed; check the limit \
         on the number of processes"
    )]
    Thread {
        /// The error returned by the OS.
        #[source]
        source: std::io::Error,
    },
    /// The entries could not be read completely.
    #[error(
        "loading threat list {revision}: its entries can't be read; nothing was changed; fetch it again"
    )]
    Unreadable {
        /// The list's revision.
        revision: u64,
        /// The reason.
        #[source]
        source: Unreadable,
    },
    /// The number of entries differs from the announced one.
    #[error(
        "loading threat list {revision}: {named} entries were announced (hosts+prefixes of IPv4, \
         of IPv6), but it has {found}; nothing was changed; fetch it again"
    )]
    Miscounted {
        /// The list's revision.
        revision: u64,
        /// The announced numbers.
        named: Counts,
        /// The actual numbers, in the entries or in the kernel.
        found: Counts,
    },
    /// A prefix of length zero would block all of the host's traffic.
    #[error("{action}: a list that contains all addresses is refused; nothing was changed")]
    Everything {
        /// The action that failed.
        action: &'static str,
    },
    /// The list in force is not the one that the delta starts from.
    #[error(
        "changing the threat list: the delta starts from {base} but {found} is in force; nothing was changed; load the whole list"
    )]
    WrongBase {
        /// The list from which the delta starts.
        base: Digest,
        /// The list in force.
        found: Digest,
    },
    /// There is no list, or others have changed it.
    #[error("{action}: {what}; load the whole list")]
    NotInForce {
        /// The action that failed.
        action: &'static str,
        /// What was found instead.
        what: String,
    },
    /// The set in the kernel has room for fewer entries.
    #[error(
        "changing the threat list: it would have {wanted} addresses and the kernel's set has room for {room}; nothing was changed; load the whole list"
    )]
    NoRoom {
        /// Addresses after the change.
        wanted: u32,
        /// The size of the set.
        room: u32,
    },
}
