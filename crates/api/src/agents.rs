//! What agents did, saw and logged, and the diagnostics that they collected.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
use xshield_model::live::Live;
use xshield_wire::telemetry::{AgentEventKind, DebugLine, LogEnd};

use crate::query::number;

/// What a host's program did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentEvent {
    /// The asset's name.
    pub asset: String,
    /// By the host's clock.
    pub at: Timestamp,
    pub received_at: Timestamp,
    #[schema(value_type = String)]
    pub kind: AgentEventKind,
    pub text: String,
    /// The revision of the policy concerned.
    pub revision: Option<u64>,
    /// How long it took or lasted.
    pub seconds: Option<u64>,
}

/// A denial or a match as it happened, or how many packets of such an agent could not show. None of it
/// adds to a count: denials are counted among the events, matches among the threat events.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LiveEvent {
    /// Pass it as `after` to get what came later.
    pub number: i64,
    /// The asset's name.
    pub asset: String,
    pub received_at: Timestamp,
    #[schema(value_type = Object)]
    pub event: Live,
}

/// A piece of a detailed log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogPiece {
    /// Pass it as `after` to get what came later.
    pub number: i64,
    /// The command that asked for it.
    pub command: String,
    /// The number of the first line.
    pub first: u64,
    /// Lines before these that the host could not keep.
    pub dropped: u64,
    /// `open`, or `closed` when it is the last piece.
    #[schema(value_type = String)]
    pub end: LogEnd,
    pub received_at: Timestamp,
    #[schema(value_type = Vec<Object>)]
    pub lines: Vec<DebugLine>,
}

/// Diagnostics that a host collected.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Diagnostics {
    pub id: String,
    /// The asset's name.
    pub asset: String,
    /// The command that asked for them.
    pub command: String,
    /// In bytes.
    pub size: u64,
    /// Bytes that are here.
    pub received: u64,
    pub complete: bool,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    pub created_at: Timestamp,
    /// When they are removed.
    pub kept_until: Timestamp,
}

/// Which events of agents are listed.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AgentEventQuery {
    /// E.g. `policy-applied`, `tampered`, `restarted`, `reachable-again`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub kind: Option<AgentEventKind>,
    /// Not before this time (RFC 3339), by the host's clock.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// Which live events are read.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LiveQuery {
    /// One asset's, by id or name.
    #[serde(default)]
    pub asset: Option<String>,
    /// Only what came after this number; the last ones when left out.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<i64>)]
    pub after: Option<i64>,
}

/// Which pieces of a detailed log are read.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Only pieces after this number; from the oldest that is kept when left out.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<i64>)]
    pub after: Option<i64>,
}

/// Which diagnostics are listed.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DiagnosticsQuery {
    /// One asset's, by id or name.
    #[serde(default)]
    pub asset: Option<String>,
    /// Those that a command collected.
    #[serde(default)]
    pub command: Option<String>,
}
