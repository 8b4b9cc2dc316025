//! How commands go.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a command goes at an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetState {
    /// The host has not asked since it was given.
    Waiting,
    /// The host was told; its outcome is not here yet.
    Told,
    /// Carried out.
    Done,
    /// Tried in vain.
    Failed,
    /// Not picked up, or not begun, in time.
    Expired,
    /// The host's program does not know it.
    Unknown,
    /// Taken back before the host was told.
    Cancelled,
}

/// Assets by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// All.
    pub assets: u64,
    /// The host has not asked since.
    pub waiting: u64,
    /// The host was told.
    pub told: u64,
    /// Carried out.
    pub done: u64,
    /// Tried in vain.
    pub failed: u64,
    /// Too late.
    pub expired: u64,
    /// Not known to the host's program.
    pub unknown: u64,
    /// Taken back.
    pub cancelled: u64,
}

impl Progress {
    /// Assets whose outcome is still to come.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.waiting + self.told
    }

    /// How many assets are in each state, in the order in which a command passes through them.
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
