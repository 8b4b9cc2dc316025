//! What can go wrong with the threat list in the kernel.

use super::list::Counts;
use crate::error::FirewallError;
use crate::plan::Digest;

/// Why an entry can't be read, from whoever reads it.
pub type Unreadable = Box<dyn std::error::Error + Send + Sync>;

/// Each names the action that failed and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ThreatError {
    /// The kernel could not be asked, or refused.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// No second thread could be started.
    #[error(
        "loading a threat list: no thread could be started; nothing was changed; see the limit of processes"
    )]
    Thread {
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The entries could not be read to their end.
    #[error(
        "loading threat list {revision}: its entries can't be read; nothing was changed; fetch it again"
    )]
    Unreadable {
        /// The list's revision.
        revision: u64,
        /// Why not.
        #[source]
        source: Unreadable,
    },
    /// The entries are not those that were announced.
    #[error(
        "loading threat list {revision}: it names {named} entries (hosts+prefixes of IPv4, of IPv6) and has {found}; nothing was changed; fetch it again"
    )]
    Miscounted {
        /// The list's revision.
        revision: u64,
        /// What its name says.
        named: Counts,
        /// What came, or what the kernel holds of it.
        found: Counts,
    },
    /// A prefix of length zero would cut the host off from everything.
    #[error("{action}: a list that contains all addresses is refused; nothing was changed")]
    Everything {
        /// What was tried.
        action: &'static str,
    },
    /// The list in force is not the one that the delta starts from.
    #[error(
        "changing the threat list: the delta starts from {base} but {found} is in force; nothing was changed; load the whole list"
    )]
    WrongBase {
        /// Where the delta starts.
        base: Digest,
        /// What is in force.
        found: Digest,
    },
    /// No list, or one that others have changed.
    #[error("{action}: {what}; load the whole list")]
    NotInForce {
        /// What was tried.
        action: &'static str,
        /// What stands there instead.
        what: String,
    },
    /// The set in the kernel was made for fewer entries.
    #[error(
        "changing the threat list: it would have {wanted} addresses and the kernel's set has room for {room}; nothing was changed; load the whole list"
    )]
    NoRoom {
        /// Addresses after the change.
        wanted: u32,
        /// What the set was made for.
        room: u32,
    },
}
