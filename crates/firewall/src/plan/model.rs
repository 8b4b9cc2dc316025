//! The model of a plan: a typed subset of nftables, independent of slots and of netlink.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use xshield_policy::{Owner, Revision, Unenforceable};

use super::live_group::LiveGroup;

/// The table that contains all of this, of family `inet`.
pub const TABLE: &str = "xshield";

/// Everything that one ruleset needs in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The revision from which it was made.
    pub revision: Revision,
    /// Static sets with their elements. Belong to the ruleset.
    pub sets: Vec<Set>,
    /// Chains that belong to the ruleset, starting with [`ENTRY_IN`] and [`ENTRY_OUT`].
    pub chains: Vec<Chain>,
    /// The flow recorder: the same for every ruleset, and not replaced with it.
    pub recorder: Recorder,
    /// The recorder of forwarded traffic, in plans that judge any. It stays when the plan is replaced, too.
    pub forwarded_recorder: Recorder,
    /// Counters of the table that rules increment. They outlive rulesets.
    pub counters: Vec<String>,
    /// Rules that this kernel can't enforce. They match nothing.
    pub unenforceable: Vec<Unenforceable>,
}

/// The chain that judges packets of the input hook.
pub const ENTRY_IN: &str = "in";
/// The chain that judges packets of the output hook.
pub const ENTRY_OUT: &str = "out";
/// The chain that judges packets of the forward hook, in plans that judge any.
pub const ENTRY_FORWARD: &str = "fwd";

impl Plan {
    /// Identifies the content of the plan in the kernel: SHA-256 over its text. Two revisions with the same
    /// rules have the same digest, so nothing needs to be changed between them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let text = self.to_string();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Digest(bytes)
    }

    /// Whether packets of the forward hook are judged.
    #[must_use]
    pub fn judges_forwarded(&self) -> bool {
        self.chains.iter().any(|chain| chain.name == ENTRY_FORWARD)
    }

    /// The number of elements in all sets.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.sets.iter().map(|set| set.elements.len()).sum()
    }
}

/// The SHA-256 of a plan's text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for Digest {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2).unwrap_or(""), 16)?;
        }
        Ok(Self(bytes))
    }
}

/// The sets and chains of the flow recorder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recorder {
    /// Sets of limited size that packets update.
    pub sets: Vec<FlowSet>,
    /// Chains that update them.
    pub chains: Vec<Chain>,
}

/// A set whose elements are created by packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowSet {
    /// Its name in the kernel.
    pub name: String,
    /// The fields of its elements.
    pub key: Vec<FieldType>,
    /// The most elements that it holds.
    pub size: u32,
    /// How long an element exists after its last packet, in seconds.
    pub timeout_seconds: u64,
}

/// A static set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name; in the kernel, the slot's suffix is added.
    pub name: String,
    /// The fields of its elements; at least two.
    pub key: Vec<FieldType>,
    /// Whether elements are exact or ranges.
    pub shape: Shape,
    /// Whether elements count their packets.
    pub counted: bool,
    /// Sorted, disjoint.
    pub elements: Vec<Element>,
}

/// The kind of a set's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Exact values; a hash look-up.
    Exact,
    /// A range per field.
    Boxes,
}

/// Up to four numbers, one per field of the set; the others are zero.
pub type Key = [u128; 4];

/// One element: `first..=last` in each field; both are the same in an exact set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The lowest value of each field.
    pub first: Key,
    /// The highest value of each field.
    pub last: Key,
    /// The rule from which it comes.
    pub label: Label,
}

/// The rule id that an element or line has in the kernel as its comment. Failsafe and default lines have
/// `failsafe/…` and `default/…`.
pub type Label = Arc<str>;

/// A chain without a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name; in the kernel, the slot's suffix is added unless it belongs to the recorder.
    pub name: String,
    /// Its rules, in order.
    pub lines: Vec<Line>,
}

/// One nftables rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Conditions that must all hold, checked in order.
    pub conditions: Vec<Condition>,
    /// Whether the line counts the packets that match its conditions.
    pub counted: bool,
    /// How the packet is recorded.
    pub effect: Option<Effect>,
    /// The next step; `None`: the next line.
    pub next: Option<Next>,
    /// The rule from which it comes.
    pub label: Option<Label>,
}

/// The next step for a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Accepts it.
    Accept,
    /// Drops it.
    Drop,
    /// Returns to the line after the jump.
    Return,
    /// Jumps to a chain, and returns at its end.
    Jump(String),
    /// Continues in a chain without returning.
    Goto(String),
}

