//! Who sends a request, and how many connections that party may have.

use xshield_policy::AssetId;

use super::admission::Limits;
use crate::source::Source;

/// Unauthenticated connections from one source.
pub(super) const PER_SOURCE: Limits = Limits { active: 256, waiting: 1024 };
/// The same from the address of a proxy that operators named: many hosts speak from there.
pub(super) const PER_PROXY: Limits = Limits { active: 1024, waiting: 6144 };
/// Every agent holds a poll open, and checks in beside it.
pub(super) const PER_HOST: usize = 16;
/// Several people and programs may use one account, and browsers open six at once.
const PER_ACCOUNT: usize = 128;
/// Downloads of list files, which are not signed.
const PER_READER: usize = 256;

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Party {
    /// Nobody knows yet.
    Unauthenticated(Source),
    /// A host with a session.
    Host(AssetId),
    /// Whoever uses an account.
    Account(String),
    /// Somebody who knows the digest of a list file, which hosts alone are told.
    Reader(Source),
}

impl Party {
    /// Connections that it may have.
    pub(super) fn connections(&self) -> usize {
        match self {
            Self::Unauthenticated(_) => PER_SOURCE.active,
            Self::Host(_) => PER_HOST,
            Self::Account(_) => PER_ACCOUNT,
            Self::Reader(_) => PER_READER,
        }
    }
}

/// A connection can't be counted as that of the party that sends a request on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooManyConnections {
    /// The party has as many as it may have.
    #[error(
        "there are {count} connections of this sender, the most it may have; close some, or try again \
         later"
    )]
    OfParty {
        /// How many.
        count: usize,
    },
    /// All parties together have as many as fit.
    #[error("the platform has as many connections as it can serve; try again later")]
    InAll,
    /// The connection was given up for one that waited.
    #[error("the connection was closed in favour of a waiting one; try again")]
    Evicted,
}
