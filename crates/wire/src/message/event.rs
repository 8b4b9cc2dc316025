//! What happened to flows.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::{Direction, Protocol, RuleId};

use super::UnixSeconds;

/// An aggregated flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirewallEvent {
    /// What happened.
    pub kind: EventKind,
    /// Who opened the flow.
    pub direction: Direction,
    /// Source address of the flow's first packet.
    pub source: IpAddr,
    /// Destination address of the flow's first packet.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; the type for ICMP; 0 for other protocols.
    pub port: u16,
    /// The rule that decided, `failsafe/…` included; `None`: no rule matched, and the level decided.
    pub rule: Option<RuleId>,
    /// Packets since the last batch.
    pub packets: u64,
    /// Bytes since the last batch.
    pub bytes: u64,
    /// First seen; of what the recorder counted: not before this time, the end of the previous run.
    pub first_seen: UnixSeconds,
    /// Last seen; at the latest, where the host slept since.
    pub last_seen: UnixSeconds,
    /// Where it was read.
    pub from: EventSource,
    /// The local program, when known.
    pub process: Option<String>,
}

/// What happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Dropped.
    Denied,
    /// Let through because the mode is test.
    WouldDeny,
    /// Accepted; one count per new connection.
    Accepted,
}

/// Where an event was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventSource {
    /// The kernel's flow-recorder sets: exact.
    Recorder,
    /// A line of the kernel's log: rate-limited.
    KernelLog,
    /// A packet that the rules handed to the agent: in [`LiveReport`](crate::telemetry::LiveReport)s alone, never a count of record.
    Live,
}
