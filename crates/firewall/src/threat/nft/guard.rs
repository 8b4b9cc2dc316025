//! The chains before and after a look-up. Pure, in the plan's model.
//!
//! A packet whose peer is not listed costs one look-up per set. One whose peer is listed is checked against
//! the policy's own failsafe, and only then recorded and dropped.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use xshield_policy::{
    Bound, BoundDirection, BoundFailsafe, BoundForwarded, BoundStance, Direction, RangeSet,
    Revision,
};
use xshield_threat::ThreatMode;

use crate::plan::{
    Chain, Condition, ENTRY_IN, ENTRY_OUT, Effect, Family, Field, FlowSet, Line, LiveGroup, Naming,
    Next, RecorderLimits, Seen, Set, flow_set, live_line, lost_line, plan, record_chain,
    record_lines, recorder_set, way, write_chain, write_set,
};
use crate::threat::list::Counts;
use crate::threat::list_set::ListSet;
use crate::threat::posture::Posture;
use crate::{Capabilities, FlowKind, Traffic};

/// Log lines per second and direction, and the size of a burst.
const LOG_RATE: (u64, u32) = (10, 20);

fn kind(mode: ThreatMode) -> FlowKind {
    match mode {
        ThreatMode::Block => FlowKind::Denied,
        ThreatMode::EventOnly | ThreatMode::Off => FlowKind::WouldDeny,
    }
}

fn verdict(mode: ThreatMode) -> Next {
    match mode {
        ThreatMode::Block => Next::Drop,
        ThreatMode::EventOnly | ThreatMode::Off => Next::Accept,
    }
}

/// A hook of the kernel at which the list is looked up, and the address that is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookupHook {
    Input,
    Forward,
    Output,
}

impl LookupHook {
    pub(crate) const ALL: [Self; 3] = [Self::Input, Self::Forward, Self::Output];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        }
    }

    /// The kernel's number of the hook.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
        }
    }

    fn ends(self) -> &'static [PeerField] {
        match self {
            Self::Input => &[PeerField::Source],
            Self::Output => &[PeerField::Destination],
            Self::Forward => &[PeerField::Source, PeerField::Destination],
        }
    }
}

/// Which address of a packet is the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PeerField {
    Source,
    Destination,
}

/// Everything in the table except the list itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Guard {
    /// The failsafe's sets.
    pub sets: Vec<Set>,
    /// All chains, including those with hooks.
    pub chains: Vec<Chain>,
}

impl Guard {
    /// The guard for a list with these counts: an empty set is not looked up.
    pub(crate) fn new(posture: &Posture, counts: &Counts) -> Self {
        let revision = Revision(0);
        let direction = || BoundDirection::enforcing(BoundStance::closed());
        let closed = Bound {
            revision,
            // What the platform serves is not admitted to listed peers; assets' own addresses are never
            // listed.
            failsafe: BoundFailsafe { served: Vec::new(), ..posture.failsafe.clone() },
            intranet: RangeSet::empty(),
            inbound: direction(),
            outbound: direction(),
            forwarded: BoundForwarded::default(),
        };
        // The failsafe of a policy that allows nothing; whatever it denies has matched the list.
        let failsafe = plan(&closed, &Capabilities::PLAIN);
        let mut chains: Vec<Chain> = failsafe
            .chains
            .into_iter()
            .filter(|chain| !chain.name.starts_with("deny_") && !chain.name.contains("_answer"))
            .map(judge_answers)
            .collect();
        for direction in Direction::BOTH {
            let mode = posture.mode(direction);
            for seen in [Seen::Opening, Seen::Answering] {
                chains.push(matched(direction, mode, seen, posture.live));
                chains.push(recorder(direction, kind(mode), seen));
            }
        }
        chains.extend(LookupHook::ALL.map(|gate| look_up(gate, posture, counts)));
        Self { sets: failsafe.sets, chains }
    }

    /// Whether a rule increments the counter of packets sent to the log group.
    pub(crate) fn counts_live(&self) -> bool {
        let live = |line: &Line| matches!(line.effect, Some(Effect::Live { .. }));
        self.chains.iter().flat_map(|chain| &chain.lines).any(live)
    }

    /// Identifies the guard: the first bytes of a SHA-256 over its text, in hexadecimal digits.
    pub(crate) fn digest(&self) -> String {
        let mut sets: Vec<&Set> = self.sets.iter().collect();
        sets.sort_by_key(|set| &set.name);
        let mut chains: Vec<&Chain> = self.chains.iter().collect();
        chains.sort_by_key(|chain| &chain.name);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = sets.into_iter().try_for_each(|set| write_set(&mut text, set, Naming::Plain));
        let _ =
            chains.into_iter().try_for_each(|chain| write_chain(&mut text, chain, Naming::Plain));
        let hash = digest(&SHA256, text.as_bytes());
        hash.as_ref().iter().take(12).fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        })
    }
}

