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
    /// A test of the channel.
    Test,
}

/// The state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// Pending, with retries.
    Waiting,
    /// The receiver accepted it.
    Delivered,
    /// It failed for too long, or is unreadable.
    GivenUp,
}
