//! The posture towards listed peers.

use serde::{Deserialize, Serialize};
use xshield_policy::{BoundFailsafe, Direction};
use xshield_threat::ThreatMode;

use crate::plan::LiveGroup;

/// How matches are handled: the mode of each direction of flows, and what is never blocked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posture {
    /// The mode for flows that peers open.
    pub inbound: ThreatMode,
    /// The mode for flows that this host opens.
    pub outbound: ThreatMode,
    /// Accepted whatever the list contains, in addition to loopback, DHCP, neighbour discovery and ICMP
    /// errors.
    pub failsafe: BoundFailsafe,
    /// The log group to which matches are sent as they occur, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveGroup>,
}

impl Posture {
    /// The mode for flows of one direction.
    #[must_use]
    pub fn mode(&self, direction: Direction) -> ThreatMode {
        match direction {
            Direction::Inbound => self.inbound,
            Direction::Outbound => self.outbound,
        }
    }
}
