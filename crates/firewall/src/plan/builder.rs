//! The plan under construction, and the views of a packet for which chains are built.

use xshield_policy::decide::{NTP, NTS_KEYS};
use xshield_policy::{
    AddressMatch, Bound, BoundFailsafe, BoundStance, Direction, Mode, Passage, PortRange, Ports,
    Service, Unenforceable,
};

use super::live_group::LiveGroup;
use super::model::{Chain, Condition, Family, Field, Label, Line, Next, Set};
use super::recorder::way;
use super::shapes::Entry;
use crate::{Capabilities, Traffic};

/// A plan under construction.
pub(super) struct Builder<'a> {
    pub(super) bound: &'a Bound,
    pub(super) capabilities: &'a Capabilities,
    pub(super) live: Option<LiveGroup>,
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
    pub(super) unenforceable: Vec<Unenforceable>,
}

/// A view of a packet: which of its fields are the peer and the service.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub(super) direction: Direction,
    /// Only answers; never for forwarded traffic, whose chains see both sides.
    pub(super) reply: bool,
    /// For packets that connection tracking can't assign to a flow, by the stance of this mode.
    pub(super) unplaced: Option<Mode>,
    pub(super) traffic: Traffic,
    /// For forwarded traffic judged only by the tested stance, in separate chains.
    pub(super) tested_alone: bool,
}

impl View {
    /// For the host's own traffic.
    pub(super) fn own(direction: Direction, reply: bool) -> Self {
        Self { direction, reply, unplaced: None, traffic: Traffic::Own, tested_alone: false }
    }

    pub(super) fn forwarded(direction: Direction) -> Self {
        Self { traffic: Traffic::Forwarded, ..Self::own(direction, false) }
    }

    /// The prefix of the chains that deny: `in`, `fwd_in`, `fwd_in_test`.
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

    /// The field with the address of this host; for forwarded traffic, the destination that the opener used.
    pub(super) fn local(self, family: Family) -> Field {
        match self.peer(family) {
            Field::Source(family) => Field::Destination(family),
            Field::OriginalSource(family) => Field::OriginalDestination(family),
            Field::OriginalDestination(family) => Field::OriginalSource(family),
            _ => Field::Source(family),
        }
    }

    /// The field with the flow's destination port.
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

    /// The view of forwarded flows in addition to the host's own, if they are judged.
    pub(super) fn forwarded_view(&self, direction: Direction) -> Option<View> {
        let judged = |&passage: &Passage| {
            let (enforced, tested) = self.covers(direction, passage);
            if self.only_tests(direction) { tested } else { enforced }
        };
        let view = View::forwarded(direction);
        Passage::BOTH.iter().any(judged).then_some(view)
    }

    /// Whether the enforced and the tested stance judge such flows. A kernel that can't determine the opener
    /// of a flow judges none; that is reported as a problem.
    pub(super) fn covers(&self, direction: Direction, passage: Passage) -> (bool, bool) {
        let rules = self.bound.forwarded.rules.direction(direction);
        match self.capabilities.forwarded {
            true => rules.covers(direction, passage),
            false => (false, false),
        }
    }

    /// Whether nothing is enforced in a direction, so that its only stance is the tested one.
    pub(super) fn only_tests(&self, direction: Direction) -> bool {
        let rules = self.bound.direction(direction);
        rules.tested.is_some() && rules.enforced == BoundStance::open()
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
