//! The influence of other products' filters on our decisions.
//!
//! Evaluated are packets at the corners of the intersection of one of our filters and one of theirs, each
//! under every reading, with every answer that their drivers may give, and with both assumptions about
//! everything that the packet does not determine (interface, profile, program). An influence that changes our
//! decision in all of these cases is certain; one that does in some is possible.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use xshield_policy::Packet;

use super::corners::{Span, common, packet, span};
use super::eval::{CalloutAnswer, Candidates, EnginePhase, Ruling, Unknown};
use super::matching::PacketFacts;
use super::model::{EngineState, Filter, Flags, ObjectKey};
use super::names::{FilterField, Layer};
use super::ours::{SUBLAYER, is_ours};
use super::program::Programs;
use super::reading::Reading;
use super::traffic::classifications;

/// The influence of another product's filter on our decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Influence {
    /// The product's provider, by name and key.
    pub provider: String,
    /// The sublayer, by name and key, with its weight.
    pub sublayer: String,
    /// The filter, by name and key, with its number in events if that is known.
    pub filter: String,
    /// The filter's layer.
    pub layer: Layer,
    /// The effect.
    pub effect: Effect,
    /// Whether it is certain.
    pub certainty: Certainty,
    /// An example packet.
    pub example: Packet,
}

/// The effect on a packet on which we decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// We permit it, and it is dropped.
    Blocks,
    /// We drop it, and it is permitted.
    Permits,
}

/// In how many of the evaluated cases an influence exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// In some: it depends on a reading, a driver, or what the packet does not determine.
    Possible,
    /// In all, for at least one packet.
    Certain,
}

impl fmt::Display for Influence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match (self.effect, self.certainty) {
            (Effect::Blocks, Certainty::Certain) => "blocks what policy allows",
            (Effect::Blocks, Certainty::Possible) => "may block what policy allows",
            (Effect::Permits, Certainty::Certain) => "lets through what policy denies",
            (Effect::Permits, Certainty::Possible) => "may let through what policy denies",
        };
        write!(
            f,
            "{verb}: filter {} of {}, sublayer {}, at {}; for example {}",
            self.filter, self.provider, self.sublayer, self.layer, self.example
        )
    }
}

/// The influences, and the extent of the evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coexistence {
    /// The influences, certain ones first.
    pub influences: Vec<Influence>,
    /// The number of evaluated packets.
    pub packets: usize,
    /// Filters of our own that were omitted: if there are more than [`MOST_OWN`] at a layer, evenly spread
    /// ones are evaluated.
    pub left_out: usize,
}

/// The most filters of our own per layer that are combined with those of others.
pub const MOST_OWN: usize = 200;

/// Evaluates everything that the filter engine holds, including our filters.
#[must_use]
pub fn coexistence(state: &EngineState, programs: &Programs) -> Coexistence {
    let mut report = Coexistence { influences: Vec::new(), packets: 0, left_out: 0 };
    let mut found: BTreeMap<(ObjectKey, Effect), Influence> = BTreeMap::new();
    for layer in Layer::planned() {
        let at_layer =
            |filter: &&Filter| filter.layer == layer && !filter.flags.contains(Flags::BOOT_TIME);
        let here = state.filters.iter().filter(at_layer);
        let (own, foreign): (Vec<&Filter>, Vec<&Filter>) =
            here.partition(|filter| is_ours(filter.provider.as_ref()));
        let alone = EngineState {
            filters: own.iter().map(|&filter| filter.clone()).collect(),
            ..EngineState { filters: Vec::new(), ..state.clone() }
        };
        let together = EngineState {
            filters: own.iter().chain(&foreign).map(|&filter| filter.clone()).collect(),
            ..EngineState { filters: Vec::new(), ..state.clone() }
        };
        let own_spans = distinct(&own);
        let step = own_spans.len().div_ceil(MOST_OWN).max(1);
        let asked: Vec<&Span> = own_spans.iter().step_by(step).collect();
        report.left_out += own_spans.len() - asked.len();
        let mut packets: BTreeMap<String, Packet> = BTreeMap::new();
        let foreign_spans = distinct(&foreign);
        for theirs in &foreign_spans {
            for ours in &asked {
                let Span { low, high } = common(theirs, ours);
                for corner in [low, high] {
                    let packet = packet(&layer, &corner);
                    packets.extend(packet.map(|packet| (packet.to_string(), packet)));
                }
            }
        }
        report.packets += packets.len();
        for packet in packets.into_values() {
            for (of, facts) in classifications(&packet, programs) {
                if of == layer {
                    let facts = without_guesses(facts);
                    look(&alone, &together, (&layer, &facts), &packet, &mut found);
                }
            }
        }
    }
    report.influences = found.into_values().collect();
    report.influences.sort_by_key(|found| std::cmp::Reverse((found.certainty, found.effect)));
    report
}