/// How a packet is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Writes a kernel log line, at most `per_second` with bursts of `burst`; packets beyond are not logged.
    Log {
        /// The prefix of the line, at most 127 bytes.
        prefix: String,
        /// Lines per second.
        per_second: u64,
        /// Lines in a burst.
        burst: u32,
    },
    /// Increments the counter of an element. If the set is full the line ends here as if a condition had
    /// failed.
    Record {
        /// The recorder's set.
        set: String,
        /// The element's key.
        key: Vec<Field>,
    },
    /// Increments a counter of the table, and sends the packet to a log group, at most `per_second` with
    /// bursts of `burst`.
    Live {
        /// The counter's name.
        counter: String,
        /// The group.
        group: LiveGroup,
        /// The prefix by which the listener identifies the rule, at most 127 bytes.
        prefix: String,
        /// Packets per second.
        per_second: u64,
        /// Packets in a burst.
        burst: u32,
    },
}

/// IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// 4 or 6.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// The highest address as a number.
    #[must_use]
    pub fn max(self) -> u128 {
        match self {
            Self::V4 => u128::from(u32::MAX),
            Self::V6 => u128::MAX,
        }
    }

    /// The protocol number of the family's ICMP.
    #[must_use]
    pub fn icmp(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 58,
        }
    }
}

/// A comparable property of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// Source address; the line has checked the family.
    Source(Family),
    /// Destination address; the line has checked the family.
    Destination(Family),
    /// Protocol number.
    Protocol,
    /// Source port of TCP, UDP and similar protocols.
    SourcePort,
    /// Destination port.
    DestinationPort,
    /// ICMP or ICMPv6 type; the line has checked the protocol.
    IcmpType(Family),
    /// ICMP or ICMPv6 type in place of a port: in the high byte, with a low byte of zero.
    IcmpTypeAsPort,
    /// Zero in place of a port.
    NoPort,
    /// The address of the flow's opener before any translation, for every packet of the flow; the line has
    /// checked the family.
    OriginalSource(Family),
    /// The destination address that the opener used, before any translation.
    OriginalDestination(Family),
    /// The destination port that the opener used, before any translation; for ICMP, type and code.
    OriginalPort,
    /// The interface by which the packet arrived.
    InputName,
    /// The interface by which it leaves.
    OutputName,
}

impl Field {
    /// The type of its values.
    #[must_use]
    pub fn type_of(self) -> FieldType {
        match self {
            Self::Source(family)
            | Self::Destination(family)
            | Self::OriginalSource(family)
            | Self::OriginalDestination(family) => FieldType::Address(family),
            Self::Protocol => FieldType::Protocol,
            Self::SourcePort
            | Self::DestinationPort
            | Self::OriginalPort
            | Self::IcmpTypeAsPort
            | Self::NoPort => FieldType::Port,
            Self::InputName | Self::OutputName => FieldType::InterfaceName,
            Self::IcmpType(family) => FieldType::IcmpType(family),
        }
    }
}

/// The type of a field of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// An address.
    Address(Family),
    /// A protocol number.
    Protocol,
    /// A port.
    Port,
    /// An ICMP or ICMPv6 type.
    IcmpType(Family),
    /// The name of an interface: 16 bytes, padded with zeros.
    InterfaceName,
}

impl FieldType {
    /// The size of a value in bytes.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Address(Family::V4) => 4,
            Self::Address(Family::V6) | Self::InterfaceName => 16,
            Self::Port => 2,
            Self::Protocol | Self::IcmpType(_) => 1,
        }
    }
}

/// A condition on a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The IP version.
    Family(Family),
    /// The protocol number.
    Protocol(u8),
    /// Arrived by the loopback interface.
    InputLoopback,
    /// Leaves by the loopback interface.
    OutputLoopback,
    /// `first..=last`.
    Within {
        /// The compared field.
        field: Field,
        /// The lowest value.
        first: u128,
        /// The highest value.
        last: u128,
    },
    /// The key is in the set.
    InSet {
        /// The fields that are looked up.
        key: Vec<Field>,
        /// The set's name.
        set: String,
    },
    /// The packet was sent by the side that did not open the flow.
    Reply,
    /// Conntrack's state of the packet's flow.
    State(State),
    /// The destination of the packet's flow was translated.
    Translated,
    /// SYN without ACK; the line has checked that it is TCP.
    Opens,
    /// The local socket belongs to this owner.
    Owner(Owner),
    /// There is a local socket.
    HasOwner,
    /// The destination is an address of this host, according to the routing tables.
    LocalDestination,
    /// The packet's IP version is in the set `probation`; see `nft`.
    OnProbation,
    /// A condition found in the kernel that no plan contains; named by its expression.
    Foreign(String),
}

/// Conntrack's state of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The first packet of a flow.
    New,
    /// A later one.
    Established,
    /// A packet that conntrack can't assign to a flow.
    Invalid,
    /// A packet that a rule of the host exempts from conntrack (`notrack`).
    Untracked,
}

/// Whether a chain or set belongs to the recorder and so to no slot.
#[must_use]
pub fn is_shared(name: &str) -> bool {
    ["flows_", "rec_", "pass_"].iter().any(|prefix| name.starts_with(prefix))
}
