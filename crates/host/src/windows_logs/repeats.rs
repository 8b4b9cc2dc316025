//! Detects drops that are reported by two events.

use std::collections::HashMap;

use super::ends::Ends;
use super::event::{FlowEvent, FlowOutcome};
use xshield_policy::Direction;

/// Identifies a flow.
type Key = (Direction, u8, Ends);

/// Finds the second event of a drop: if Windows audits connections and packets, one dropped packet is
/// reported as a blocked connection (5157) and as a dropped packet (5152), in either order. Each event has at
/// most one partner, so repeated attempts count again.
#[derive(Debug, Clone, Default)]
pub struct Repeats {
    waiting: HashMap<Key, (FlowOutcome, i64)>,
}

/// The longest time between the two events.
const TOGETHER_MS: i64 = 1_000;
/// The most flows whose second event is awaited; beyond that, those that waited too long are dropped.
const MOST_WAITING: usize = 8_192;

impl Repeats {
    /// Whether an event reports a drop that another one has already reported. An event without a time has no
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
