//! Packets whose flow's opener is unknown to connection tracking, judged as answers: see
//! [`xshield_policy::decide_unplaced()`]. Only packets that are about to be denied reach these chains.

use xshield_policy::protocol::{SCTP, TCP, UDP};
use xshield_policy::{Direction, Mode};

use super::builder::{Builder, View, line};
use super::group::{Group, Verb, only_tested};
use super::model::{Condition, Line, Next, State};

impl Builder<'_> {
    /// The chains for answers of a direction's flows, one for each stance of the other direction that may
    /// deny them. `groups` are all rules of the direction, blocks before allows.
    pub(super) fn answers(&mut self, direction: Direction, groups: &[&Group]) {
        let denied_as = opposite(direction);
        let (rules, deniers) = (self.bound.direction(direction), self.bound.direction(denied_as));
        let enforced = (!only_tested(deniers)).then_some(Mode::Enforce);
        let tested = deniers.tested.as_ref().map(|_| Mode::Test);
        let only_tested = only_tested(rules);
        for mode in [enforced, tested].into_iter().flatten() {
            let view = View { unplaced: Some(mode), ..View::own(direction, true) };
            let stance = if rules.tested.is_some() { mode } else { Mode::Enforce };
            let mut lines =
                vec![line(vec![Condition::Protocol(TCP), Condition::Opens], Next::Return)];
            let dhcp = format!("{}_dhcp", View { unplaced: None, ..view }.name());
            lines.push(line(vec![Condition::Protocol(UDP)], Next::Jump(dhcp)));
            lines.extend(self.served(view, &Next::Accept));
            // If nothing is enforced, all rules belong to the tested stance.
            let of_stance = |verb| match verb {
                Verb::Failsafe => true,
                Verb::Block | Verb::Allow => stance == Mode::Test || !only_tested,
                Verb::AllowEnforced => stance == Mode::Enforce,
                Verb::BlockTested | Verb::AllowTested => stance == Mode::Test,
            };
            for group in groups.iter().filter(|group| of_stance(group.verb)) {
                let next = match group.verb.is_block() {
                    true => Next::Goto(self.deny_chain(denied_as, mode, "answer")),
                    false => Next::Accept,
                };
                self.lines(view, group, &next, &mut lines);
            }
            self.chain(view.name(), lines);
        }
    }

    /// Jumps to the chain that judges packets denied as openers in one direction as answers of the other
    /// direction.
    pub(super) fn unplaced(direction: Direction, mode: Mode) -> Vec<Line> {
        let view = View { unplaced: Some(mode), ..View::own(opposite(direction), true) };
        let jump = |state, protocol| {
            let conditions = vec![Condition::State(state), Condition::Protocol(protocol)];
            line(conditions, Next::Jump(view.name()))
        };
        let untracked = [TCP, UDP, SCTP].map(|protocol| jump(State::Untracked, protocol));
        untracked.into_iter().chain([jump(State::Invalid, TCP)]).collect()
    }

    /// Whether a block rule may prevent that a packet denied as an opener of `direction` passes as an answer.
    pub(super) fn answers_are_blocked(&self, direction: Direction) -> bool {
        self.bound.direction(opposite(direction)).stances().any(|stance| !stance.blocks.is_empty())
    }
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Inbound => Direction::Outbound,
        Direction::Outbound => Direction::Inbound,
    }
}
