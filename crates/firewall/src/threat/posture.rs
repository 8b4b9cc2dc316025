//! What is done about listed peers.

use serde::{Deserialize, Serialize};
use xshield_policy::{BoundFailsafe, Direction};
use xshield_threat::ThreatMode;

use crate::plan::LiveGroup;

/// What is done with the list: the mode of each direction of flows, and what is never blocked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posture {
    /// For flows that peers open.
    pub inbound: ThreatMode,
    /// For flows that this host opens.
    pub outbound: ThreatMode,
    /// Accepted whatever the list says, beside loopback, DHCP, neighbour discovery and ICMP errors.
    pub failsafe: BoundFailsafe,
    /// The group that matches are handed to as they come, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveGroup>,
}

impl Posture {
    /// What is done about flows of one direction.
    #[must_use]
    pub fn mode(&self, direction: Direction) -> ThreatMode {
        match direction {
            Direction::Inbound => self.inbound,
            Direction::Outbound => self.outbound,
        }
    }
}
