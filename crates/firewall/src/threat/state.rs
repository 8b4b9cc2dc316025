//! The state of the threat list in a host's firewall.

use std::net::IpAddr;

use super::list::InstalledList;

/// The state of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThreatState {
    /// No table, or one in which no list was ever put in force.
    Absent,
    /// The list is in force, with the right number of entries if the kernel reports it.
    InForce(InstalledList),
    /// The list exists, but others have changed the chains around it. Applying the posture again repairs it
    /// without loading the list.
    Disturbed(InstalledList),
    /// The list must be loaded again.
    Broken {
        /// The reason.
        what: String,
    },
}

impl ThreatState {
    /// The list, if it is complete.
    #[must_use]
    pub fn standing(&self) -> Option<&InstalledList> {
        match self {
            Self::InForce(standing) | Self::Disturbed(standing) => Some(standing),
            Self::Absent | Self::Broken { .. } => None,
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Absent => "there is no threat list in the kernel".to_owned(),
            Self::InForce(_) => "the threat list is in force".to_owned(),
            Self::Disturbed(_) => "others have changed the chains of the threat list".to_owned(),
            Self::Broken { what } => format!("the threat list is broken: {what}"),
        }
    }
}

/// A set that differs from the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("set {set} has {found} elements that are not the {wanted} of the list")]
pub struct Difference {
    /// Its name in the kernel.
    pub set: String,
    /// Elements of the list; a prefix has two, its first address and the one after its last.
    pub wanted: u64,
    /// Elements in the kernel. The number may be equal if others replace them.
    pub found: u64,
}

/// The entry that contains a listed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// The first address of the entry.
    pub first: IpAddr,
    /// The last one; the same for a single address.
    pub last: IpAddr,
}
