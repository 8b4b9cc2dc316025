//! Live events: denied packets and threat matches are sent to a log group as they occur. The flow recorder
//! remains the authoritative record.
//!
//! Every such rule first increments a common counter of the table, which outlives rulesets, and then applies
//! its own rate limit. So a flood has a limited cost for the listener, and the number of packets that it did
//! not receive is exactly the difference between the counter and what it received, for whatever reason.

use super::live_group::LiveGroup;
use super::model::{Effect, Line};

/// The counter of packets sent to the log group, in each of our tables.
pub const LIVE_COUNTER: &str = "live";
/// The most packets per second that one rule sends, and the size of a burst.
const RATE: (u64, u32) = (5_000, 1_000);

/// The line that sends packets to the log group; it has no verdict.
pub(crate) fn live_line(group: LiveGroup, prefix: String) -> Line {
    let (per_second, burst) = RATE;
    Line {
        conditions: Vec::new(),
        counted: false,
        effect: Some(Effect::Live {
            counter: LIVE_COUNTER.to_owned(),
            group,
            prefix,
            per_second,
            burst,
        }),
        next: None,
        label: None,
    }
}
