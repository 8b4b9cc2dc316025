//! What a host should enforce, what its kernel enforces, what it denied, and its listening ports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
use xshield_policy::{Direction, Protocol, Ruleset};
use xshield_wire::message::{
    EventKind, EventSource, InForce, ListeningPort, ProgrammedReport, RuleHits,
};

use crate::open::Open;
use crate::query::port;

/// The desired ruleset of an asset.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Compiled {
    #[schema(value_type = Object)]
    pub wanted: InForce,
    /// The number of the compilation.
    pub compilation: u64,
    pub compiled_at: Timestamp,
    #[schema(value_type = Object)]
    pub ruleset: Ruleset,
    /// As sent to the host: a DSSE envelope.
    #[schema(value_type = Object)]
    pub envelope: serde_json::Value,
}

/// Total hits of a rule.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Hits {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub hits: RuleHits,
    pub last_hit: Timestamp,
}

/// What the host read back from its kernel.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Programmed {
    /// By the host's clock.
    pub read_at: Timestamp,
    pub received_at: Timestamp,
    /// The host's latest report.
    #[schema(value_type = Object)]
    pub report: ProgrammedReport,
    /// The sum of all reports, by rule.
    pub hits: Vec<Hits>,
}

/// A flow, aggregated over all reports.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// The asset's name.
    pub asset: String,
    #[schema(value_type = String)]
    pub kind: EventKind,
    #[schema(value_type = String)]
    pub direction: Direction,
    pub source: String,
    pub destination: String,
    #[schema(value_type = String)]
    pub protocol: Protocol,
    /// Destination port; the type for ICMP.
    pub port: u16,
    /// The rule that matched; `null`: none, and the level decided.
    pub rule: Option<String>,
    pub packets: u64,
    pub bytes: u64,
    /// The number of reports about it.
    pub reports: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// `recorder` (exact), `kernel-log` (rate-limited), or `security-log` (Windows: one event a connection).
    #[schema(value_type = String)]
    pub from: EventSource,
    /// The local program, when known.
    pub process: Option<String>,
}

/// The listening ports of a host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Listening {
    /// By the host's clock.
    pub read_at: Timestamp,
    pub received_at: Timestamp,
    #[schema(value_type = Vec<Object>)]
    pub ports: Vec<Open<ListeningPort>>,
}

/// A filter for flows.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// `denied`, `would-deny` or `accepted`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub kind: Option<EventKind>,
    /// `inbound` or `outbound`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub direction: Option<Direction>,
    /// The peer's address.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub peer: Option<IpAddr>,
    /// Destination port.
    #[serde(default, deserialize_with = "port")]
    #[param(value_type = Option<u16>)]
    pub port: Option<u16>,
    /// `tcp`, `udp` or `icmp`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub protocol: Option<Protocol>,
    /// The rule that matched.
    #[serde(default)]
    pub rule: Option<String>,
    /// Last seen not before this time (RFC 3339).
    #[serde(default)]
    pub since: Option<Timestamp>,
}
