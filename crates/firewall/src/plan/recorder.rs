//! The flow recorder: sets of limited size that count flows, and the chains that fill them.

use xshield_policy::Direction;
use xshield_policy::protocol::{SCTP, TCP, UDP};

use super::model::{
    Chain, Condition, Effect, Family, Field, FieldType, FlowSet, Line, Next, Recorder, State,
};
use crate::{FlowKind, Traffic};

/// The limits of the flow recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecorderLimits {
    /// The number of elements in each of its sets.
    pub size: u32,
    /// How long an element exists after its last packet, in seconds.
    pub timeout_seconds: u64,
}

impl Default for RecorderLimits {
    fn default() -> Self {
        Self { size: 65_536, timeout_seconds: 3600 }
    }
}

/// The comment of the line that counts the packets for which a set was full.
pub(crate) const LOST: &str = "recorder/lost";

/// `denied_in`, `would_out`, `fwd_denied_in`, …
pub(crate) fn stem(kind: FlowKind, traffic: Traffic, direction: Direction) -> String {
    let kind = match kind {
        FlowKind::Denied => "denied",
        FlowKind::WouldDeny => "would",
        FlowKind::Accepted => "accepted",
    };
    format!("{}{kind}_{}", mark(traffic), way(direction))
}

/// The prefix of the names for forwarded traffic.
fn mark(traffic: Traffic) -> &'static str {
    match traffic {
        Traffic::Own => "",
        Traffic::Forwarded => "fwd_",
    }
}

pub(crate) fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "in",
        Direction::Outbound => "out",
    }
}

pub(crate) fn flow_set(
    kind: FlowKind,
    traffic: Traffic,
    direction: Direction,
    family: Family,
) -> String {
    format!("flows_{}{}", stem(kind, traffic, direction), family.number())
}

pub(crate) fn record_chain(kind: FlowKind, traffic: Traffic, direction: Direction) -> String {
    format!("rec_{}", stem(kind, traffic, direction))
}

/// The chain that records a new accepted flow and accepts it.
pub(crate) fn pass_chain(traffic: Traffic, direction: Direction) -> String {
    format!("pass_{}{}", mark(traffic), way(direction))
}

/// Whether a chain belongs to the recorder of forwarded traffic.
pub(crate) fn records_forwarded(chain: &str) -> bool {
    ["rec_fwd_", "pass_fwd_"].iter().any(|prefix| chain.starts_with(prefix))
}

/// All sets and chains of the recorder.
pub(crate) fn recorder(traffic: Traffic, limits: RecorderLimits) -> Recorder {
    let mut recorder = Recorder::default();
    for direction in Direction::BOTH {
        for kind in FlowKind::ALL {
            let mut lines = Vec::new();
            for family in Family::BOTH {
                let set = flow_set(kind, traffic, direction, family);
                lines.extend(match traffic {
                    Traffic::Own => record_lines(family, &set, Seen::Opening),
                    Traffic::Forwarded => record(family, &set, original(family)),
                });
                recorder.sets.push(recorder_set(set, family, limits));
            }
            lines.push(lost_line());
            recorder.chains.push(Chain { name: record_chain(kind, traffic, direction), lines });
        }
        let record = Next::Jump(record_chain(FlowKind::Accepted, traffic, direction));
        let line = |conditions, next| Line {
            conditions,
            counted: false,
            effect: None,
            next: Some(next),
            label: None,
        };
        let lines =
            vec![line(vec![Condition::State(State::New)], record), line(Vec::new(), Next::Accept)];
        recorder.chains.push(Chain { name: pass_chain(traffic, direction), lines });
    }
    recorder
}

/// A set for the flows of one family.
pub(crate) fn recorder_set(name: String, family: Family, limits: RecorderLimits) -> FlowSet {
    let address = FieldType::Address(family);
    FlowSet {
        name,
        key: vec![address, address, FieldType::Protocol, FieldType::Port],
        size: limits.size,
        timeout_seconds: limits.timeout_seconds,
    }
}

/// Counts the packets for which a set was full.
pub(crate) fn lost_line() -> Line {
    Line {
        conditions: Vec::new(),
        counted: true,
        effect: None,
        next: None,
        label: Some(LOST.into()),
    }
}

/// Which packets of a flow are recorded. Either way the flow's opener is recorded as its source.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "the threat list is Linux only"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Those of the side that opened it.
    Opening,
    /// Those of the other side.
    Answering,
}

/// Records TCP, UDP and SCTP by destination port, ICMP by type, other protocols without one. A line whose set
/// is full does not return, so the packet reaches the line that counts losses.
pub(crate) fn record_lines(family: Family, set: &str, seen: Seen) -> Vec<Line> {
    let (source, destination) = (Field::Source(family), Field::Destination(family));
    record(
        family,
        set,
        match seen {
            Seen::Opening => (source, destination, Field::DestinationPort),
            Seen::Answering => (destination, source, Field::SourcePort),
        },
    )
}

/// The opener's addresses and port, before any translation.
fn original(family: Family) -> (Field, Field, Field) {
    (Field::OriginalSource(family), Field::OriginalDestination(family), Field::OriginalPort)
}

/// Like [`record_lines`], by opener, other end and port.
fn record(family: Family, set: &str, (opener, other, port): (Field, Field, Field)) -> Vec<Line> {
    let record = |first: u8, last: u8, detail: Field| {
        let protocol = if first == last {
            Condition::Protocol(first)
        } else {
            Condition::Within { field: Field::Protocol, first: first.into(), last: last.into() }
        };
        let key = vec![opener, other, Field::Protocol, detail];
        Line {
            conditions: vec![Condition::Family(family), protocol],
            counted: false,
            effect: Some(Effect::Record { set: set.to_owned(), key }),
            next: Some(Next::Return),
            label: None,
        }
    };
    let mut named =
        [(TCP, port), (UDP, port), (family.icmp(), Field::IcmpTypeAsPort), (SCTP, port)];
    let mut lines: Vec<Line> =
        named.iter().map(|&(protocol, detail)| record(protocol, protocol, detail)).collect();
    named.sort_unstable_by_key(|&(protocol, _)| protocol);
    let mut next = 0;
    for (protocol, _) in named {
        if next < protocol {
            lines.push(record(next, protocol - 1, Field::NoPort));
        }
        next = protocol + 1;
    }
    lines.push(record(next, u8::MAX, Field::NoPort));
    lines
}
