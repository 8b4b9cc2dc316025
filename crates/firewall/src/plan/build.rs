//! [`plan`]: which chains there are, and what stands in them.

use xshield_policy::decide::{DISCOVERY_TYPES, ICMP_ERRORS, ICMPV6_ERRORS};
use xshield_policy::{
    AddressMatch, Bound, BoundFailsafe, BoundRule, Direction, Mode, Owner, PortRange, Ports,
    Service, Subject, Unenforceable,
};

use super::live::{LIVE_COUNTER, LiveGroup, live_line};
use super::model::{
    Chain, Condition, ENTRY_IN, ENTRY_OUT, Effect, Element, Family, Field, FieldType, Label, Line,
    Next, Plan, Recorder, Set, Shape, State,
};
use super::recorder::{RecorderLimits, pass_chain, record_chain, recorder, way};
use super::shapes::{Addresses, Entry, Lane, Product, Shapes, set_ranges, shapes};
use crate::{Capabilities, FlowKind};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Log lines per second and direction, and how many in one go.
const LOG_RATE: (u64, u32) = (10, 20);

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
    let recorder = if capabilities.recorder {
        recorder(RecorderLimits::default())
    } else {
        Recorder::default()
    };
    Plan {
        revision: bound.revision,
        sets: builder.sets,
        chains: builder.chains,
        recorder,
        counters: live.map(|_| LIVE_COUNTER.to_owned()).into_iter().collect(),
        unenforceable: builder.unenforceable,
    }
}

pub(super) struct Builder<'a> {
    bound: &'a Bound,
    pub(super) capabilities: &'a Capabilities,
    live: Option<LiveGroup>,
    sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
    unenforceable: Vec<Unenforceable>,
}

/// One of the four ways to look at a packet.
#[derive(Clone, Copy)]
pub(super) struct View {
    direction: Direction,
    reply: bool,
}

impl View {
    pub(super) fn name(self) -> String {
        // An inbound flow's replies leave by the output hook.
        let inward = (self.direction == Direction::Inbound) != self.reply;
        format!(
            "{}_{}",
            if inward { "in" } else { "out" },
            if self.reply { "reply" } else { "orig" }
        )
    }

    pub(super) fn peer(self, family: Family) -> Field {
        if (self.direction == Direction::Inbound) != self.reply {
            Field::Source(family)
        } else {
            Field::Destination(family)
        }
    }

    /// The port of the flow's destination.
    pub(super) fn service(self) -> Field {
        if self.reply { Field::SourcePort } else { Field::DestinationPort }
    }
}

pub(super) fn line(conditions: Vec<Condition>, next: Next) -> Line {
    Line { conditions, counted: false, effect: None, next: Some(next), label: None }
}

impl Line {
    pub(super) fn counted(self, label: impl Into<Label>) -> Self {
        Self { counted: true, label: Some(label.into()), ..self }
    }

    fn labelled(self, label: impl Into<Label>) -> Self {
        Self { label: Some(label.into()), ..self }
    }
}

fn within(field: Field, first: u16, last: u16) -> Condition {
    Condition::Within { field, first: first.into(), last: last.into() }
}

