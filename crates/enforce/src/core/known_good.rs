//! A verified ruleset as a host keeps it.

use xshield_firewall::{Capabilities, LiveGroup, Plan, plan_with};
use xshield_policy::{Facts, Ruleset};
use xshield_wire::Verified;

/// A verified ruleset with the facts it was last bound with. On disk it is what a restart restores.
#[derive(Debug, Clone)]
pub struct LastKnownGood {
    /// The ruleset.
    pub ruleset: Verified<Ruleset>,
    /// What the host knew then; used at boot, when nothing can be resolved yet.
    pub facts: Facts,
    /// The log group that its denied packets were handed to, if any.
    pub live: Option<LiveGroup>,
}

impl LastKnownGood {
    /// What it puts into a kernel with these capabilities.
    #[must_use]
    pub fn plan(&self, capabilities: &Capabilities) -> Plan {
        plan_with(&self.ruleset.bind(&self.facts).0, capabilities, self.live)
    }
}
