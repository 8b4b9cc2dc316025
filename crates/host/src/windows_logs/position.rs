//! How far the Security log was read.

use serde::{Deserialize, Serialize};

/// How far the log has been read. Kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// The number of the last record that was looked at, of whatever kind. Numbers start at 1 when the log
    /// is cleared.
    pub record: u64,
    /// Windows' bookmark of the last event that was read, which makes finding the next one fast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bookmark: Option<String>,
}
