//! What the kernel's flow recorder has counted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::{Direction, Protocol};

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKind {
    /// Its packets were dropped.
    Denied,
    /// Its packets would have been dropped in enforce mode.
    WouldDeny,
    /// It was let through; counted once per flow, not per packet.
    Accepted,
}

impl FlowKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Denied, Self::WouldDeny, Self::Accepted];
}

/// One element of the recorder. Its counts only ever grow until it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCount {
    /// What became of it.
    pub kind: FlowKind,
    /// Who opened it.
    pub direction: Direction,
    /// The opener's address.
    pub source: IpAddr,
    /// The other end's address.
    pub destination: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port; the type for ICMP; 0 for other protocols.
    pub port: u16,
    /// Packets counted: all of a denied flow, the first of an accepted one.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long the element lives if no packet comes, in milliseconds.
    pub expires_in_ms: u64,
}

/// How full the sets of one kind and direction are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fullness {
    /// What became of the flows.
    pub kind: FlowKind,
    /// Who opened them.
    pub direction: Direction,
    /// Elements in the fuller one of the IPv4 and IPv6 sets.
    pub held: u64,
    /// How many it can hold.
    pub room: u64,
    /// Packets that found no room, since the table was made.
    pub lost_packets: u64,
}

/// Everything the recorder holds now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FlowDump {
    /// The flows, in no order.
    pub flows: Vec<FlowCount>,
    /// One per kind and direction.
    pub fullness: Vec<Fullness>,
}
