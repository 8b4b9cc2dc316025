//! What agents tell of as it happens.

use serde::{Deserialize, Serialize};
use xshield_wire::telemetry::LiveEvent;
use xshield_wire::threat::ThreatMatch;

/// What an agent tells of as it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Live {
    /// A denial.
    Denial(LiveEvent),
    /// Traffic with a listed peer.
    Match(ThreatMatch),
    /// Packets that it could not show.
    Lost {
        /// How many.
        lost: u64,
    },
}
