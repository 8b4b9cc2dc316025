//! A stance within the chains, and the lines that every stance has.

use xshield_policy::{Direction, Mode, Subject};

use super::builder::{Builder, View};
use super::fixed;
use super::group::{Group, only_tested};
use super::model::{Line, Next};

/// A stance and its position in the chains.
#[derive(Clone, Copy)]
pub(super) struct Stage {
    pub(super) subject: Subject,
    pub(super) mode: Mode,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The only stance.
    Alone,
    /// The enforced one, followed by a tested one.
    First,
    /// The tested one, after an enforced one.
    Second,
}

impl Stage {
    pub(super) fn deny_chain(self, view: View, rule: &str) -> String {
        let stem = view.stem();
        match self.place {
            Place::Alone | Place::First => format!("deny_{stem}_{rule}"),
            Place::Second => format!("deny_{stem}_tested_{rule}"),
        }
    }

    pub(super) fn final_denial(self) -> Next {
        match self.mode {
            Mode::Enforce => Next::Drop,
            Mode::Test => Next::Accept,
        }
    }

    /// The target of a packet that this stance denies because no rule matches, or by a block rule.
    pub(super) fn denial(self, view: View, rule: &str) -> Next {
        if view.reply { self.final_denial() } else { Next::Goto(self.deny_chain(view, rule)) }
    }
}

impl Builder<'_> {
    /// The lines that accept what the platform serves.
    pub(super) fn served(&self, view: View, next: &Next) -> Vec<Line> {
        match view.direction {
            Direction::Inbound => fixed::served(&self.bound.failsafe.served, view, next),
            Direction::Outbound => Vec::new(),
        }
    }

    /// The target of a packet that a stance denies.
    pub(super) fn lines(&mut self, view: View, group: &Group, next: &Next, lines: &mut Vec<Line>) {
        for lookup in &group.shapes.lookups {
            lines.extend(self.lookup(view, group.verb, lookup, next));
        }
        self.line_rules(view, group.verb, &group.shapes.line_rules, next, lines);
    }

    /// The chain that denies packets of a direction in the stance of a mode.
    pub(super) fn deny_chain(&self, direction: Direction, mode: Mode, rule: &str) -> String {
        let rules = self.bound.direction(direction);
        let place = match mode {
            Mode::Test if !only_tested(rules) => Place::Second,
            Mode::Test | Mode::Enforce => Place::Alone,
        };
        Stage { subject: Subject::Nothing, mode, place }
            .deny_chain(View::own(direction, false), rule)
    }
}
