//! What operations need of the threat lists.

use std::sync::Arc;

use xshield_threat::{Digest, ThreatList, ThreatSet};

use crate::error::Result;

/// The list in force, identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// Its revision.
    pub revision: u64,
    /// The number of prefixes.
    pub entries: u64,
}

/// Provides the list in force, and the lists of earlier revisions.
pub trait ThreatLists: Send + Sync {
    /// The list in force, with its sources.
    fn list(&self) -> Arc<ThreatList>;

    /// The name of the list in force; `None` before the first one.
    fn in_force(&self) -> Option<InForce>;

    /// Why the last compilation failed; the previous list is in force then.
    fn trouble(&self) -> Option<String>;

    /// The memory that the whole list needs in a host's kernel, in bytes.
    ///
    /// # Errors
    /// When it could not be computed.
    fn kernel_bytes(&self) -> impl Future<Output = Result<u64>> + Send;

    /// The addresses of the list with this digest; `None` if its snapshot is not kept, or is damaged.
    ///
    /// # Errors
    /// When the disk fails.
    fn addresses(
        &self,
        digest: Digest,
    ) -> impl Future<Output = Result<Option<Arc<ThreatSet>>>> + Send;
}
