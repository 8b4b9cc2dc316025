//! A plan as text in nft syntax: for people, for snapshots, for the digest, and as input for `nft`, with
//! which tests read it independently.

use std::fmt::{self, Display, Formatter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xshield_policy::Owner;

use super::model::{
    Chain, Condition, Effect, Element, Family, Field, FieldType, FlowSet, Line, Next, Plan, Set,
    Shape, State, TABLE, is_shared,
};

/// How chains and sets are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// As in the plan.
    Plain,
    /// With a slot's suffix, as in the kernel.
    Slot(char),
}

struct Name<'a>(&'a str, Naming);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.1 {
            Naming::Slot(slot) if !is_shared(self.0) => write!(f, "{}_{slot}", self.0),
            _ => f.write_str(self.0),
        }
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{")?;
        for counter in &self.counters {
            writeln!(f, "\tcounter {counter} {{\n\t}}")?;
        }
        for recorder in [&self.recorder, &self.forwarded_recorder] {
            for set in &recorder.sets {
                write_flow_set(f, set)?;
            }
            for chain in &recorder.chains {
                write_chain(f, chain, Naming::Plain)?;
            }
        }
        for set in &self.sets {
            write_set(f, set, Naming::Plain)?;
        }
        for chain in &self.chains {
            write_chain(f, chain, Naming::Plain)?;
        }
        writeln!(f, "}}")
    }
}

fn write_flow_set(f: &mut impl Write, set: &FlowSet) -> fmt::Result {
    writeln!(f, "\tset {} {{", set.name)?;
    writeln!(f, "\t\ttype {}", Joined(&set.key))?;
    writeln!(f, "\t\tsize {}\n\t\tflags dynamic,timeout", set.size)?;
    writeln!(f, "\t\ttimeout {}s\n\t}}", set.timeout_seconds)
}

/// Writes a set with its elements.
///
/// # Errors
/// When `f` fails.
pub fn write_set(f: &mut impl Write, set: &Set, naming: Naming) -> fmt::Result {
    writeln!(f, "\tset {} {{", Name(&set.name, naming))?;
    writeln!(f, "\t\ttype {}", Joined(&set.key))?;
    if set.shape == Shape::Boxes {
        writeln!(f, "\t\tflags interval")?;
    }
    if set.counted {
        writeln!(f, "\t\tcounter")?;
    }
    write!(f, "\t\telements = {{ ")?;
    for (index, element) in set.elements.iter().enumerate() {
        let comma = if index == 0 { "" } else { ",\n\t\t             " };
        f.write_str(comma)?;
        write_element(f, &set.key, element)?;
    }
    writeln!(f, " }}\n\t}}")
}

fn write_element(f: &mut impl Write, key: &[FieldType], element: &Element) -> fmt::Result {
    for (index, field) in key.iter().enumerate() {
        if index > 0 {
            f.write_str(" . ")?;
        }
        let (first, last) = (element.first[index], element.last[index]);
        write!(f, "{}", Value(*field, first))?;
        if first != last {
            write!(f, "-{}", Value(*field, last))?;
        }
    }
    write!(f, " comment \"{}\"", element.label)
}

/// Writes a chain with its lines.
///
/// # Errors
/// When `f` fails.
pub fn write_chain(f: &mut impl Write, chain: &Chain, naming: Naming) -> fmt::Result {
    writeln!(f, "\tchain {} {{", Name(&chain.name, naming))?;
    for line in &chain.lines {
        f.write_str("\t\t")?;
        write_line(f, line, naming)?;
        f.write_char('\n')?;
    }
    writeln!(f, "\t}}")
}

/// Writes one line.
///
/// # Errors
/// When `f` fails.
pub fn write_line(f: &mut impl Write, line: &Line, naming: Naming) -> fmt::Result {
    let mut separator = "";
    for condition in &line.conditions {
        f.write_str(separator)?;
        separator = " ";
        write_condition(f, condition, naming)?;
    }
    if line.counted {
        write!(f, "{separator}counter")?;
        separator = " ";
    }
    match &line.effect {
        None => {}
        Some(Effect::Log { prefix, per_second, burst }) => {
            write!(f, "{separator}limit rate {per_second}/second burst {burst} packets ")?;
            write!(f, "log prefix \"{prefix}\"")?;
            separator = " ";
        }
        Some(Effect::Live { counter, group, prefix, per_second, burst }) => {
            write!(f, "{separator}counter name \"{counter}\" ")?;
            write!(f, "limit rate {per_second}/second burst {burst} packets ")?;
            write!(f, "log prefix \"{prefix}\" group {group}")?;
            separator = " ";
        }
        Some(Effect::Record { set, key }) => {
            write!(f, "{separator}update @{set} {{ {} counter }}", Joined(key))?;
            separator = " ";
        }
    }
    match &line.next {
        None => {}
        Some(Next::Accept) => write!(f, "{separator}accept")?,
        Some(Next::Drop) => write!(f, "{separator}drop")?,
        Some(Next::Return) => write!(f, "{separator}return")?,
        Some(Next::Jump(to)) => write!(f, "{separator}jump {}", Name(to, naming))?,
        Some(Next::Goto(to)) => write!(f, "{separator}goto {}", Name(to, naming))?,
    }
    match &line.label {
        Some(label) => write!(f, " comment \"{label}\""),
        None => Ok(()),
    }
}

