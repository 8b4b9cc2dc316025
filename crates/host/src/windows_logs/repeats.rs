//! One drop, told by two events.

use std::collections::HashMap;

use super::ends::Ends;
use super::event::{FlowEvent, FlowOutcome};
use xshield_policy::Direction;

/// What tells flows apart.
type Key = (Direction, u8, Ends);

/// Finds the second event of a drop: where Windows audits connections and packets, one dropped packet is
/// a blocked connection (5157) and a dropped packet (5152), in either order. Each event has one partner
/// at most, so attempts that are repeated count again.
#[derive(Debug, Clone, Default)]
pub struct Repeats {
    waiting: HashMap<Key, (FlowOutcome, i64)>,
}

/// The two events are written within it.
const TOGETHER_MS: i64 = 1_000;
/// Flows whose partner is waited for; when there are more, those that waited too long are given up.
const MOST_WAITING: usize = 8_192;

impl Repeats {
    /// Whether an event tells of a drop that another one has told already. An event without a time has no
    /// partner.
    pub fn is_repeat(&mut self, event: &FlowEvent) -> bool {
        let (FlowOutcome::ConnectionBlocked | FlowOutcome::PacketDropped, Some(time)) =
            (event.outcome, event.time)
        else {
            return false;
        };
        let key = (event.direction, event.protocol, event.ends);
        let is_partner = |&(outcome, then): &(FlowOutcome, i64)| {
            outcome != event.outcome && time.abs_diff(then) <= TOGETHER_MS.unsigned_abs()
        };
        if self.waiting.get(&key).is_some_and(is_partner) {
            self.waiting.remove(&key);
            return true;
        }
        if self.waiting.len() >= MOST_WAITING {
            let is_recent = |then: i64| time.abs_diff(then) <= TOGETHER_MS.unsigned_abs();
            self.waiting.retain(|_, (_, then)| is_recent(*then));
        }
        if self.waiting.len() < MOST_WAITING {
            self.waiting.insert(key, (event.outcome, time));
        }
        false
    }
}
