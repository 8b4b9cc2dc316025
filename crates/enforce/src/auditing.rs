//! Which flows Windows writes to its Security log, as the configuration says it.

use serde::{Deserialize, Serialize};

/// Which flows Spark lets Windows write to its Security log. Without effect on other systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Auditing {
    /// The audit policy stays as it is; what it writes is read.
    #[default]
    Leave,
    /// Denied connections and packets.
    Denied,
    /// Those, and every connection that passes: needed for would-be denials, hits of allow rules and paths.
    Flows,
}
