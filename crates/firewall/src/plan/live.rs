//! Live events: what is denied or on the threat list is handed to whoever listens to a log group, as it
//! happens. The flow recorder stays the record that counts.
//!
//! In front of every such rule stands one counter of the table, which outlives rulesets, and behind it a
//! rate limit of the rule's own. So a flood costs the listener a bounded amount, and what it did not get
//! is exactly the difference between the counter and what it got, whatever the reason.

use super::live_group::LiveGroup;
use super::model::{Effect, Line};

/// The counter of packets that were to be handed over, in either of our tables.
pub const LIVE_COUNTER: &str = "live";
/// Packets per second that one rule hands over at most, and how many in one go.
const RATE: (u64, u32) = (5_000, 1_000);

/// The line that hands packets over; it decides nothing.
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
