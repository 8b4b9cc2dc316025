//! Deliveries to channels.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why something is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryKind {
    /// One alert.
    Alert,
    /// Several alerts.
    Digest,
    /// Somebody tries the channel.
    Test,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// It is tried, again and again.
    Waiting,
    /// The other end took it.
    Delivered,
    /// It was tried for too long, or can't be read any more.
    GivenUp,
}
