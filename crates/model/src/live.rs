//! Live events of agents.

use serde::{Deserialize, Serialize};
use xshield_wire::telemetry::LiveEvent;
use xshield_wire::threat::ThreatMatch;

/// A live event of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Live {
    /// A denial.
    Denial(LiveEvent),
    /// Traffic with a listed peer.
    Match(ThreatMatch),
    /// Packets that it could not show.
    Lost {
        /// Their number.
        lost: u64,
    },
}