impl Builder<'_> {
    fn chain(&mut self, name: impl Into<String>, lines: Vec<Line>) {
        self.chains.push(Chain { name: name.into(), lines });
    }

    fn intranet(&mut self) {
        let asked = Direction::BOTH
            .iter()
            .any(|&direction| self.bound.direction(direction).subject == Subject::Internet);
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

    fn direction(&mut self, direction: Direction) {
        let rules = self.bound.direction(direction);
        let prefix = |action: &str| format!("{action}_{}", way(direction));
        let failsafe = failsafe_entries(&self.bound.failsafe, direction);
        let blocks = self.entries(&rules.blocks, direction);
        let allows = self.entries(&rules.allows, direction);
        let mut groups = [
            (Verb::Failsafe, shapes(&failsafe, &prefix("fs"), self.capabilities)),
            (Verb::Block, shapes(&blocks, &prefix("block"), self.capabilities)),
            (Verb::Allow, shapes(&allows, &prefix("allow"), self.capabilities)),
        ];
        for reply in [false, true] {
            self.view(View { direction, reply }, &groups);
        }
        for (_, shapes) in &mut groups {
            self.sets.append(&mut shapes.sets);
        }
        self.denial(direction, "none");
        if !rules.blocks.is_empty() {
            self.denial(direction, "block");
        }
    }

    /// Rules in terms of the plan; those that the kernel can't express are told and left out.
    fn entries(&mut self, rules: &[BoundRule], direction: Direction) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(rules.len());
        for rule in rules {
            if matches!(rule.owner, Some(Owner::Cgroup(_))) && !self.capabilities.cgroups {
                let reason = "this kernel can't match the cgroup of a socket".to_owned();
                self.unenforceable.push(Unenforceable { rule: rule.id.clone(), direction, reason });
                continue;
            }
            entries.push(Entry {
                label: rule.id.as_str().into(),
                peers: rule.peers.clone(),
                services: rule.services.clone(),
                owner: rule.owner.clone(),
            });
        }
        entries
    }

    fn view(&mut self, view: View, groups: &[(Verb, Shapes)]) {
        let mut lines = Vec::new();
        for family in Family::BOTH {
            let icmp = vec![Condition::Family(family), Condition::Protocol(family.icmp())];
            if view.reply {
                // An answer to a request that was judged, or an error about a flow that was.
                lines.push(line(icmp, Next::Accept));
            } else {
                lines.push(line(icmp, Next::Jump(format!("icmp{}", family.number()))));
            }
        }
        lines.extend(Family::BOTH.map(|family| dhcp(view, family)));
        for (verb, shapes) in groups {
            let next = self.next(view, *verb);
            for lookup in &shapes.lookups {
                lines.extend(self.lookup(view, *verb, lookup, &next));
            }
            self.products(view, *verb, &shapes.products, &next, &mut lines);
        }
        self.level(view, &mut lines);
        self.chain(view.name(), lines);
    }

    /// Where a packet goes that a rule of this kind matches.
    fn next(&self, view: View, verb: Verb) -> Next {
        match verb {
            Verb::Block if view.reply => self.final_denial(view.direction),
            Verb::Block => Next::Goto(deny_chain(view.direction, "block")),
            Verb::Failsafe | Verb::Allow => self.pass(view),
        }
    }

    fn pass(&self, view: View) -> Next {
        if self.capabilities.recorder && !view.reply {
            Next::Goto(pass_chain(view.direction))
        } else {
            Next::Accept
        }
    }

    fn final_denial(&self, direction: Direction) -> Next {
        match self.bound.direction(direction).mode {
            Mode::Enforce => Next::Drop,
            Mode::Test => Next::Accept,
        }
    }

    /// Level and mode.
    fn level(&mut self, view: View, lines: &mut Vec<Line>) {
        let pass = self.pass(view);
        let deny = if view.reply {
            self.final_denial(view.direction)
        } else {
            Next::Goto(deny_chain(view.direction, "none"))
        };
        let intranet = |condition: Condition, family: Family| {
            line(vec![Condition::Family(family), condition], pass.clone())
                .counted("default/intranet")
        };
        match self.bound.direction(view.direction).subject {
            Subject::Nothing => {
                lines.push(line(Vec::new(), pass).counted("default/open"));
                return;
            }
            Subject::Everything => {}
            Subject::Internet => {
                for family in Family::BOTH {
                    let ranges = set_ranges(&self.bound.intranet, family);
                    let field = view.peer(family);
                    if self.capabilities.concat_intervals && !ranges.is_empty() {
                        let key = vec![field, Field::Protocol];
                        let set = intranet_set(family);
                        lines.push(intranet(Condition::InSet { key, set }, family));
                    } else {
                        lines.extend(ranges.into_iter().map(|(first, last)| {
                            intranet(Condition::Within { field, first, last }, family)
                        }));
                    }
                }
            }
        }
        lines.push(line(Vec::new(), deny).counted("default/closed"));
    }

    /// Rules that stand in lines of their own. Owners are known only where a local socket sends.
    fn products(
        &mut self,
        view: View,
        verb: Verb,
        products: &[Product],
        next: &Next,
        lines: &mut Vec<Line>,
    ) {
        for (index, product) in products.iter().enumerate() {
            if view.reply && product.owner.is_some() && verb == Verb::Block {
                // By address alone it would hit other programs' flows; this one sends nothing more.
                continue;
            }
            let owner = if view.reply { None } else { product.owner.clone() };
            let name =
                format!("{}_{}{}_r{index}", view.name(), verb.label(), product.family.number());
            lines.extend(self.product_lines(view, product, owner, next, &name));
        }
        if view.reply || view.direction == Direction::Inbound || verb != Verb::Allow {
            return;
        }
        let owned: Vec<_> =
            products.iter().enumerate().filter(|(_, p)| p.owner.is_some()).collect();
        if owned.is_empty() {
            return;
        }
        // The kernel itself answers for sockets that are gone (TIME-WAIT, resets): no owner is left to
        // ask, and only established flows have such packets.
        let mut ownerless = vec![line(vec![Condition::HasOwner], Next::Return)];
        for (index, product) in owned {
            let name = format!("ownerless{}_r{index}", product.family.number());
            ownerless.extend(self.product_lines(view, product, None, &Next::Accept, &name));
        }
        self.chain("ownerless", ownerless);
        let established = vec![Condition::State(State::Established)];
        lines.push(line(established, Next::Jump("ownerless".to_owned())));
    }

    fn product_lines(
        &mut self,
        view: View,
        product: &Product,
        owner: Option<Owner>,
        next: &Next,
        chain: &str,
    ) -> Vec<Line> {
        let family = product.family;
        let peer = view.peer(family);
        let head: Vec<Condition> =
            [Condition::Family(family)].into_iter().chain(owner.map(Condition::Owner)).collect();
        let heads: Vec<Vec<Condition>> = match &product.addresses {
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
        let lanes: Vec<Vec<Condition>> =
            product.services.iter().map(|lane| lane_conditions(lane, view, family)).collect();
        let judged = |conditions| line(conditions, next.clone()).counted(product.label.clone());
        if heads.len() > 1 && lanes.len() > 1 {
            // Lines add up instead of multiplying.
            let lines = lanes.into_iter().map(judged).collect();
            self.chain(chain, lines);
            return heads
                .into_iter()
                .map(|head| line(head, Next::Jump(chain.to_owned())))
                .collect();
        }
        let crossed =
            heads.iter().flat_map(|head| lanes.iter().map(|lane| with(head, lane.clone())));
        crossed.map(judged).collect()
    }

    /// Records and logs a denial, then gives the last verdict.
    fn denial(&mut self, direction: Direction, rule: &str) {
        let (kind, word) = match self.bound.direction(direction).mode {
            Mode::Enforce => (FlowKind::Denied, "DENY"),
            Mode::Test => (FlowKind::WouldDeny, "WOULD"),
        };
        let verdict = self.final_denial(direction);
        let stray = vec![Condition::State(State::Invalid), Condition::Protocol(TCP)];
        let mut lines = vec![line(stray, verdict.clone()).counted("default/stray")];
        if self.capabilities.recorder {
            lines.push(line(Vec::new(), Next::Jump(record_chain(kind, direction))));
        }
        let (per_second, burst) = LOG_RATE;
        let prefix = format!("xshield: {word} {} rule={rule} ", way(direction));
        let handed_over = self.live.map(|group| live_line(group, prefix.clone()));
        lines.push(Line {
            conditions: Vec::new(),
            counted: false,
            effect: Some(Effect::Log { prefix, per_second, burst }),
            next: None,
            label: None,
        });
        lines.extend(handed_over);
        lines.push(line(Vec::new(), verdict));
        self.chain(deny_chain(direction, rule), lines);
    }
}

