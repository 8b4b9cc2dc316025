//! Look-ups as lines of a chain, and chains that select one of many sets.

use super::builder::{Builder, View, line, with};
use super::group::Verb;
use super::model::{Chain, Condition, Field, Line, Next};
use super::shapes::{Lookup, LookupKey, Sets};
use super::tree::{Axis, Tree};

impl Builder<'_> {
    /// The lines of a look-up; if it is split into parts, creates the parts' chains.
    pub(super) fn lookup(
        &mut self,
        view: View,
        verb: Verb,
        lookup: &Lookup,
        next: &Next,
    ) -> Vec<Line> {
        let of_protocol = lookup.protocol.map(Condition::Protocol);
        let head = [Some(Condition::Family(lookup.family)), of_protocol];
        let head: Vec<Condition> = head.into_iter().flatten().collect();
        match &lookup.sets {
            Sets::One(set) => vec![self.set_line(view, verb, lookup, head, set, next)],
            Sets::Parted { stem, tree } => {
                let mut parts = Vec::new();
                let verb_line =
                    |set: &String| self.set_line(view, verb, lookup, head.clone(), set, next);
                let stem = format!("{}_{}_{stem}", view.name(), verb.label());
                let root = parted(tree, &mut parts, &stem, &verb_line, &|axis, first, last| {
                    let field = match axis {
                        Axis::Address => view.peer(lookup.family),
                        Axis::Service => lookup.service(view),
                    };
                    with(&head, [Condition::Within { field, first, last }])
                });
                self.chains.append(&mut parts);
                vec![line(head.clone(), Next::Jump(root))]
            }
        }
    }

    fn set_line(
        &self,
        view: View,
        verb: Verb,
        lookup: &Lookup,
        head: Vec<Condition>,
        set: &str,
        next: &Next,
    ) -> Line {
        let (peer, service) = (view.peer(lookup.family), lookup.service(view));
        let key = match lookup.asks {
            LookupKey::AddressAndPort => vec![peer, Field::Protocol, service],
            LookupKey::Port => vec![Field::Protocol, service],
            LookupKey::AddressAndProtocol | LookupKey::AddressAndIcmpType => vec![peer, service],
        };
        let line = line(with(&head, [Condition::InSet { key, set: set.to_owned() }]), next.clone());
        if self.capabilities.element_counters { line } else { line.counted(verb.label()) }
    }
}

impl Lookup {
    /// What is looked up in addition to address and protocol.
    fn service(&self, view: View) -> Field {
        match self.asks {
            LookupKey::AddressAndPort | LookupKey::Port => view.service(),
            LookupKey::AddressAndProtocol => Field::Protocol,
            LookupKey::AddressAndIcmpType => Field::IcmpType(self.family),
        }
    }
}

/// Creates the chains of a tree; returns the name of the first. A packet that matches nothing returns from
/// there.
fn parted(
    tree: &Tree<Vec<String>>,
    chains: &mut Vec<Chain>,
    stem: &str,
    leaf: &dyn Fn(&String) -> Line,
    branch: &dyn Fn(Axis, u128, u128) -> Vec<Condition>,
) -> String {
    let index = chains.len();
    let name = format!("{stem}_{index}");
    chains.push(Chain { name: name.clone(), lines: Vec::new() });
    let lines = match tree {
        Tree::Leaf(sets) => sets.iter().map(leaf).collect(),
        Tree::Fork { axis, branches } => branches
            .iter()
            .map(|(range, tree)| {
                let conditions = branch(*axis, range.0, range.1);
                line(conditions, Next::Goto(parted(tree, chains, stem, leaf, branch)))
            })
            .collect(),
    };
    chains[index].lines = lines;
    name
}
