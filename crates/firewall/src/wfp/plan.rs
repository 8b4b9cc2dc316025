//! Translates a bound ruleset into filters.
//!
//! The whole policy is in one sublayer, where the highest matching filter decides alone: several sublayers
//! would depend on a reading of what a lower one may override. Two stances are therefore combined here: a
//! filter of the tested stance matches only what the enforced one permits.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use ring::digest::{Context, SHA256};
use xshield_policy::protocol::TCP;
use xshield_policy::{
    Bound, BoundDirection, BoundStance, Direction, Revision, RuleId, Subject, Unenforceable,
    Verdict,
};

use super::guid::Guid;
use super::mark::mark;
use super::model::{Filter, FilterAction, FilterCondition, Flags, Lifetime, Weight};
use super::names::{FilterField, Layer};
use super::ours::{CLOSED, Class, NAME, PROVIDER, Reach, SUBLAYER, Tier, in_tier, weight};
use super::program::Programs;
use super::region::{Common, Region};
use super::rules::{Piece, failsafe, pieces, report_unenforceable, set_ranges, size};
use crate::plan::{Digest, Family, Label};

/// The most filters of rules in a plan, each of which is added twice: for good, and for the start of the
/// system.
///
/// Microsoft documents no limit. A rule is multiplied by its networks and services, so without one a policy
/// that is small on paper could take the filter engine's memory.
const MOST_OF_RULES: usize = 50_000;

/// The most filters of a tested stance above an enforced one, by direction and family. Beyond that the tested
/// stance is omitted and reported.
const MOST_TESTED: usize = 50_000;

/// Everything that one ruleset needs in the filter engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The revision from which it was made.
    pub revision: Revision,
    /// By layer, the highest weight first.
    pub filters: Vec<PlannedFilter>,
    /// Rules that this host can't enforce as written. They match nothing.
    pub unenforceable: Vec<Unenforceable>,
    /// Parts of the ruleset that WFP can't express. They judge nothing.
    pub omissions: Vec<Omission>,
}

/// A part of a ruleset that is omitted as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Omission {
    /// Flows that the host forwards.
    Forwarded,
    /// The tested stance of a direction with an enforced one.
    Tested(Direction),
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forwarded => f.write_str(
                "forwarded traffic is not judged: Windows shows filters no ports of forwarded packets",
            ),
            Self::Tested(direction) => write!(
                f,
                "what is only tested {} is not recorded: with what is enforced it takes more \
                 than {MOST_TESTED} filters; test fewer rules at once",
                match direction {
                    Direction::Inbound => "inbound",
                    Direction::Outbound => "outbound",
                }
            ),
        }
    }
}

/// One filter of a plan, in no tier yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFilter {
    /// Its layer.
    pub layer: Layer,
    /// Its class.
    pub class: Class,
    /// The verdict.
    pub verdict: Verdict,
    /// The rule from which it comes; `failsafe/…` and `default/…` for what is not a rule of policy.
    pub label: Label,
    /// Its conditions.
    pub conditions: Vec<FilterCondition>,
    /// Its weight in the tier that stays. All weights of a layer are distinct.
    weight: u64,
    /// A text that is unique in the plan, from which its keys are derived.
    identity: String,
    /// Its description.
    description: String,
}

/// A ruleset that needs more filters than are put into the filter engine of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "planning revision {revision}: its rules need {needed} filters, and a Windows host takes at most \
     {MOST_OF_RULES}. Rule {largest} alone needs {its}, one for each pair of a network and a service: \
     combine its networks or its ports into ranges, or apply it to fewer hosts"
)]
pub struct TooManyFilters {
    /// The ruleset.
    revision: Revision,
    /// What all its rules need.
    needed: usize,
    /// The rule that needs most.
    largest: RuleId,
    /// What that rule needs.
    its: usize,
}

/// Translates a bound ruleset.
///
/// # Errors
/// If it has too many rules, networks and services. A ruleset is never enforced in part because of its size.
pub fn plan(bound: &Bound, programs: &Programs) -> Result<Plan, TooManyFilters> {
    fits(bound)?;
    let mut builder =
        Builder { bound, programs, unenforceable: Vec::new(), omissions: BTreeSet::new() };
    if bound.forwarded.rules.judges() {
        builder.omissions.insert(Omission::Forwarded);
    }
    let mut filters = Vec::new();
    for direction in Direction::BOTH {
        for family in Family::BOTH {
            let drafts = builder.drafts(direction, family);
            let layers = match direction {
                Direction::Inbound => [Layer::RecvAccept(family), Layer::InboundIcmpError(family)],
                Direction::Outbound => [Layer::Connect(family), Layer::OutboundIcmpError(family)],
            };
            for layer in layers {
                filters.extend(at_layer(&layer, &drafts));
            }
        }
    }
    let digest = digest(&filters);
    let revision = bound.revision;
    for filter in filters.iter_mut().filter(|filter| filter.class == Class::Default) {
        filter.description = mark(revision, digest);
        // Not of the revision: the same plan has the same filters.
        filter.identity.push_str(&digest.to_string());
    }
    Ok(Plan {
        revision,
        filters,
        unenforceable: builder.unenforceable,
        omissions: builder.omissions.into_iter().collect(),
    })
}

