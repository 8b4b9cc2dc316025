//! Rules with their own lines: those for an owner, and those whose sets would grow too large.

use xshield_policy::{Direction, Owner};

use super::builder::{Builder, View, line, with, within};
use super::group::Verb;
use super::model::{Condition, Family, Field, Line, Next, State};
use super::shapes::{Addresses, LineRule, ServiceMatch};

impl Builder<'_> {
    /// Rules with their own lines. Owners are only known for packets that a local socket sends.
    pub(super) fn line_rules(
        &mut self,
        view: View,
        verb: Verb,
        line_rules: &[LineRule],
        next: &Next,
        lines: &mut Vec<Line>,
    ) {
        for (index, line_rule) in line_rules.iter().enumerate() {
            let is_owned = line_rule.owner.is_some();
            if view.is_forwarded() && is_owned {
                // No program of this host has opened it.
                continue;
            }
            if view.reply && is_owned && (verb.is_block() || view.unplaced.is_some()) {
                // A block rule by address only would match other programs' flows; this program sends nothing
                // more. An answer to an unknown flow belongs to no program.
                continue;
            }
            let owner = if view.reply { None } else { line_rule.owner.clone() };
            let name =
                format!("{}_{}{}_r{index}", view.name(), verb.label(), line_rule.family.number());
            lines.extend(self.lines_of_rule(view, line_rule, owner, next, &name));
        }
        let Some(ownerless_chain) = verb.ownerless() else { return };
        if view.reply || view.is_forwarded() || view.direction == Direction::Inbound {
            return;
        }
        let owned: Vec<_> =
            line_rules.iter().enumerate().filter(|(_, p)| p.owner.is_some()).collect();
        if owned.is_empty() {
            return;
        }
        // The kernel itself answers for closed sockets (TIME-WAIT, resets): there is no owner, and only
        // established flows have such packets.
        let mut ownerless = vec![line(vec![Condition::HasOwner], Next::Return)];
        for (index, line_rule) in owned {
            let name = format!("{ownerless_chain}{}_r{index}", line_rule.family.number());
            ownerless.extend(self.lines_of_rule(view, line_rule, None, &Next::Accept, &name));
        }
        self.chain(ownerless_chain, ownerless);
        let established = vec![Condition::State(State::Established)];
        lines.push(line(established, Next::Jump(ownerless_chain.to_owned())));
    }

    fn lines_of_rule(
        &mut self,
        view: View,
        line_rule: &LineRule,
        owner: Option<Owner>,
        next: &Next,
        chain: &str,
    ) -> Vec<Line> {
        let family = line_rule.family;
        let peer = view.peer(family);
        let head: Vec<Condition> =
            [Condition::Family(family)].into_iter().chain(owner.map(Condition::Owner)).collect();
        let heads: Vec<Vec<Condition>> = match &line_rule.addresses {
            Addresses::Any => vec![head],
            Addresses::Set(set) => {
                let key = vec![peer, Field::Protocol];
                vec![with(&head, [Condition::InSet { key, set: set.clone() }])]
            }
            Addresses::Ranges(ranges) => {
                let range = |&(first, last): &(u128, u128)| {
                    with(&head, [Condition::Within { field: peer, first, last }])
                };
                ranges.iter().map(range).collect()
            }
        };
        let service_matches: Vec<Vec<Condition>> = line_rule
            .services
            .iter()
            .map(|service| service_conditions(service, view, family))
            .collect();
        let judged = |conditions| line(conditions, next.clone()).counted(line_rule.label.clone());
        if heads.len() > 1 && service_matches.len() > 1 {
            // Lines are added instead of multiplied.
            let lines = service_matches.into_iter().map(judged).collect();
            self.chain(chain, lines);
            return heads
                .into_iter()
                .map(|head| line(head, Next::Jump(chain.to_owned())))
                .collect();
        }
        let crossed = heads
            .iter()
            .flat_map(|head| service_matches.iter().map(|service| with(head, service.clone())));
        crossed.map(judged).collect()
    }
}

fn service_conditions(wanted: &ServiceMatch, view: View, family: Family) -> Vec<Condition> {
    let service = view.service();
    match wanted {
        ServiceMatch::Any => Vec::new(),
        ServiceMatch::Protocol(protocol) => vec![Condition::Protocol(*protocol)],
        ServiceMatch::Ports(protocol, (first, last)) => {
            vec![Condition::Protocol(*protocol), within(service, *first, *last)]
        }
        ServiceMatch::PortSet(set) => {
            vec![Condition::InSet { key: vec![Field::Protocol, service], set: set.clone() }]
        }
        ServiceMatch::IcmpTypes((first, last)) => {
            vec![Condition::Protocol(family.icmp()), within(Field::IcmpType(family), *first, *last)]
        }
    }
}
