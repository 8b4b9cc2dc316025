//! What a host should enforce, what its kernel says it does, what it denied, and what listens on it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
use xshield_policy::{Direction, Protocol, Ruleset};
use xshield_wire::message::{
    EventKind, EventSource, InForce, ListeningPort, ProgrammedReport, RuleHits,
};

use crate::query::port;

/// The ruleset that an asset should have.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Compiled {
    #[schema(value_type = Object)]
    pub wanted: InForce,
    /// Which of the platform's compilations it is.
    pub compilation: u64,
    pub compiled_at: Timestamp,
    #[schema(value_type = Object)]
    pub ruleset: Ruleset,
    /// As the host gets it: a DSSE envelope.
    #[schema(value_type = Object)]
    pub envelope: serde_json::Value,
}

/// Hits of a rule, ever.
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

/// A flow, added up over all reports.
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
    /// The rule that decided; `null`: no rule matched, and the level decided.
    pub rule: Option<String>,
    pub packets: u64,
    pub bytes: u64,
    /// How many reports told of it.
    pub reports: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// `recorder` (exact) or `kernel-log` (rate-limited).
    #[schema(value_type = String)]
    pub from: EventSource,
    /// The local program, when known.
    pub process: Option<String>,
}

/// What listens on a host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Listening {
    /// By the host's clock.
    pub read_at: Timestamp,
    pub received_at: Timestamp,
    #[schema(value_type = Vec<Object>)]
    pub ports: Vec<ListeningPort>,
}

/// Which flows are listed.
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
    /// The other end's address.
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
    /// The rule that decided.
    #[serde(default)]
    pub rule: Option<String>,
    /// Last seen not before this time (RFC 3339).
    #[serde(default)]
    pub since: Option<Timestamp>,
}
