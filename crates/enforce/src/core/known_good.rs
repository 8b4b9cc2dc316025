//! A verified ruleset as a host stores it.

use xshield_firewall::{FirewallError, LiveGroup};
use xshield_policy::{Facts, Ruleset};
use xshield_wire::Verified;

use super::kernel::Kernel;

/// A verified ruleset with the facts with which it was last bound. The copy on disk is what a restart
/// restores.
#[derive(Debug, Clone)]
pub struct LastKnownGood {
    /// The ruleset.
    pub ruleset: Verified<Ruleset>,
    /// The host's facts at that time; used at boot, when nothing can be resolved yet.
    pub facts: Facts,
    /// The log group to which its denied packets are sent, if any.
    pub live: Option<LiveGroup>,
}

impl LastKnownGood {
    /// Its plan for this kernel.
    ///
    /// # Errors
    /// When it is too large for this kernel.
    pub fn plan<K: Kernel>(&self, kernel: &K) -> Result<K::Plan, FirewallError> {
        kernel.plan(&self.ruleset.bind(&self.facts).0, self.live)
    }
}
