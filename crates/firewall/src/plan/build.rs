//! [`plan`]: which chains there are, and what stands in them.

use xshield_policy::decide::{DISCOVERY_TYPES, ICMP_ERRORS, ICMPV6_ERRORS, NTP, NTS_KEYS};
use xshield_policy::protocol::TCP;
use xshield_policy::{
    AddressMatch, Bound, BoundFailsafe, Direction, Mode, PortRange, Ports, Service, Subject,
    Unenforceable,
};

use super::live::{LIVE_COUNTER, LiveGroup};
use super::model::{
    Chain, Condition, ENTRY_FORWARD, ENTRY_IN, ENTRY_OUT, Element, Family, Field, FieldType, Label,
    Line, Next, Plan, Recorder, Set, Shape,
};
use super::recorder::{RecorderLimits, recorder, way};
use super::shapes::{Entry, set_ranges};
use crate::{Capabilities, Traffic};

/// Translates a bound ruleset for a kernel with these capabilities.
#[must_use]
pub fn plan(bound: &Bound, capabilities: &Capabilities) -> Plan {
    plan_with(bound, capabilities, None)
}

/// As [`plan`]; with a group, denied packets are handed to it as they come.
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

pub(super) struct Builder<'a> {
    pub(super) bound: &'a Bound,
    pub(super) capabilities: &'a Capabilities,
    pub(super) live: Option<LiveGroup>,
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
    pub(super) unenforceable: Vec<Unenforceable>,
}

/// One of the ways to look at a packet.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub(super) direction: Direction,
    /// Only answers come by; never of forwarded traffic, whose chains see both.
    pub(super) reply: bool,
    /// Of packets that connection tracking can't place, by the stance of this mode.
    pub(super) unplaced: Option<Mode>,
    pub(super) traffic: Traffic,
    /// Forwarded traffic that the tested stance alone judges, in chains of its own.
    pub(super) tested_alone: bool,
}

impl View {
    /// Of the host's own traffic.
    pub(super) fn own(direction: Direction, reply: bool) -> Self {
        Self { direction, reply, unplaced: None, traffic: Traffic::Own, tested_alone: false }
    }

    pub(super) fn forwarded(direction: Direction) -> Self {
        Self { traffic: Traffic::Forwarded, ..Self::own(direction, false) }
    }

    /// How the chains of its denials are called: `in`, `fwd_in`, `fwd_in_test`.
    pub(super) fn stem(self) -> String {
        let way = way(self.direction);
        match (self.traffic, self.tested_alone) {
            (Traffic::Own, _) => way.to_owned(),
            (Traffic::Forwarded, false) => format!("fwd_{way}"),
            (Traffic::Forwarded, true) => format!("fwd_{way}_test"),
        }
    }

    pub(super) fn is_forwarded_outbound(self) -> bool {
        self.is_forwarded() && self.direction == Direction::Outbound
    }

    pub(super) fn is_forwarded(self) -> bool {
        self.traffic == Traffic::Forwarded
    }

    pub(super) fn name(self) -> String {
        if self.is_forwarded() {
            return self.stem();
        }
        // An inbound flow's replies leave by the output hook.
        let inward = (self.direction == Direction::Inbound) != self.reply;
        let packets = match (self.reply, self.unplaced) {
            (_, Some(Mode::Enforce)) => "answer",
            (_, Some(Mode::Test)) => "answer_tested",
            (true, None) => "reply",
            (false, None) => "orig",
        };
        format!("{}_{packets}", if inward { "in" } else { "out" })
    }

    pub(super) fn peer(self, family: Family) -> Field {
        if self.is_forwarded() {
            return match self.direction {
                Direction::Inbound => Field::OriginalSource(family),
                Direction::Outbound => Field::OriginalDestination(family),
            };
        }
        if (self.direction == Direction::Inbound) != self.reply {
            Field::Source(family)
        } else {
            Field::Destination(family)
        }
    }

    /// The address of this end; of forwarded traffic, of the end that the opener asked for.
    pub(super) fn local(self, family: Family) -> Field {
        match self.peer(family) {
            Field::Source(family) => Field::Destination(family),
            Field::OriginalSource(family) => Field::OriginalDestination(family),
            Field::OriginalDestination(family) => Field::OriginalSource(family),
            _ => Field::Source(family),
        }
    }

    /// The port of the flow's destination.
    pub(super) fn service(self) -> Field {
        match (self.traffic, self.reply) {
            (Traffic::Forwarded, _) => Field::OriginalPort,
            (Traffic::Own, true) => Field::SourcePort,
            (Traffic::Own, false) => Field::DestinationPort,
        }
    }
}

pub(super) fn line(conditions: Vec<Condition>, next: Next) -> Line {
    Line { conditions, counted: false, effect: None, next: Some(next), label: None }
}

impl Line {
    pub(super) fn counted(self, label: impl Into<Label>) -> Self {
        Self { counted: true, label: Some(label.into()), ..self }
    }

    pub(super) fn labelled(self, label: impl Into<Label>) -> Self {
        Self { label: Some(label.into()), ..self }
    }
}

pub(super) fn within(field: Field, first: u16, last: u16) -> Condition {
    Condition::Within { field, first: first.into(), last: last.into() }
}

impl Builder<'_> {
    pub(super) fn chain(&mut self, name: impl Into<String>, lines: Vec<Line>) {
        self.chains.push(Chain { name: name.into(), lines });
    }

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

    /// Who opens a flow is what conntrack says, except that a SYN without ACK always opens one.
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

pub(super) fn with(
    head: &[Condition],
    tail: impl IntoIterator<Item = Condition>,
) -> Vec<Condition> {
    head.iter().cloned().chain(tail).collect()
}

pub(super) fn intranet_set(family: Family) -> String {
    format!("intranet{}", family.number())
}

/// The failsafe flows that depend on the ruleset, as rules.
pub(super) fn failsafe_entries(failsafe: &BoundFailsafe, direction: Direction) -> Vec<Entry> {
    let entry = |label: &str, peers: AddressMatch, services: Vec<Service>| Entry {
        label: label.into(),
        peers,
        services,
        owner: None,
    };
    let only = |address: std::net::IpAddr| AddressMatch::Only([address].into_iter().collect());
    let port = |port: u16| Ports::Range(PortRange::single(port));
    match direction {
        Direction::Inbound => {
            let management = failsafe.management.iter();
            let source = |net: ipnet::IpNet| AddressMatch::Only([net].into_iter().collect());
            management
                .map(|m| entry("failsafe/management", source(m.from), m.services.clone()))
                .collect()
        }
        Direction::Outbound => {
            let endpoints = failsafe.endpoints.iter();
            let mut entries: Vec<Entry> = endpoints
                .map(|end| {
                    let services = vec![Service::Tcp(port(end.port()))];
                    entry("failsafe/platform", only(end.ip()), services)
                })
                .collect();
            let dns = vec![Service::Tcp(port(53)), Service::Udp(port(53))];
            entries.push(entry("failsafe/dns", failsafe.resolvers.clone(), dns));
            for (servers, service) in [
                (&failsafe.time_servers, Service::Udp(port(NTP))),
                (&failsafe.time_key_servers, Service::Tcp(port(NTS_KEYS))),
            ] {
                if !servers.is_empty() {
                    let servers = AddressMatch::Only(servers.clone());
                    entries.push(entry("failsafe/ntp", servers, vec![service]));
                }
            }
            entries
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
