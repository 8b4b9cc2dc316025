//! [`plan`]: the chains and their content.

use xshield_policy::decide::{DISCOVERY_TYPES, ICMP_ERRORS, ICMPV6_ERRORS};
use xshield_policy::protocol::TCP;
use xshield_policy::{Bound, Direction, Subject};

use super::builder::{Builder, intranet_set, line, within};
use super::live::LIVE_COUNTER;
use super::live_group::LiveGroup;
use super::model::{
    Condition, ENTRY_FORWARD, ENTRY_IN, ENTRY_OUT, Element, Family, Field, FieldType, Next, Plan,
    Recorder, Set, Shape,
};
use super::recorder::{RecorderLimits, recorder};
use super::shapes::set_ranges;
use crate::{Capabilities, Traffic};

/// Translates a bound ruleset for a kernel with these capabilities.
#[must_use]
pub fn plan(bound: &Bound, capabilities: &Capabilities) -> Plan {
    plan_with(bound, capabilities, None)
}

/// Like [`plan`]; with a group, denied packets are sent to it as they occur.
#[must_use]
pub fn plan_with(bound: &Bound, capabilities: &Capabilities, live: Option<LiveGroup>) -> Plan {
    let mut builder = Builder {
        bound,
        capabilities,
        live,
        sets: Vec::new(),
        chains: Vec::new(),
        unenforceable: Vec::new(),
    };
    builder.intranet();
    builder.entry_chains();
    builder.icmp_chains();
    for direction in Direction::BOTH {
        builder.direction(direction);
    }
    builder.forward_entry();
    let recorder = |traffic| {
        if capabilities.recorder {
            recorder(traffic, RecorderLimits::default())
        } else {
            Recorder::default()
        }
    };
    let judges_forwarded = builder.chains.iter().any(|chain| chain.name == ENTRY_FORWARD);
    Plan {
        revision: bound.revision,
        sets: builder.sets,
        chains: builder.chains,
        recorder: recorder(Traffic::Own),
        forwarded_recorder: if judges_forwarded {
            recorder(Traffic::Forwarded)
        } else {
            Recorder::default()
        },
        counters: live.map(|_| LIVE_COUNTER.to_owned()).into_iter().collect(),
        unenforceable: builder.unenforceable,
    }
}

impl Builder<'_> {
    fn intranet(&mut self) {
        let stances = Direction::BOTH.map(|direction| self.bound.direction(direction).stances());
        let asked = stances.into_iter().flatten().any(|s| s.subject == Subject::Internet);
        if !asked || !self.capabilities.concat_intervals {
            return;
        }
        for family in Family::BOTH {
            let elements: Vec<Element> = set_ranges(&self.bound.intranet, family)
                .into_iter()
                .map(|(lo, hi)| Element {
                    first: [lo, 0, 0, 0],
                    last: [hi, 255, 0, 0],
                    label: "default/intranet".into(),
                })
                .collect();
            if !elements.is_empty() {
                let key = vec![FieldType::Address(family), FieldType::Protocol];
                let name = intranet_set(family);
                self.sets.push(Set { name, key, shape: Shape::Boxes, counted: false, elements });
            }
        }
    }

    /// Conntrack determines the opener of a flow, except that a SYN without ACK always opens one.
    fn entry_chains(&mut self) {
        for (name, loopback) in
            [(ENTRY_IN, Condition::InputLoopback), (ENTRY_OUT, Condition::OutputLoopback)]
        {
            let opener = Next::Goto(format!("{name}_orig"));
            let opens = vec![Condition::Reply, Condition::Protocol(TCP), Condition::Opens];
            self.chain(
                name,
                vec![
                    line(vec![loopback], Next::Accept).labelled("failsafe/loopback"),
                    line(opens, opener.clone()),
                    line(vec![Condition::Reply], Next::Goto(format!("{name}_reply"))),
                    line(Vec::new(), opener),
                ],
            );
        }
    }

    fn icmp_chains(&mut self) {
        for family in Family::BOTH {
            let accept = |types: &[u8], label: &str| {
                let accept = |(first, last): (u8, u8)| {
                    let types = within(Field::IcmpType(family), first.into(), last.into());
                    let icmp = Condition::Protocol(family.icmp());
                    line(vec![icmp, types], Next::Accept).counted(label)
                };
                runs(types).into_iter().map(accept).collect::<Vec<_>>()
            };
            let lines = match family {
                Family::V4 => accept(&ICMP_ERRORS, "failsafe/icmp-error"),
                Family::V6 => {
                    let mut lines = accept(&DISCOVERY_TYPES, "failsafe/neighbour-discovery");
                    lines.extend(accept(&ICMPV6_ERRORS, "failsafe/icmp-error"));
                    lines
                }
            };
            self.chain(format!("icmp{}", family.number()), lines);
        }
    }
}

/// Consecutive numbers as ranges.
fn runs(numbers: &[u8]) -> Vec<(u8, u8)> {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some(run) if run.1.checked_add(1) == Some(number) => run.1 = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}
