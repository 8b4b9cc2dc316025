//! Evaluates a plan for the first packet of a flow: follows the chains like the kernel.

use std::collections::HashMap;
use std::net::IpAddr;

use xshield_policy::packet::Transport;
use xshield_policy::protocol::{SCTP, TCP, UDP};
use xshield_policy::{Direction, ForwardedPacket, Packet, Passage, Verdict};

use super::model::{
    Chain, Condition, ENTRY_FORWARD, ENTRY_IN, ENTRY_OUT, Element, Field, Key, Label, Line, Next,
    Set, State,
};
use super::shapes::{family, number};

/// A line whose conditions match the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalStep {
    /// The chain.
    pub chain: String,
    /// The line's position in it, from 0.
    pub line: usize,
    /// The set element that matched, with the set's name.
    pub element: Option<(String, Element)>,
    /// The policy rule from which the line or element comes.
    pub label: Option<Label>,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// The verdict.
    pub verdict: Verdict,
    /// The lines that led to it.
    pub steps: Vec<EvalStep>,
}

impl Evaluation {
    /// What accepted the packet: the first matching rule, else a level. What denied it: the last label before
    /// the chains that deny.
    #[must_use]
    pub fn decided_by(&self) -> Option<&Label> {
        let asked_last = self.steps.iter().filter_map(|step| step.label.as_ref());
        let failsafe = asked_last.rev().find(|label| label.starts_with("failsafe/"));
        if let (Verdict::Allow, Some(label)) = (self.verdict, failsafe) {
            return Some(label);
        }
        let steps = self.steps.iter().filter(|step| !is_denial(&step.chain));
        let mut labels = steps.filter_map(|step| step.label.as_ref());
        let last = labels.clone().next_back();
        match self.verdict {
            Verdict::Allow => labels.find(|label| !label.starts_with("default/")).or(last),
            Verdict::Deny | Verdict::WouldDeny => last,
        }
    }
}

fn is_denial(chain: &str) -> bool {
    chain.starts_with("deny_")
}

/// Whether the fields are names of interfaces.
fn is_of_interfaces(key: &[Field]) -> bool {
    key.iter().any(|field| matches!(field, Field::InputName | Field::OutputName))
}

/// No plan has deeper jumps; the kernel refuses them, too.
const MAX_DEPTH: usize = 16;

/// Evaluates the chains for a packet. Always returns a result: if the chains shared by all rulesets are not
/// among `chains`, the chain that records and accepts accepts, and those that only record do nothing.
#[must_use]
pub fn eval(sets: &[Set], chains: &[Chain], packet: &Packet) -> Evaluation {
    eval_in(State::New, sets, chains, packet)
}

/// Like [`eval`], for a packet with another connection tracking state than a flow's first. For TCP it is not
/// a packet that opens a connection.
#[must_use]
pub fn eval_in(state: State, sets: &[Set], chains: &[Chain], packet: &Packet) -> Evaluation {
    let entry = match packet.direction {
        Direction::Inbound => ENTRY_IN,
        Direction::Outbound => ENTRY_OUT,
    };
    walk(state, sets, chains, (packet, None), entry)
}

/// The same for a forwarded packet. If no chain judges such packets, it passes.
#[must_use]
pub fn eval_forwarded(sets: &[Set], chains: &[Chain], forwarded: &ForwardedPacket) -> Evaluation {
    let packet = Packet { loopback: false, owners: Vec::new(), ..forwarded.packet.clone() };
    walk(State::New, sets, chains, (&packet, Some(forwarded.passage)), ENTRY_FORWARD)
}

fn walk(
    state: State,
    sets: &[Set],
    chains: &[Chain],
    (packet, passage): (&Packet, Option<Passage>),
    entry: &str,
) -> Evaluation {
    let walk = Walk {
        state,
        sets: sets.iter().map(|set| (set.name.as_str(), set)).collect(),
        chains: chains.iter().map(|chain| (chain.name.as_str(), chain)).collect(),
        packet,
        passage,
    };
    let mut steps = Vec::new();
    let dropped = walk.chain(entry, 0, &mut steps) == Some(Fate::Dropped);
    // A packet that is about to be denied may still match the failsafe, or be an answer.
    let denied = steps.last().is_some_and(|step: &EvalStep| {
        let failsafe = step.label.as_ref().is_some_and(|label| label.starts_with("failsafe/"));
        is_denial(&step.chain) && !failsafe
    });
    let verdict = match (dropped, denied) {
        (true, _) => Verdict::Deny,
        (false, true) => Verdict::WouldDeny,
        (false, false) => Verdict::Allow,
    };
    Evaluation { verdict, steps }
}

#[derive(PartialEq, Eq)]
enum Fate {
    Accepted,
    Dropped,
}

struct Walk<'a> {
    state: State,
    sets: HashMap<&'a str, &'a Set>,
    chains: HashMap<&'a str, &'a Chain>,
    packet: &'a Packet,
    /// Of a forwarded packet.
    passage: Option<Passage>,
}

