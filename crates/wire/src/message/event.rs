//! Events about flows.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::{Direction, Protocol, RuleId};

use super::UnixSeconds;

/// An aggregated flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirewallEvent {
    /// The verdict.
    pub kind: EventKind,
    /// The direction of the flow.
    pub direction: Direction,
    /// Source address of the flow's first packet.
    pub source: IpAddr,
    /// Destination address of the flow's first packet.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; the type for ICMP; 0 for other protocols.
    pub port: u16,
    /// The rule that decided, including `failsafe/…`; `None`: no rule matched, and the level decided.
    pub rule: Option<RuleId>,
    /// Packets since the last batch.
    pub packets: u64,
    /// Bytes since the last batch.
    pub bytes: u64,
    /// When it was first seen; from the recorder: not before this time, the end of the previous run.
    pub first_seen: UnixSeconds,
    /// When it was last seen; at the latest, if the host slept since.
    pub last_seen: UnixSeconds,
    /// The source of the event.
    pub from: EventSource,
    /// The local program, if known.
    pub process: Option<String>,
}

/// The verdict on a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Dropped.
    Denied,
    /// Accepted because the mode is test.
    WouldDeny,
    /// Accepted; one count per new connection.
    Accepted,
}

/// The source of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventSource {
    /// The kernel's flow-recorder sets: exact.
    Recorder,
    /// A line of the kernel's log: rate-limited.
    KernelLog,
    /// Events of Windows' Security log: every connection or packet of which the audit policy lets Windows
    /// write one. Without bytes.
    SecurityLog,
    /// A packet that the rules sent to the agent: only in [`LiveReport`](crate::telemetry::LiveReport)s,
    /// never counted.
    Live,
}