/// What a group of rules does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Failsafe,
    Block,
    Allow,
}

impl Verb {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Failsafe => "failsafe",
            Self::Block => "block",
            Self::Allow => "allow",
        }
    }
}

pub(super) fn with(
    head: &[Condition],
    tail: impl IntoIterator<Item = Condition>,
) -> Vec<Condition> {
    head.iter().cloned().chain(tail).collect()
}

fn lane_conditions(lane: &Lane, view: View, family: Family) -> Vec<Condition> {
    let service = view.service();
    match lane {
        Lane::Any => Vec::new(),
        Lane::Protocol(protocol) => vec![Condition::Protocol(*protocol)],
        Lane::Ports(protocol, (first, last)) => {
            vec![Condition::Protocol(*protocol), within(service, *first, *last)]
        }
        Lane::PortSet(set) => {
            vec![Condition::InSet { key: vec![Field::Protocol, service], set: set.clone() }]
        }
        Lane::IcmpTypes((first, last)) => {
            vec![Condition::Protocol(family.icmp()), within(Field::IcmpType(family), *first, *last)]
        }
    }
}

fn deny_chain(direction: Direction, rule: &str) -> String {
    format!("deny_{}_{rule}", way(direction))
}

fn intranet_set(family: Family) -> String {
    format!("intranet{}", family.number())
}

/// DHCP by its fixed ports: 67 and 68 (RFC 2131), 547 and 546 (RFC 8415).
fn dhcp(view: View, family: Family) -> Line {
    let (server, client) = match family {
        Family::V4 => (67, 68),
        Family::V6 => (547, 546),
    };
    let (opener, service) = match view.direction {
        Direction::Inbound => (server, client),
        Direction::Outbound => (client, server),
    };
    let (source, destination) = if view.reply { (service, opener) } else { (opener, service) };
    let conditions = vec![
        Condition::Family(family),
        Condition::Protocol(UDP),
        within(Field::SourcePort, source, source),
        within(Field::DestinationPort, destination, destination),
    ];
    line(conditions, Next::Accept).counted("failsafe/dhcp")
}

/// The failsafe flows that depend on the ruleset, as rules.
fn failsafe_entries(failsafe: &BoundFailsafe, direction: Direction) -> Vec<Entry> {
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