impl Walk<'_> {
    /// `None` if the end of the chain is reached without a verdict.
    fn chain(&self, name: &str, depth: usize, steps: &mut Vec<EvalStep>) -> Option<Fate> {
        let chain = self.chains.get(name).filter(|_| depth < MAX_DEPTH)?;
        for (index, line) in chain.lines.iter().enumerate() {
            let Some(element) = self.meets(line) else { continue };
            let label =
                element.as_ref().map(|(_, e)| e.label.clone()).or_else(|| line.label.clone());
            steps.push(EvalStep { chain: name.to_owned(), line: index, element, label });
            match &line.next {
                None => {}
                Some(Next::Accept) => return Some(Fate::Accepted),
                Some(Next::Drop) => return Some(Fate::Dropped),
                Some(Next::Return) => return None,
                Some(Next::Goto(to)) if !self.chains.contains_key(to.as_str()) => {
                    return Some(Fate::Accepted);
                }
                Some(Next::Goto(to)) => return self.chain(to, depth + 1, steps),
                Some(Next::Jump(to)) => {
                    if let Some(fate) = self.chain(to, depth + 1, steps) {
                        return Some(fate);
                    }
                }
            }
        }
        None
    }

    /// `None` if a condition fails; otherwise the element that the last look-up found, if any.
    fn meets(&self, line: &Line) -> Option<Option<(String, Element)>> {
        let mut found = None;
        for condition in &line.conditions {
            let met = match condition {
                Condition::Family(wanted) => family(self.packet.peer) == *wanted,
                Condition::Protocol(wanted) => self.protocol() == *wanted,
                Condition::InputLoopback | Condition::OutputLoopback => self.packet.loopback,
                Condition::Within { field, first, last } => {
                    self.field(*field).is_some_and(|value| (*first..=*last).contains(&value))
                }
                Condition::InSet { key, set } if is_of_interfaces(key) => self.is_inside(key, set),
                Condition::InSet { key, set } => {
                    found = self.look_up(key, set);
                    found.is_some()
                }
                Condition::State(state) => *state == self.state,
                Condition::Opens => {
                    self.state == State::New && matches!(self.packet.transport, Transport::Tcp(..))
                }
                Condition::Translated => self.passage == Some(Passage::Translated),
                Condition::Owner(owner) => self.packet.owners.contains(owner),
                Condition::HasOwner => !self.packet.owners.is_empty(),
                Condition::LocalDestination => {
                    self.packet.loopback && self.packet.direction == Direction::Outbound
                }
                Condition::Reply | Condition::OnProbation | Condition::Foreign(_) => false,
            };
            if !met {
                return None;
            }
        }
        Some(found)
    }

    /// Whether the packet came from inside; by which interface does not matter. A packet that stays within a
    /// bridge is not part of a forwarded flow, and the first packet is not an answer.
    fn is_inside(&self, key: &[Field], set: &str) -> bool {
        let outbound = self.passage.is_some() && self.packet.direction == Direction::Outbound;
        outbound && key == [Field::InputName] && self.sets.contains_key(set)
    }

    fn look_up(&self, key: &[Field], set: &str) -> Option<(String, Element)> {
        let mut values: Key = [0; 4];
        for (value, field) in values.iter_mut().zip(key) {
            *value = self.field(*field)?;
        }
        let inside = |element: &&Element| {
            (0..4).all(|i| (element.first[i]..=element.last[i]).contains(&values[i]))
        };
        let element = self.sets.get(set)?.elements.iter().find(inside)?;
        Some((set.to_owned(), element.clone()))
    }

    fn protocol(&self) -> u8 {
        match self.packet.transport {
            Transport::Tcp(..) => TCP,
            Transport::Udp(..) => UDP,
            Transport::Sctp(..) => SCTP,
            Transport::Icmp(_) => family(self.packet.peer).icmp(),
            Transport::Other(number) => number,
        }
    }

    /// `None` if the packet does not have the field, or its value is unknown.
    fn field(&self, field: Field) -> Option<u128> {
        let (peer, local) = (Some(self.packet.peer), self.packet.local);
        let (source, destination) = match self.packet.direction {
            Direction::Inbound => (peer, local),
            Direction::Outbound => (local, peer),
        };
        let of = |wanted, end: Option<IpAddr>| {
            end.filter(|&address| family(address) == wanted).map(number)
        };
        match (field, self.packet.transport) {
            (Field::Source(wanted) | Field::OriginalSource(wanted), _) => of(wanted, source),
            (Field::Destination(wanted) | Field::OriginalDestination(wanted), _) => {
                of(wanted, destination)
            }
            (Field::Protocol, _) => Some(self.protocol().into()),
            (Field::SourcePort, with) => with.ports().map(|(source, _)| source.into()),
            (Field::DestinationPort | Field::OriginalPort, with) => {
                with.ports().map(|(_, port)| port.into())
            }
            (Field::IcmpType(_), Transport::Icmp(number)) => Some(number.into()),
            (Field::IcmpTypeAsPort, Transport::Icmp(number)) => Some(u128::from(number) << 8),
            (Field::NoPort, _) => Some(0),
            _ => None,
        }
    }
}
