//! The progress of commands.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of a command at an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetState {
    /// The host has not asked since it was sent.
    Waiting,
    /// The host has received it; its outcome is not known yet.
    Told,
    /// Carried out.
    Done,
    /// Failed.
    Failed,
    /// Not received, or not started, in time.
    Expired,
    /// The host's program does not support it.
    Unknown,
    /// Cancelled before the host received it.
    Cancelled,
}

/// Assets by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// All.
    pub assets: u64,
    /// The host has not asked since.
    pub waiting: u64,
    /// The host has received it.
    pub told: u64,
    /// Carried out.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Too late.
    pub expired: u64,
    /// Not supported by the host's program.
    pub unknown: u64,
    /// Cancelled.
    pub cancelled: u64,
}

impl Progress {
    /// The number of assets without an outcome.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.waiting + self.told
    }

    /// The number of assets in each state, in the order in which a command passes through them.
    #[must_use]
    pub fn by_state(&self) -> [(u64, TargetState); 7] {
        [
            (self.waiting, TargetState::Waiting),
            (self.told, TargetState::Told),
            (self.done, TargetState::Done),
            (self.failed, TargetState::Failed),
            (self.expired, TargetState::Expired),
            (self.unknown, TargetState::Unknown),
            (self.cancelled, TargetState::Cancelled),
        ]
    }
}