/// Counts before anything is built. Tested stances have a limit of their own.
fn fits(bound: &Bound) -> Result<(), TooManyFilters> {
    let enforced = Direction::BOTH.map(|direction| &bound.direction(direction).enforced);
    let rules = enforced.into_iter().flat_map(|stance| stance.blocks.iter().chain(&stance.allows));
    let mut by_rule: BTreeMap<&RuleId, usize> = BTreeMap::new();
    for rule in rules {
        let its = by_rule.entry(&rule.id).or_default();
        *its = Family::BOTH
            .into_iter()
            .fold(*its, |sum, family| sum.saturating_add(size(rule, family)));
    }
    let needed = by_rule.values().fold(0_usize, |sum, its| sum.saturating_add(*its));
    match by_rule.into_iter().max_by_key(|(_, its)| *its) {
        Some((largest, its)) if needed > MOST_OF_RULES => {
            let largest = largest.clone();
            Err(TooManyFilters { revision: bound.revision, needed, largest, its })
        }
        _ => Ok(()),
    }
}

impl Plan {
    /// Identifies the effect of the plan: SHA-256 over its filters, without the revision.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest(&self.filters)
    }

    /// The filters as they are added: in the tier that stays, each as a persistent and a boot-time filter; on
    /// trial, for the lifetime of the session.
    pub fn filters_in(&self, tier: Tier) -> impl Iterator<Item = Filter> + '_ {
        let lifetimes = match tier {
            Tier::Kept => &[Lifetime::Persistent, Lifetime::BootTime][..],
            Tier::Trial => &[Lifetime::Dynamic][..],
        };
        let all = lifetimes
            .iter()
            .flat_map(|lifetime| self.filters.iter().map(move |filter| (filter, *lifetime)));
        all.map(move |(filter, lifetime)| filter.added(tier, lifetime))
    }
}

impl PlannedFilter {
    fn added(&self, tier: Tier, lifetime: Lifetime) -> Filter {
        let (tag, flags) = match lifetime {
            Lifetime::Dynamic => ("dynamic", Flags::default()),
            Lifetime::Static => ("static", Flags::default()),
            Lifetime::Persistent => ("persistent", Flags::PERSISTENT),
            Lifetime::BootTime => ("boot-time", Flags::BOOT_TIME),
        };
        Filter {
            key: Guid::of(&["filter", tag, &self.identity]).into(),
            name: format!("{NAME}{}", self.label).into(),
            description: self.description.as_str().into(),
            flags,
            provider: Some(PROVIDER.into()),
            layer: self.layer.clone(),
            sublayer: SUBLAYER.into(),
            weight: Weight::Exact(in_tier(self.weight, tier)),
            effective_weight: None,
            conditions: self.conditions.clone(),
            action: if self.verdict == Verdict::Deny {
                FilterAction::Block
            } else {
                FilterAction::Permit
            },
            id: None,
        }
    }
}

/// A filter before it is assigned to a layer.
struct Draft {
    class: Class,
    verdict: Verdict,
    reach: Reach,
    piece: Piece,
}

struct Builder<'a> {
    bound: &'a Bound,
    programs: &'a Programs,
    unenforceable: Vec<Unenforceable>,
    omissions: BTreeSet<Omission>,
}

/// What a stance permits: pieces, and whether its level permits the rest.
struct Permits {
    pieces: Vec<Piece>,
    rest: bool,
}

const OPEN: &str = "default/open";
const INTRANET: &str = "default/intranet";

