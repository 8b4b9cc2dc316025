//! What the filter engine decides about a packet: filter arbitration, as Microsoft describes it.
//!
//! Within a sublayer, matching filters are evaluated from the highest weight to the lowest, until one permits
//! or blocks. All sublayers are evaluated from the highest weight to the lowest; whether a lower one can
//! override a higher one depends on whether that action was hard or soft. Where the documentation is
//! ambiguous, a [`Reading`] decides.

use super::matching::{PacketFacts, Truth, matches};
use super::model::{CalloutKind, EngineState, Filter, FilterAction, Flags, ObjectKey};
use super::names::Layer;
use super::reading::{
    CalloutBlock, ClearRight, EqualWeight, HardPermit, NegativeOnEmpty, Reading, SameField,
    Unmatched,
};

/// The phase of a system start, which determines the filters in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnginePhase {
    /// The TCP/IP driver is running, the filter engine is not yet: only boot-time filters.
    Boot,
    /// The filter engine is starting: boot-time filters are still in force, others may be already.
    Starting,
    /// The filter engine is running: all except boot-time filters.
    Running,
}

impl EnginePhase {
    /// All phases, in order.
    pub const ALL: [Self; 3] = [Self::Boot, Self::Starting, Self::Running];

    fn has_in_force(self, filter: &Filter) -> bool {
        let at_boot = filter.flags.contains(Flags::BOOT_TIME);
        let in_phase = match self {
            Self::Boot => at_boot,
            Self::Starting => true,
            Self::Running => !at_boot,
        };
        in_phase && !filter.flags.contains(Flags::DISABLED)
    }
}

/// Assumptions about what filters and packets do not determine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assumption {
    /// The answer of every callout, as far as it may give it.
    pub callouts: CalloutAnswer,
    /// Whether a filter matches if the packet does not determine it.
    pub unknown: Unknown,
}

/// The answer of a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalloutAnswer {
    /// Permit.
    Permits,
    /// Block.
    Blocks,
    /// Neither; if it must answer, permit.
    Continues,
}

/// The assumption about conditions that can't be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// They hold.
    Matches,
    /// They do not.
    Differs,
}

/// The decision of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// Let through.
    Permit,
    /// Dropped.
    Block,
}

/// The decision of a layer, and the filter that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerDecision<'a> {
    /// The decision.
    pub ruling: Ruling,
    /// The deciding filter; `None` if no sublayer decided.
    pub by: Option<&'a Filter>,
}

/// The filters of one layer that match a packet.
#[derive(Debug, Clone)]
pub struct Candidates<'a> {
    /// By sublayer, the highest weight first; in each, in the order in which they were added.
    sublayers: Vec<Vec<&'a Filter>>,
}

impl<'a> Candidates<'a> {
    /// Finds the matching filters.
    #[must_use]
    pub fn find(
        state: &'a EngineState,
        layer: &Layer,
        facts: &PacketFacts,
        (phase, unknown): (EnginePhase, Unknown),
        reading: &Reading,
    ) -> Self {
        let mut found: Vec<(u16, &ObjectKey, Vec<&Filter>)> = Vec::new();
        for filter in state.filters.iter().filter(|filter| filter.layer == *layer) {
            let is_match = match matches(filter, facts, reading) {
                Truth::Holds => true,
                Truth::Fails => false,
                Truth::Unknown => unknown == Unknown::Matches,
            };
            if !is_match || !phase.has_in_force(filter) {
                continue;
            }
            match found.iter_mut().find(|(_, key, _)| *key == &filter.sublayer) {
                Some((_, _, filters)) => filters.push(filter),
                None => {
                    let weight = state.sublayer(&filter.sublayer).map_or(0, |found| found.weight);
                    found.push((weight, &filter.sublayer, vec![filter]));
                }
            }
        }
        // Two sublayers with the same weight do not occur; if they did, the key makes the order
        // deterministic.
        found.sort_by(|one, other| (other.0, other.1).cmp(&(one.0, one.1)));
        Self { sublayers: found.into_iter().map(|(_, _, filters)| filters).collect() }
    }

    /// The final decision about the packet.
    #[must_use]
    pub fn arbitrate(&self, reading: &Reading, callouts: CalloutAnswer) -> LayerDecision<'a> {
        let mut current: Option<SublayerAction<'a>> = None;
        for filters in &self.sublayers {
            let Some(said) = decide(filters, reading, callouts) else { continue };
            current = Some(match current {
                None => said,
                Some(before) => before.then(said, reading),
            });
        }
        match current {
            Some(said) => LayerDecision { ruling: said.ruling, by: Some(said.by) },
            None => LayerDecision {
                ruling: match reading.unmatched {
                    Unmatched::Permitted => Ruling::Permit,
                    Unmatched::Blocked => Ruling::Block,
                },
                by: None,
            },
        }
    }
}

/// The action of a sublayer.
#[derive(Clone, Copy)]
struct SublayerAction<'a> {
    ruling: Ruling,
    strength: Strength,
    by: &'a Filter,
}

