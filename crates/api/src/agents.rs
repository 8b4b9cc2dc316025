//! What agents did, saw and logged, and the diagnostics that they collected.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
use xshield_model::live::Live;
use xshield_wire::telemetry::{AgentEventKind, DebugLine, LogEnd};

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