/// The sets in which matches are counted. They stay when list or posture change.
pub(crate) fn recorder_sets() -> Vec<FlowSet> {
    let mut sets = Vec::new();
    for direction in Direction::BOTH {
        for kind in [FlowKind::Denied, FlowKind::WouldDeny] {
            sets.extend(Family::BOTH.map(|family| {
                let name = flow_set(kind, Traffic::Own, direction, family);
                recorder_set(name, family, RecorderLimits::default())
            }));
        }
    }
    sets
}

fn line(conditions: Vec<Condition>, next: Next) -> Line {
    Line { conditions, counted: false, effect: None, next: Some(next), label: None }
}

fn views() -> impl Iterator<Item = (Direction, Seen, &'static str)> {
    [
        (Direction::Inbound, Seen::Opening, "in_orig"),
        (Direction::Inbound, Seen::Answering, "out_reply"),
        (Direction::Outbound, Seen::Opening, "out_orig"),
        (Direction::Outbound, Seen::Answering, "in_reply"),
    ]
    .into_iter()
}

fn matched_chain(direction: Direction, seen: Seen) -> String {
    let seen = match seen {
        Seen::Opening => "orig",
        Seen::Answering => "reply",
    };
    format!("listed_{}_{seen}", way(direction))
}

fn recorder_chain(direction: Direction, kind: FlowKind, seen: Seen) -> String {
    let stem = record_chain(kind, Traffic::Own, direction);
    match seen {
        Seen::Opening => stem,
        Seen::Answering => format!("{stem}_reply"),
    }
}

/// The policy judges a flow by its opening packets, accepts the ICMP of its answers, and denies in its last
/// line. Here every packet is judged, and the last line handles the match.
fn judge_answers(mut chain: Chain) -> Chain {
    let Some((direction, seen, _)) = views().find(|(.., name)| *name == chain.name) else {
        return chain;
    };
    for line in &mut chain.lines {
        let icmp_of = |family: &Family| {
            line.conditions == [Condition::Family(*family), Condition::Protocol(family.icmp())]
        };
        if let Some(family) = Family::BOTH.into_iter().find(icmp_of) {
            line.next = Some(Next::Jump(format!("icmp{}", family.number())));
        }
    }
    if let Some(last) = chain.lines.last_mut() {
        *last = line(Vec::new(), Next::Goto(matched_chain(direction, seen)));
    }
    chain
}

/// Records, logs, and returns the verdict.
fn matched(direction: Direction, mode: ThreatMode, seen: Seen, live: Option<LiveGroup>) -> Chain {
    let name = matched_chain(direction, seen);
    let word = match mode {
        ThreatMode::Off => {
            return Chain { name, lines: vec![line(Vec::new(), Next::Accept)] };
        }
        ThreatMode::Block => "DROP",
        ThreatMode::EventOnly => "PASS",
    };
    let (per_second, burst) = LOG_RATE;
    let prefix = format!("xshield: THREAT {} action={word} ", way(direction));
    let answer = match seen {
        Seen::Opening => "",
        Seen::Answering => "answer ",
    };
    let handed_over = live.map(|group| live_line(group, format!("{prefix}{answer}")));
    let log = Line {
        conditions: Vec::new(),
        counted: false,
        effect: Some(Effect::Log { prefix, per_second, burst }),
        next: None,
        label: None,
    };
    let record = Next::Jump(recorder_chain(direction, kind(mode), seen));
    let mut lines = vec![line(Vec::new(), record), log];
    lines.extend(handed_over);
    lines.push(line(Vec::new(), verdict(mode)));
    Chain { name, lines }
}

fn recorder(direction: Direction, kind: FlowKind, seen: Seen) -> Chain {
    let lines = Family::BOTH.into_iter().flat_map(|family| {
        record_lines(family, &flow_set(kind, Traffic::Own, direction, family), seen)
    });
    let lines = lines.chain([lost_line()]).collect();
    Chain { name: recorder_chain(direction, kind, seen), lines }
}

/// The lines of a chain with a hook: only look-ups.
fn look_up(gate: LookupHook, posture: &Posture, counts: &Counts) -> Chain {
    let mut lines = Vec::new();
    let idle = Direction::BOTH.iter().all(|&way| posture.mode(way) == ThreatMode::Off);
    for end in gate.ends() {
        for set in ListSet::ALL {
            if idle || counts.of(set) == 0 {
                continue;
            }
            let (field, entry) = match end {
                PeerField::Source => (Field::Source(set.family), ENTRY_IN),
                PeerField::Destination => (Field::Destination(set.family), ENTRY_OUT),
            };
            let conditions = vec![
                Condition::Family(set.family),
                Condition::InSet { key: vec![field], set: set.name() },
            ];
            lines.push(line(conditions, Next::Goto(entry.to_owned())));
        }
    }
    Chain { name: gate.name().to_owned(), lines }
}