/// Whether lower sublayers may override an action.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strength {
    Soft,
    Hard,
}

impl<'a> SublayerAction<'a> {
    /// The combined action with that of the next lower sublayer.
    fn then(self, next: SublayerAction<'a>, reading: &Reading) -> SublayerAction<'a> {
        let is_callout = matches!(next.by.action, FilterAction::Callout { .. });
        let changes = match (self.ruling, self.strength, next.ruling) {
            (Ruling::Block, Strength::Hard, _) | (Ruling::Block, _, Ruling::Block) => false,
            (Ruling::Block, Strength::Soft, Ruling::Permit)
            | (Ruling::Permit, Strength::Soft, Ruling::Block) => true,
            (Ruling::Permit, Strength::Hard, Ruling::Block) => match reading.hard_permit {
                HardPermit::YieldsToCallouts => is_callout,
                HardPermit::YieldsToAnyBlock => true,
            },
            // A hard permit below a soft one can't be overridden further below.
            (Ruling::Permit, strength, Ruling::Permit) => {
                strength == Strength::Soft && next.strength == Strength::Hard
            }
        };
        if changes { next } else { self }
    }
}

/// The action of a sublayer's filters: the first of them that permits or blocks.
fn decide<'a>(
    filters: &[&'a Filter],
    reading: &Reading,
    callouts: CalloutAnswer,
) -> Option<SublayerAction<'a>> {
    let mut ordered = filters.to_vec();
    if reading.equal_weight == EqualWeight::LastAdded {
        ordered.reverse();
    }
    ordered.sort_by_key(|filter| std::cmp::Reverse(filter.rank()));
    ordered.into_iter().find_map(|filter| {
        let ruling = answer(&filter.action, callouts)?;
        Some(SublayerAction { ruling, strength: strength(filter, ruling, reading), by: filter })
    })
}

/// `None` for neither permit nor block.
fn answer(action: &FilterAction, callouts: CalloutAnswer) -> Option<Ruling> {
    match (action, callouts) {
        (FilterAction::Permit, _) => Some(Ruling::Permit),
        (FilterAction::Block, _) => Some(Ruling::Block),
        (FilterAction::Callout { kind: CalloutKind::Inspection, .. }, _) => None,
        (FilterAction::Callout { .. }, CalloutAnswer::Permits) => Some(Ruling::Permit),
        (FilterAction::Callout { .. }, CalloutAnswer::Blocks) => Some(Ruling::Block),
        (
            FilterAction::Callout { kind: CalloutKind::Terminating, .. },
            CalloutAnswer::Continues,
        ) => Some(Ruling::Permit),
        (FilterAction::Callout { kind: CalloutKind::Unknown, .. }, CalloutAnswer::Continues) => {
            None
        }
    }
}

fn strength(filter: &Filter, ruling: Ruling, reading: &Reading) -> Strength {
    let flag = filter.flags.contains(Flags::CLEAR_ACTION_RIGHT);
    let is_callout = matches!(filter.action, FilterAction::Callout { .. });
    let by_flag = match reading.clear_right {
        ClearRight::SetIsHard => flag,
        ClearRight::ClearedIsHard => !flag,
    };
    let is_hard = match (ruling, is_callout, reading.clear_right) {
        (Ruling::Block, true, _) => flag || reading.callout_block == CalloutBlock::Hard,
        // A callout sets the right itself, in code that is not visible here; by default it is soft.
        (Ruling::Permit, true, _) => flag,
        (Ruling::Block, false, ClearRight::SetIsHard) => true,
        (_, false, _) => by_flag,
    };
    if is_hard { Strength::Hard } else { Strength::Soft }
}

/// The final decision about a packet under one reading.
#[must_use]
pub fn classify<'a>(
    state: &'a EngineState,
    layer: &Layer,
    facts: &PacketFacts,
    (phase, assumption): (EnginePhase, Assumption),
    reading: &Reading,
) -> LayerDecision<'a> {
    let candidates = Candidates::find(state, layer, facts, (phase, assumption.unknown), reading);
    candidates.arbitrate(reading, assumption.callouts)
}

/// The final decision about a packet under every reading.
#[must_use]
pub fn classify_all<'a>(
    state: &'a EngineState,
    layer: &Layer,
    facts: &PacketFacts,
    (phase, assumption): (EnginePhase, Assumption),
) -> Vec<(Reading, LayerDecision<'a>)> {
    // Only these answers determine which filters match.
    let mut found: Vec<((SameField, NegativeOnEmpty), Candidates<'a>)> = Vec::new();
    let mut outcome = |reading: Reading| {
        let answers = (reading.same_field, reading.negative_on_empty);
        let at = match found.iter().position(|(known, _)| *known == answers) {
            Some(at) => at,
            None => {
                let in_force = (phase, assumption.unknown);
                found.push((answers, Candidates::find(state, layer, facts, in_force, &reading)));
                found.len() - 1
            }
        };
        (reading, found[at].1.arbitrate(&reading, assumption.callouts))
    };
    Reading::all().map(&mut outcome).collect()
}
