//! The vocabulary of a plan: a typed subset of nftables, independent of slots and of netlink.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use xshield_policy::{Owner, Revision, Unenforceable};

use super::live_group::LiveGroup;

/// The table that all of this lives in, of family `inet`.
pub const TABLE: &str = "xshield";

/// Everything one ruleset needs in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The revision it was made from.
    pub revision: Revision,
    /// Static sets with their elements. Belong to the ruleset.
    pub sets: Vec<Set>,
    /// Chains that belong to the ruleset; [`ENTRY_IN`] and [`ENTRY_OUT`] are where it begins.
    pub chains: Vec<Chain>,
    /// The flow recorder: the same for every ruleset, and not replaced with it.
    pub recorder: Recorder,
    /// The recorder of forwarded traffic, in plans that judge any. It stays when the plan goes, too.
    pub forwarded_recorder: Recorder,
    /// Counters of the table that rules add to. They outlive rulesets.
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
    /// Identifies what the plan puts into the kernel: SHA-256 over its text. Two revisions with the same
    /// rules have the same digest, and nothing need be changed between them.
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

    /// How many elements all sets have together.
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
    /// Bounded sets that the packet path updates.
    pub sets: Vec<FlowSet>,
    /// Chains that update them.
    pub chains: Vec<Chain>,
}

/// A set whose elements come from packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowSet {
    /// Its name in the kernel.
    pub name: String,
    /// What its elements consist of.
    pub key: Vec<FieldType>,
    /// How many elements it holds at most.
    pub size: u32,
    /// How long an element outlives its last packet, in seconds.
    pub timeout_seconds: u64,
}

/// A static set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name; the slot's suffix is added in the kernel.
    pub name: String,
    /// What its elements consist of; at least two fields.
    pub key: Vec<FieldType>,
    /// Whether elements are exact or ranges.
    pub shape: Shape,
    /// Whether elements count their packets.
    pub counted: bool,
    /// Sorted, disjoint.
    pub elements: Vec<Element>,
}

/// What the elements of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Exact values; a hash look-up.
    Exact,
    /// A range per field.
    Boxes,
}

/// Up to four numbers, one per field of the set; the rest is zero.
pub type Key = [u128; 4];

/// One element: `first..=last` in each field; both are the same in an exact set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The lowest value of each field.
    pub first: Key,
    /// The highest value of each field.
    pub last: Key,
    /// The rule it comes from.
    pub label: Label,
}

/// The rule id that an element or line carries in the kernel as its comment. Failsafe and default lines
/// carry `failsafe/…` and `default/…`.
pub type Label = Arc<str>;

/// A chain without a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name; the slot's suffix is added in the kernel unless it belongs to the recorder.
    pub name: String,
    /// Its rules, in order.
    pub lines: Vec<Line>,
}

/// One nftables rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// All must hold, in order.
    pub conditions: Vec<Condition>,
    /// Whether the line counts the packets that meet its conditions.
    pub counted: bool,
    /// What is written down about the packet.
    pub effect: Option<Effect>,
    /// Where the packet goes; `None`: on to the next line.
    pub next: Option<Next>,
    /// The rule it comes from.
    pub label: Option<Label>,
}

/// Where a packet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Let through.
    Accept,
    /// Dropped.
    Drop,
    /// Back to the line after the jump.
    Return,
    /// To a chain, and back.
    Jump(String),
    /// To a chain for good.
    Goto(String),
}

/// What is written down about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A kernel log line, at most `per_second` with bursts of `burst`; packets above are not logged.
    Log {
        /// What the line begins with, at most 127 bytes.
        prefix: String,
        /// Lines per second.
        per_second: u64,
        /// Lines in one go.
        burst: u32,
    },
    /// Adds to the counter of an element. When the set is full the line ends here as if a condition had
    /// failed.
    Record {
        /// The recorder's set.
        set: String,
        /// The element's key.
        key: Vec<Field>,
    },
    /// Adds to a counter of the table, and hands the packet to a log group, at most `per_second` with
    /// bursts of `burst`.
    Live {
        /// The counter's name.
        counter: String,
        /// The group.
        group: LiveGroup,
        /// What tells the listener of whom the packet is, at most 127 bytes.
        prefix: String,
        /// Packets per second.
        per_second: u64,
        /// Packets in one go.
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

/// Something of a packet that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// Source address; the line has checked the family.
    Source(Family),
    /// Destination address; the line has checked the family.
    Destination(Family),
    /// Protocol number.
    Protocol,
    /// Source port of TCP, UDP and their like.
    SourcePort,
    /// Destination port.
    DestinationPort,
    /// ICMP or ICMPv6 type; the line has checked the protocol.
    IcmpType(Family),
    /// ICMP or ICMPv6 type, in the place of a port: the high byte, the low one being zero.
    IcmpTypeAsPort,
    /// Zero, in the place of a port.
    NoPort,
    /// The address that the opener of the packet's flow has, before any translation, in every packet of
    /// the flow; the line has checked the family.
    OriginalSource(Family),
    /// The address that the opener sent the flow to, before any translation.
    OriginalDestination(Family),
    /// The port that the opener sent the flow to, before any translation; of ICMP, type and code.
    OriginalPort,
    /// The interface by which the packet came in.
    InputName,
    /// The interface by which it goes out.
    OutputName,
}

impl Field {
    /// What its values are.
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
    /// The name of an interface: 16 bytes, the rest of them zero.
    InterfaceName,
}

impl FieldType {
    /// Bytes of a value.
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
    /// Came in by the loopback interface.
    InputLoopback,
    /// Goes out by the loopback interface.
    OutputLoopback,
    /// `first..=last`.
    Within {
        /// What is compared.
        field: Field,
        /// The lowest value.
        first: u128,
        /// The highest value.
        last: u128,
    },
    /// The key is in the set.
    InSet {
        /// What is looked up.
        key: Vec<Field>,
        /// The set's name.
        set: String,
    },
    /// The packet goes against the direction in which its flow was opened.
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
    /// The destination is an address of this host. Asked of the routing tables.
    LocalDestination,
    /// The set of IP versions on probation has the packet's; see `nft`.
    OnProbation,
    /// Something that no plan has, found in the kernel; named by its expression there.
    Foreign(String),
}

/// Conntrack's state of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The first packet of a flow.
    New,
    /// A later one.
    Established,
    /// None that conntrack can place.
    Invalid,
    /// One that a rule of the host keeps conntrack from looking at (`notrack`).
    Untracked,
}

/// Whether a chain or set belongs to the recorder and so is in no slot.
#[must_use]
pub fn is_shared(name: &str) -> bool {
    ["flows_", "rec_", "pass_"].iter().any(|prefix| name.starts_with(prefix))
}