impl Builder<'_> {
    fn drafts(&mut self, direction: Direction, family: Family) -> Vec<Draft> {
        let bound = self.bound;
        let mut drafts = Vec::new();
        let mut put = |class, verdict, pieces: Vec<Piece>| {
            let draft = |piece| Draft { class, verdict, reach: Reach::Whole, piece };
            drafts.extend(pieces.into_iter().map(draft));
        };
        put(Class::Failsafe, Verdict::Allow, failsafe(&bound.failsafe, direction, family));
        let BoundDirection { enforced, tested } = bound.direction(direction);
        let at = (direction, family);
        let blocks = pieces(&enforced.blocks, at, self.programs, &mut self.unenforceable);
        let passes = self.passes(enforced, at);
        let mut stances = tested.as_ref().and_then(|tested| {
            let above = self.tested(tested, &blocks, &passes, at);
            if above.is_none() {
                self.omissions.insert(Omission::Tested(direction));
            }
            above
        });
        put(Class::Block, Verdict::Deny, blocks);
        let everything =
            |label: &str| vec![Piece { region: Region::everything(), label: label.into() }];
        match stances.take() {
            Some(stances) => {
                drafts.extend(stances.drafts);
                let mut put = |verdict, label: &str| {
                    let piece = Piece { region: Region::everything(), label: label.into() };
                    drafts.push(Draft {
                        class: Class::Default,
                        verdict,
                        reach: Reach::Whole,
                        piece,
                    });
                };
                match (passes.rest, stances.rest) {
                    (false, _) => put(Verdict::Deny, CLOSED),
                    (true, false) => put(Verdict::WouldDeny, CLOSED),
                    (true, true) => put(Verdict::Allow, OPEN),
                }
            }
            None if passes.rest => put(Class::Default, Verdict::Allow, everything(OPEN)),
            None => {
                put(Class::Allow, Verdict::Allow, passes.pieces);
                put(Class::Default, Verdict::Deny, everything(CLOSED));
            }
        }
        named_for_tcp(&mut drafts);
        drafts
    }

    /// If a level closes nothing, allow rules have no effect.
    fn passes(&mut self, stance: &BoundStance, at: (Direction, Family)) -> Permits {
        let rest = stance.subject == Subject::Nothing;
        let allows = if rest { &[][..] } else { &stance.allows };
        let mut pieces = pieces(allows, at, self.programs, &mut self.unenforceable);
        if rest {
            // Still reported: the rule can't be enforced once the level is raised.
            self::pieces(&stance.allows, at, self.programs, &mut self.unenforceable);
        }
        if stance.subject == Subject::Internet {
            let ranges = set_ranges(&self.bound.intranet, at.1).into_iter();
            pieces.extend(ranges.map(|remote| Piece {
                region: Region { remote, ..Region::everything() },
                label: INTRANET.into(),
            }));
        }
        Permits { pieces, rest }
    }

    /// The tested stance within what the enforced one permits; `None` if it is too large.
    fn tested(
        &mut self,
        tested: &BoundStance,
        blocks: &[Piece],
        passes: &Permits,
        at: (Direction, Family),
    ) -> Option<Tested> {
        let rules = tested.blocks.iter().chain(&tested.allows);
        let needed = rules.fold(0_usize, |sum, rule| sum.saturating_add(size(rule, at.1)));
        if needed > MOST_TESTED {
            return None;
        }
        let mut tested_blocks = pieces(&tested.blocks, at, self.programs, &mut self.unenforceable);
        let known: HashSet<&Region> = blocks.iter().map(|piece| &piece.region).collect();
        tested_blocks.retain(|piece| !known.contains(&piece.region));
        let inner = self.passes(tested, at);
        let exact: HashSet<&Region> = inner.pieces.iter().map(|piece| &piece.region).collect();
        let mut drafts = Vec::new();
        let mut put = |class, verdict, piece: Piece| {
            drafts.push(Draft { class, verdict, reach: Reach::Whole, piece });
            drafts.len() <= MOST_TESTED
        };
        let everything = Piece { region: Region::everything(), label: OPEN.into() };
        let outer = if passes.rest { std::slice::from_ref(&everything) } else { &passes.pieces };
        for piece in outer {
            for block in &tested_blocks {
                let Some(common) = self.within(piece, block, at.0) else { continue };
                if !put(Class::TestedBlock, Verdict::WouldDeny, common) {
                    return None;
                }
            }
            // What the enforced level leaves to the tested one has the default of the layer.
            let is_rest = passes.rest;
            let is_allowed = inner.rest
                || exact.contains(&piece.region)
                || inner.pieces.iter().any(|allow| piece.region.is_within(&allow.region));
            if is_allowed {
                let is_default = is_rest && inner.rest;
                if !is_default && !put(Class::Allow, Verdict::Allow, piece.clone()) {
                    return None;
                }
                continue;
            }
            for allow in &inner.pieces {
                let Some(mut common) = self.within(piece, allow, at.0) else { continue };
                if !piece.label.starts_with("default/") {
                    common.label = piece.label.clone();
                }
                if !put(Class::Allow, Verdict::Allow, common) {
                    return None;
                }
            }
            let closed = Piece { label: CLOSED.into(), ..piece.clone() };
            if !is_rest && !put(Class::WouldDeny, Verdict::WouldDeny, closed) {
                return None;
            }
        }
        Some(Tested { drafts, rest: inner.rest })
    }

    /// The parts of a tested rule within an enforced piece, with the tested rule's name.
    fn within(&mut self, outer: &Piece, tested: &Piece, direction: Direction) -> Option<Piece> {
        match outer.region.common(&tested.region) {
            Common::Nothing => None,
            Common::Region(region) => Some(Piece { region: *region, label: tested.label.clone() }),
            Common::Inexpressible => {
                if let Ok(rule) = tested.label.parse::<RuleId>() {
                    let reason = "tested for one service or user and enforced for another: WFP can't \
                                  ask for both at once, so this is not recorded";
                    report_unenforceable(&mut self.unenforceable, rule, direction, reason);
                }
                None
            }
        }
    }
}

