//! The identification of a ruleset.

use serde::{Deserialize, Serialize};
use xshield_policy::Revision;

use super::Digest;

/// A ruleset in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its revision.
    pub revision: Revision,
    /// Its payload's digest.
    pub digest: Digest,
}
