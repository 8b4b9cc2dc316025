//! Sums the counters of elements and rules by policy rule.

use std::collections::{BTreeMap, HashMap};

use xshield_policy::Direction;

use super::decode::Count;
use crate::plan::{Element, Line, Next};
use crate::programmed::{Action, Hit};

/// One counter, before summing.
pub(crate) struct Counted {
    label: String,
    direction: Option<Direction>,
    action: Option<Action>,
    packets: u64,
    bytes: u64,
}

impl Counted {
    pub(crate) fn element(set: &str, element: &Element, Count { packets, bytes }: Count) -> Self {
        let mut parts = set.split('_');
        let action = match parts.next() {
            Some("fs") => Some(Action::Failsafe),
            Some("block") => Some(Action::Block),
            Some("allow") => Some(Action::Allow),
            _ => None,
        };
        let direction = match parts.next() {
            Some("in") => Some(Direction::Inbound),
            Some("out") => Some(Direction::Outbound),
            _ => None,
        };
        Self { label: element.label.to_string(), direction, action, packets, bytes }
    }

    pub(crate) fn line(chain: &str, line: &Line, Count { packets, bytes }: Count) -> Self {
        let label = line.label.as_deref().unwrap_or("").to_owned();
        let direction = match chain {
            _ if chain.starts_with("in_orig")
                || chain.starts_with("out_reply")
                || chain.starts_with("out_answer") =>
            {
                Some(Direction::Inbound)
            }
            _ if chain.starts_with("out_orig")
                || chain.starts_with("in_reply")
                || chain.starts_with("in_answer")
                || chain.starts_with("ownerless") =>
            {
                Some(Direction::Outbound)
            }
            _ if chain.starts_with("deny_in") => Some(Direction::Inbound),
            _ if chain.starts_with("deny_out") => Some(Direction::Outbound),
            _ => None,
        };
        let action = match &line.next {
            _ if label.starts_with("failsafe/") => Some(Action::Failsafe),
            _ if label.starts_with("default/") => Some(Action::Default),
            Some(Next::Goto(to)) if to.starts_with("deny_") => Some(Action::Block),
            Some(Next::Drop) => Some(Action::Block),
            // In test mode a block's answers are accepted: its first packets identify the direction.
            _ if chain.contains("_reply") || chain.contains("_answer") => None,
            _ => Some(Action::Allow),
        };
        Self { label, direction, action, packets, bytes }
    }

    /// Sums by rule. Counters without a direction (ICMP errors, losses) are omitted.
    pub(crate) fn hits(counts: Vec<Self>) -> Vec<Hit> {
        let known: HashMap<(Direction, String), Action> = counts
            .iter()
            .filter_map(|count| Some(((count.direction?, count.label.clone()), count.action?)))
            .collect();
        let mut sums: BTreeMap<(Direction, Action, String), (u64, u64)> = BTreeMap::new();
        for count in counts {
            let Some(direction) = count.direction else { continue };
            let of_rule = || known.get(&(direction, count.label.clone())).copied();
            let action = count.action.or_else(of_rule).unwrap_or(Action::Allow);
            let sum = sums.entry((direction, action, count.label)).or_default();
            sum.0 += count.packets;
            sum.1 += count.bytes;
        }
        let hit = |((direction, action, rule), (packets, bytes))| Hit {
            rule,
            direction,
            action,
            packets,
            bytes,
        };
        sums.into_iter().map(hit).collect()
    }
}
