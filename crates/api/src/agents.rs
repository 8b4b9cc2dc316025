//! Events, live events, logs and diagnostics of agents.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
use xshield_model::live::Live;
use xshield_wire::telemetry::{AgentEventKind, DebugLine, LogEnd};

use crate::open::Open;
use crate::query::number;

/// An event of a host's program.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentEvent {
    /// The asset's name.
    pub asset: String,
    /// By the host's clock.
    pub at: Timestamp,
    pub received_at: Timestamp,
    #[schema(value_type = String)]
    pub kind: Open<AgentEventKind>,
    pub text: String,
    /// The revision of the policy concerned.
    pub revision: Option<u64>,
    /// How long it took or lasted.
    pub seconds: Option<u64>,
}

/// A denial or a match in real time, or the number of packets that an agent could not show. None of it is
/// counted: denials are counted among the flow events, matches among the threat events.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LiveEvent {
    /// Pass it as `after` to get later ones.
    pub number: i64,
    /// The asset's name.
    pub asset: String,
    pub received_at: Timestamp,
    #[schema(value_type = Object)]
    pub event: Live,
}

/// A chunk of a detailed log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogPiece {
    /// Pass it as `after` to get later ones.
    pub number: i64,
    /// The command that requested it.
    pub command: String,
    /// The number of the first line.
    pub first: u64,
    /// Earlier lines that the host could not keep.
    pub dropped: u64,
    /// `open`, or `closed` for the last chunk.
    #[schema(value_type = String)]
    pub end: Open<LogEnd>,
    pub received_at: Timestamp,
    #[schema(value_type = Vec<Object>)]
    pub lines: Vec<Open<DebugLine>>,
}

/// Diagnostics that a host collected.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Diagnostics {
    pub id: String,
    /// The asset's name.
    pub asset: String,
    /// The command that requested them.
    pub command: String,
    /// In bytes.
    pub size: u64,
    /// Bytes received so far.
    pub received: u64,
    pub complete: bool,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    pub created_at: Timestamp,
    /// When they are deleted.
    pub kept_until: Timestamp,
}

/// A filter for program events.
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

/// A query for live events.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LiveQuery {
    /// One asset's, by id or name.
    #[serde(default)]
    pub asset: Option<String>,
    /// Only events after this number; the latest ones when left out.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<i64>)]
    pub after: Option<i64>,
}

/// A query for chunks of a detailed log.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Only chunks after this number; from the oldest available one when left out.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<i64>)]
    pub after: Option<i64>,
}

/// A filter for diagnostics.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DiagnosticsQuery {
    /// One asset's, by id or name.
    #[serde(default)]
    pub asset: Option<String>,
    /// Those of one command.
    #[serde(default)]
    pub command: Option<String>,
}
