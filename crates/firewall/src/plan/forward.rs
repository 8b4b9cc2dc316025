//! Forwarded packets: which of them are judged, and by which chain.
//!
//! | chain | |
//! |---|---|
//! | `fwd` | distinguishes translated packets and those within a bridge |
//! | `fwd_translated`, `fwd_routed` | opened from inside or from outside |
//! | `fwd_in`, `fwd_out` | the rules of inbound and of outbound flows, as for the host's own |
//! | `fwd_in_test`, `fwd_out_test` | the tested stance of flows that the enforced one does not judge |
//!
//! Both sides' packets are judged by the same key: the opener's addresses and port before any translation, as
//! stored by connection tracking. So a stricter policy ends exactly the flows that it denies, as for the
//! host's own. Only the opener's packets are recorded. The sets of the rules are those of the host's own
//! traffic.

use xshield_policy::{Direction, InterfaceName, Mode, Passage};

use super::builder::{Builder, View, line};
use super::model::{Condition, ENTRY_FORWARD, Element, Field, FieldType, Line, Next, Set, Shape};

/// The set of inner interfaces.
const INNER: &str = "inner";
/// The set of pairs of the same bridge: packets that enter and leave by it.
const SWITCHED: &str = "switched";
const TRANSLATED: &str = "fwd_translated";
const ROUTED: &str = "fwd_routed";
/// The label of lines that accept packets that are not judged.
const LEFT_ALONE: &str = "default/left-alone";

impl Builder<'_> {
    /// Sends packets of the forward hook to the chains that judge them. Without such chains there is no chain
    /// at that hook.
    pub(super) fn forward_entry(&mut self) {
        let mut tested_alone = false;
        let mut chain_of = |direction, passage| {
            let (enforced, tested) = self.covers(direction, passage);
            let view = View::forwarded(direction);
            match (enforced || self.only_tests(direction), tested) {
                (_, false) => None,
                (true, true) => Some(view.name()),
                (false, true) => {
                    tested_alone = true;
                    Some(View { tested_alone: true, ..view }.name())
                }
            }
        };
        let published = chain_of(Direction::Inbound, Passage::Translated);
        let routed = chain_of(Direction::Inbound, Passage::Routed);
        let outward = chain_of(Direction::Outbound, Passage::Routed);
        if tested_alone {
            Direction::BOTH.into_iter().for_each(|direction| self.tested_alone(direction));
        }
        if [&published, &routed, &outward].iter().all(|chain| chain.is_none()) {
            return;
        }
        self.interfaces();
        let translated = vec![Condition::Translated];
        let mut lines = vec![line(translated, Next::Goto(TRANSLATED.to_owned()))];
        if routed.is_some() || outward.is_some() {
            if !self.bound.forwarded.interfaces.bridges.is_empty() {
                let key = vec![Field::InputName, Field::OutputName];
                let same = Condition::InSet { key, set: SWITCHED.to_owned() };
                lines.push(to_chain(vec![same], None));
            }
            lines.push(line(Vec::new(), Next::Goto(ROUTED.to_owned())));
            let sides = self.sides(outward.as_deref(), routed.as_deref());
            self.chain(ROUTED, sides);
        } else {
            lines.push(to_chain(Vec::new(), None));
        }
        let sides = self.sides(outward.as_deref(), published.as_deref());
        self.chain(TRANSLATED, sides);
        self.chain(ENTRY_FORWARD, lines);
    }

    /// Determines by the opener's interface from which side a flow was opened.
    fn sides(&self, inside: Option<&str>, outside: Option<&str>) -> Vec<Line> {
        let mut lines = Vec::new();
        if !self.bound.forwarded.interfaces.inner.is_empty() {
            let leads_inside = |field| Condition::InSet { key: vec![field], set: INNER.to_owned() };
            let answer = vec![Condition::Reply, leads_inside(Field::OutputName)];
            lines.push(to_chain(answer, inside));
            lines.push(to_chain(vec![Condition::Reply], outside));
            lines.push(to_chain(vec![leads_inside(Field::InputName)], inside));
        }
        lines.push(to_chain(Vec::new(), outside));
        lines
    }

    /// Chains of flows judged only by the tested stance, although there is an enforced one.
    fn tested_alone(&mut self, direction: Direction) {
        let alone = |passage: &Passage| self.covers(direction, *passage) == (false, true);
        if self.only_tests(direction) || !Passage::BOTH.iter().any(alone) {
            return;
        }
        let rules = self.bound.direction(direction);
        let stance = rules.tested.as_ref().unwrap_or(&rules.enforced);
        let view = View { tested_alone: true, ..View::forwarded(direction) };
        self.stance_apart(view, stance, Mode::Test);
    }

    /// The interface names that the lines use.
    fn interfaces(&mut self) {
        let interfaces = &self.bound.forwarded.interfaces;
        let set = |name: &str, label: &str, names: Vec<[u128; 4]>, fields: usize| Set {
            name: name.to_owned(),
            key: vec![FieldType::InterfaceName; fields],
            shape: Shape::Exact,
            counted: false,
            elements: names
                .into_iter()
                .map(|key| Element { first: key, last: key, label: label.into() })
                .collect(),
        };
        let inner = interfaces.inner.iter().map(|name| [number(name), 0, 0, 0]).collect();
        let bridges = interfaces.bridges.iter();
        let switched = bridges.map(|name| [number(name), number(name), 0, 0]).collect();
        let sets = [
            set(INNER, "forwarded/inside", inner, 1),
            set(SWITCHED, "forwarded/switched", switched, 2),
        ];
        for mut set in sets.into_iter().filter(|set| !set.elements.is_empty()) {
            set.elements.sort_unstable();
            self.sets.push(set);
        }
    }
}

/// A jump to a chain that judges, or acceptance.
fn to_chain(conditions: Vec<Condition>, chain: Option<&str>) -> Line {
    match chain {
        Some(chain) => line(conditions, Next::Goto(chain.to_owned())),
        None => line(conditions, Next::Accept).labelled(LEFT_ALONE),
    }
}

/// A name as the kernel compares it: its bytes, padded with zeros to sixteen.
fn number(name: &InterfaceName) -> u128 {
    let mut bytes = [0; 16];
    for (byte, of_name) in bytes.iter_mut().zip(name.as_str().bytes()) {
        *byte = of_name;
    }
    u128::from_be_bytes(bytes)
}