/// The pieces of a tested stance.
struct Tested {
    drafts: Vec<Draft>,
    /// Whether its level permits the rest.
    rest: bool,
}

/// Windows' audit events name the filter that permitted TCP only if it checks the user, the executable, the
/// protocol or the remote port. Would-be denials are permits that must be named, so those that check none of
/// these get an additional filter for TCP.
fn named_for_tcp(drafts: &mut Vec<Draft>) {
    let needs_twin = |draft: &&Draft| {
        let region = &draft.piece.region;
        draft.verdict == Verdict::WouldDeny && region.protocol.is_none() && !region.has_program()
    };
    let twin = |draft: &Draft| {
        let region = Region { protocol: Some(TCP), ..draft.piece.region.clone() };
        let piece = Piece { region, label: draft.piece.label.clone() };
        // A default for TCP is not a default: it does not match everything.
        let class = draft.class.max(Class::WouldDeny);
        Draft { class, verdict: draft.verdict, reach: Reach::Tcp, piece }
    };
    let twins: Vec<Draft> = drafts.iter().filter(needs_twin).map(twin).collect();
    drafts.extend(twins);
}

/// The filters of a layer, the highest weight first. Of several with the same match and effect, only the
/// first is kept.
fn at_layer(layer: &Layer, drafts: &[Draft]) -> Vec<PlannedFilter> {
    let mut seen: HashSet<(Class, Reach, Vec<FilterCondition>)> = HashSet::new();
    let mut filters: Vec<PlannedFilter> = Vec::new();
    for Draft { class, verdict, reach, piece } in drafts {
        let Some(conditions) = piece.region.conditions(layer) else { continue };
        if !seen.insert((*class, *reach, conditions.clone())) {
            continue;
        }
        let label = piece.label.clone();
        let action = if *verdict == Verdict::Deny { "block" } else { "permit" };
        let kind = match reach {
            Reach::Whole => class.name().to_owned(),
            Reach::Tcp => format!("{}, for events of TCP", class.name()),
        };
        let mut identity = format!("{layer}\n{kind}\n{action}\n{label}\n");
        for condition in &conditions {
            identity.push_str(&format!("{condition}\n"));
        }
        // Derived from the content, so that a filter keeps its weight and key if others change.
        let Guid(number) = Guid::of(&["weight", &identity]);
        let fine = u64::try_from(number >> 64).unwrap_or_default();
        filters.push(PlannedFilter {
            layer: layer.clone(),
            class: *class,
            verdict: *verdict,
            label,
            conditions,
            weight: weight(*class, *reach, fine),
            identity,
            description: kind,
        });
    }
    filters.sort_by(|one, other| (other.weight, &one.identity).cmp(&(one.weight, &other.identity)));
    part_weights(&mut filters);
    filters
}

/// Makes weights distinct, in descending order. Two hashes of 59 bits are hardly ever equal.
fn part_weights(filters: &mut [PlannedFilter]) {
    for at in (1..filters.len()).rev() {
        let below = filters[at].weight;
        let above = &mut filters[at - 1];
        above.weight = above.weight.max(below + 1);
    }
}

fn digest(filters: &[PlannedFilter]) -> Digest {
    let mut context = Context::new(&SHA256);
    for filter in filters {
        let own = filter.identity.as_bytes();
        // Defaults also carry the digest, which doesn't count.
        let length = match filter.class {
            Class::Default => own.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1),
            _ => own.len(),
        };
        context.update(&own[..length]);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Digest(bytes)
}

impl PlannedFilter {
    /// Whether Windows' audit events of permitted TCP name the filter.
    #[must_use]
    pub fn is_named_in_events_of_tcp(&self) -> bool {
        let fields = [
            FilterField::UserId,
            FilterField::AppId,
            FilterField::Protocol,
            FilterField::RemotePort,
        ];
        self.conditions.iter().any(|condition| fields.contains(&condition.field))
    }
}