/// Writes what a line asks of a packet.
pub(crate) fn write_condition(
    f: &mut impl Write,
    condition: &Condition,
    naming: Naming,
) -> fmt::Result {
    match condition {
        Condition::Family(family) => write!(f, "meta nfproto ipv{}", family.number()),
        Condition::Protocol(number) => {
            write!(f, "meta l4proto {}", Value(FieldType::Protocol, (*number).into()))
        }
        Condition::InputLoopback => f.write_str("iif lo"),
        Condition::OutputLoopback => f.write_str("oif lo"),
        Condition::Within { field, first, last } => {
            let kind = field.type_of();
            write!(f, "{field} {}", Value(kind, *first))?;
            if first == last { Ok(()) } else { write!(f, "-{}", Value(kind, *last)) }
        }
        Condition::InSet { key, set } => write!(f, "{} @{}", Joined(key), Name(set, naming)),
        Condition::Reply => f.write_str("ct direction reply"),
        Condition::State(State::New) => f.write_str("ct state new"),
        Condition::State(State::Established) => f.write_str("ct state established"),
        Condition::State(State::Invalid) => f.write_str("ct state invalid"),
        Condition::State(State::Untracked) => f.write_str("ct state untracked"),
        Condition::Translated => f.write_str("ct status dnat"),
        Condition::Opens => f.write_str("tcp flags & (syn | ack) == syn"),
        Condition::Owner(Owner::Uid(uid)) => write!(f, "meta skuid {uid}"),
        Condition::Owner(Owner::Cgroup(path)) => {
            write!(f, "socket cgroupv2 level {} \"{path}\"", cgroup_level(path))
        }
        Condition::Owner(Owner::Windows { executable, identity }) => {
            let executable = executable.iter().map(|path| format!("executable \"{path}\""));
            let identity = identity.iter().map(|sid| format!("identity {sid}"));
            f.write_str(&executable.chain(identity).collect::<Vec<_>>().join(" "))
        }
        Condition::HasOwner => f.write_str("meta skuid >= 0"),
        Condition::LocalDestination => f.write_str("fib daddr type local"),
        Condition::OnProbation => f.write_str("meta nfproto @probation"),
        Condition::Foreign(name) => write!(f, "<{name}>"),
    }
}

/// The number of components of a cgroup's path.
pub(crate) fn cgroup_level(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

struct Joined<'a, T>(&'a [T]);

impl<T: Display> Display for Joined<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { " . " };
            write!(f, "{dot}{part}")?;
        }
        Ok(())
    }
}

impl Display for FieldType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address(Family::V4) => "ipv4_addr",
            Self::Address(Family::V6) => "ipv6_addr",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
            Self::IcmpType(Family::V4) => "icmp_type",
            Self::IcmpType(Family::V6) => "icmpv6_type",
            Self::InterfaceName => "ifname",
        })
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source(Family::V4) => "ip saddr",
            Self::Source(Family::V6) => "ip6 saddr",
            Self::Destination(Family::V4) => "ip daddr",
            Self::Destination(Family::V6) => "ip6 daddr",
            Self::Protocol => "meta l4proto",
            Self::SourcePort => "th sport",
            Self::DestinationPort => "th dport",
            Self::IcmpType(Family::V4) => "icmp type",
            Self::IcmpType(Family::V6) => "icmpv6 type",
            Self::IcmpTypeAsPort => "@th,0,8",
            Self::NoPort => "0",
            Self::OriginalSource(Family::V4) => "ct original ip saddr",
            Self::OriginalSource(Family::V6) => "ct original ip6 saddr",
            Self::OriginalDestination(Family::V4) => "ct original ip daddr",
            Self::OriginalDestination(Family::V6) => "ct original ip6 daddr",
            Self::OriginalPort => "ct original proto-dst",
            Self::InputName => "iifname",
            Self::OutputName => "oifname",
        })
    }
}

pub(crate) struct Value(FieldType, u128);

impl Value {
    /// The value of a field.
    pub(crate) fn of(field: Field, number: u128) -> Self {
        Self(field.type_of(), number)
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (FieldType::Address(family), number) => address(family, number).fmt(f),
            (FieldType::InterfaceName, number) => write!(f, "\"{}\"", interface_name(number)),
            (FieldType::Protocol, 6) => f.write_str("tcp"),
            (FieldType::Protocol, 17) => f.write_str("udp"),
            (_, number) => write!(f, "{number}"),
        }
    }
}

/// The interface's name that a number stands for.
fn interface_name(number: u128) -> String {
    let bytes = number.to_be_bytes();
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// The address that a number stands for.
pub(crate) fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}