/// The distinct conditions of filters, and those that match everything.
fn distinct(filters: &[&Filter]) -> Vec<Span> {
    let all = filters.iter().map(|filter| span(filter));
    let all: BTreeSet<Span> = all.chain([Span::default()]).collect();
    all.into_iter().collect()
}

/// A packet that names no program may belong to any.
fn without_guesses(mut facts: PacketFacts) -> PacketFacts {
    for field in [FilterField::AppId, FilterField::UserId] {
        facts.0.remove(&field);
    }
    facts
}

fn look(
    alone: &EngineState,
    together: &EngineState,
    (layer, facts): (&Layer, &PacketFacts),
    packet: &Packet,
    found: &mut BTreeMap<(ObjectKey, Effect), Influence>,
) {
    let mut changed: BTreeMap<(&ObjectKey, Effect), (usize, &Filter)> = BTreeMap::new();
    let mut cases = 0;
    for unknown in [Unknown::Matches, Unknown::Differs] {
        let find = |state, reading: &Reading| {
            Candidates::find(state, layer, facts, (EnginePhase::Running, unknown), reading)
        };
        let mut known: Vec<(Reading, Candidates<'_>, Candidates<'_>)> = Vec::new();
        for reading in Reading::all() {
            // Only these answers determine which filters match.
            let is_same = |(other, ..): &(Reading, Candidates<'_>, Candidates<'_>)| {
                (other.same_field, other.negative_on_empty)
                    == (reading.same_field, reading.negative_on_empty)
            };
            let at = known.iter().position(is_same).unwrap_or_else(|| {
                known.push((reading, find(alone, &reading), find(together, &reading)));
                known.len() - 1
            });
            let (_, ours, all) = &known[at];
            // None of our filters is a callout.
            let wanted = ours.arbitrate(&reading, CalloutAnswer::Continues);
            for callouts in
                [CalloutAnswer::Permits, CalloutAnswer::Blocks, CalloutAnswer::Continues]
            {
                cases += 1;
                let got = all.arbitrate(&reading, callouts);
                let effect = match (wanted.ruling, got.ruling) {
                    (Ruling::Permit, Ruling::Block) => Effect::Blocks,
                    (Ruling::Block, Ruling::Permit) => Effect::Permits,
                    _ => continue,
                };
                if let Some(by) = got.by {
                    changed.entry((&by.key, effect)).or_insert((0, by)).0 += 1;
                }
            }
        }
    }
    for ((key, effect), (times, filter)) in changed {
        let certainty = if times == cases { Certainty::Certain } else { Certainty::Possible };
        let influence = || influence(together, filter, effect, certainty, packet);
        let known = found.entry((key.clone(), effect)).or_insert_with(influence);
        if known.certainty < certainty {
            *known = influence();
        }
    }
}

fn influence(
    state: &EngineState,
    filter: &Filter,
    effect: Effect,
    certainty: Certainty,
    packet: &Packet,
) -> Influence {
    let sublayer = match state.sublayer(&filter.sublayer) {
        Some(sublayer) => {
            let place = match sublayer.weight.cmp(&ours_weight(state)) {
                std::cmp::Ordering::Less => "below ours",
                std::cmp::Ordering::Equal => "ours",
                std::cmp::Ordering::Greater => "above ours",
            };
            format!("{} {} (weight {}, {place})", sublayer.name, sublayer.key, sublayer.weight)
        }
        None => filter.sublayer.to_string(),
    };
    let id = filter.id.map_or_else(String::new, |id| format!(" (number {id})"));
    Influence {
        provider: state.provider_name(filter.provider.as_ref()),
        sublayer,
        filter: format!("{:?} {}{id}", filter.name, filter.key),
        layer: filter.layer.clone(),
        effect,
        certainty,
        example: packet.clone(),
    }
}

fn ours_weight(state: &EngineState) -> u16 {
    state.sublayer(&SUBLAYER.into()).map_or(0, |sublayer| sublayer.weight)
}
