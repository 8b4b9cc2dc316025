//! The threat lists themselves, as operations need them.

use std::sync::Arc;

use xshield_threat::{Digest, ThreatList, ThreatSet};

use crate::error::Result;

/// The list in force, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// Its revision.
    pub revision: u64,
    /// Its prefixes.
    pub entries: u64,
}

/// What keeps the threat list in force, and the lists of earlier revisions.
pub trait ThreatLists: Send + Sync {
    /// The list in force, with everything that it was compiled from.
    fn list(&self) -> Arc<ThreatList>;

    /// The name of the list in force; `None` before the first one.
    fn in_force(&self) -> Option<InForce>;

    /// Why the last compilation failed; the list of before is in force then.
    fn trouble(&self) -> Option<String>;

    /// The memory that the whole list takes in a host's kernel, in bytes.
    ///
    /// # Errors
    /// When it could not be computed.
    fn kernel_bytes(&self) -> impl Future<Output = Result<u64>> + Send;

    /// The addresses of the list with this digest; `None` when its snapshot is not kept, or is damaged.
    ///
    /// # Errors
    /// When the disk fails.
    fn addresses(
        &self,
        digest: Digest,
    ) -> impl Future<Output = Result<Option<Arc<ThreatSet>>>> + Send;
}
