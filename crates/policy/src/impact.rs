//! The impact on assets of replacing one policy by another, shown to an operator for confirmation.
//!
//! The protection of an asset is what it denies: it loses protection in a direction if a level becomes
//! weaker, a block rule is removed, or less forwarded traffic is judged. Listed separately are assets whose
//! rules newly allow flows. The two lists are complete: if a flow was denied and no longer is, its asset is
//! in one of them (`tests/impact.rs`). An asset can be listed unnecessarily, but never be missing.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::compile::{Class, CompileError, Compiler};
use crate::level::Direction;
use crate::names::Name;
use crate::protection::{Closed, Protection};
use crate::range::AddressRange;
use crate::reach::Reach;
use crate::ruleset::Management;

/// The change of one direction of an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DirectionChange {
    loses: bool,
    gains: bool,
    opens: bool,
    closes: bool,
    levels: Option<(Closed, Closed)>,
}

impl DirectionChange {
    fn between(before: &Protection, after: &Protection, direction: Direction) -> Self {
        let (was, is) = (before.direction(direction), after.direction(direction));
        Self {
            loses: weakens(before, after, direction),
            gains: weakens(after, before, direction),
            opens: allows_more(before, after, direction),
            closes: allows_more(after, before, direction),
            levels: (was.closed != is.closed).then_some((was.closed, is.closed)),
        }
    }
}

/// Whether fewer flows are denied without a matching rule, blocked, or judged at all.
fn weakens(before: &Protection, after: &Protection, direction: Direction) -> bool {
    let (was, is) = (before.direction(direction), after.direction(direction));
    // At an open level only block rules judge.
    let judged = !was.closed.enforced.is_open() || !was.rules.blocks.is_empty();
    is.closed.enforced < was.closed.enforced
        || (judged && is.forwarded < was.forwarded)
        || !after.open(direction).is_within(&before.open(direction))
        || !before.blocked(direction).is_within(&after.blocked(direction))
}

/// Whether rules allow what was neither allowed nor open before.
fn allows_more(before: &Protection, after: &Protection, direction: Direction) -> bool {
    let passed = before.open(direction).and(&before.allowed(direction));
    !after.allowed(direction).is_within(&passed)
}

/// Assets whose level changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LevelChange {
    /// The old state.
    pub from: Closed,
    /// The new state.
    pub to: Closed,
    /// The assets.
    pub assets: BTreeSet<Name>,
}

/// The impact on one direction of assets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DirectionImpact {
    /// They deny less: a lower level, a removed block rule, forwarded traffic that is no longer judged.
    pub lose_protection: BTreeSet<Name>,
    /// They deny more.
    pub gain_protection: BTreeSet<Name>,
    /// Rules or management sources allow what was not allowed before.
    pub allow_more: BTreeSet<Name>,
    /// Rules or management sources no longer allow what they did.
    pub allow_less: BTreeSet<Name>,
    /// Changed levels and modes, in order.
    pub levels: Vec<LevelChange>,
}

/// The impact on assets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Impact {
    /// Flows opened by peers.
    pub inbound: DirectionImpact,
    /// Flows opened by assets.
    pub outbound: DirectionImpact,
    /// They were in a segment and will be in none.
    pub leave_all_segments: BTreeSet<Name>,
    /// They could be managed and no longer can: see [`Impact::without_management`].
    pub lose_management: BTreeSet<Name>,
    /// What will be enforced admits no management source, and no peer by SSH, RDP or WinRM.
    pub without_management: BTreeSet<Name>,
    /// Management sources that are removed from the settings: `10.0.0.0/24 tcp/22`.
    pub management_removed: BTreeSet<String>,
}

impl Impact {
    /// The impact on the assets when policy and inventory `before` are replaced by `after`.
    ///
    /// # Errors
    /// When one of the policies can't be compiled.
    pub fn between(before: &Compiler<'_>, after: &Compiler<'_>) -> Result<Self, CompileError> {
        let mut impact =
            Self { management_removed: management_removed(before, after), ..Self::default() };
        let mut levels: [BTreeMap<(Closed, Closed), BTreeSet<Name>>; 2] = Default::default();
        let mut known: HashMap<(Class, &Class), ClassChange> = HashMap::new();
        for (id, class) in after.placement().classes() {
            let Some(name) = after.placement().name(id) else { continue };
            let was = before.placement().class(id).cloned().unwrap_or_default();
            let change = match known.entry((was, class)) {
                Entry::Occupied(known) => *known.into_mut(),
                Entry::Vacant(new) => {
                    let change = ClassChange::between(
                        &before.protection(&new.key().0)?,
                        &after.protection(class)?,
                    );
                    *new.insert(change)
                }
            };
            impact.note(name, change);
            for (levels, change) in levels.iter_mut().zip([change.inbound, change.outbound]) {
                if let Some(change) = change.levels {
                    levels.entry(change).or_default().insert(name.clone());
                }
            }
        }
        let listed = |levels: BTreeMap<(Closed, Closed), BTreeSet<Name>>| {
            let change = |((from, to), assets)| LevelChange { from, to, assets };
            levels.into_iter().map(change).collect()
        };
        let [inbound, outbound] = levels;
        impact.inbound.levels = listed(inbound);
        impact.outbound.levels = listed(outbound);
        Ok(impact)
    }

    fn note(&mut self, name: &Name, change: ClassChange) {
        let note = |list: &mut BTreeSet<Name>, holds: bool| {
            if holds {
                list.insert(name.clone());
            }
        };
        for (impact, change) in
            [(&mut self.inbound, change.inbound), (&mut self.outbound, change.outbound)]
        {
            note(&mut impact.lose_protection, change.loses);
            note(&mut impact.gain_protection, change.gains);
            note(&mut impact.allow_more, change.opens);
            note(&mut impact.allow_less, change.closes);
        }
        note(&mut self.leave_all_segments, change.leaves_all_segments);
        note(&mut self.lose_management, change.loses_management);
        note(&mut self.without_management, change.without_management);
    }

    /// One direction.
    #[must_use]
    pub fn direction(&self, direction: Direction) -> &DirectionImpact {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }

    /// Whether any asset loses protection, its last segment or management access, or a management source is
    /// removed.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        Direction::BOTH.iter().any(|&each| !self.direction(each).lose_protection.is_empty())
            || !self.leave_all_segments.is_empty()
            || !self.lose_management.is_empty()
            || !self.management_removed.is_empty()
    }

    /// Whether nothing changes for any asset.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let unchanged =
            Self { without_management: self.without_management.clone(), ..Self::default() };
        *self == unchanged
    }
}

/// The change of all assets with the same classes in both policies.
#[derive(Debug, Clone, Copy)]
struct ClassChange {
    inbound: DirectionChange,
    outbound: DirectionChange,
    leaves_all_segments: bool,
    loses_management: bool,
    without_management: bool,
}

impl ClassChange {
    fn between(before: &Protection, after: &Protection) -> Self {
        let is_managed = after.is_managed();
        Self {
            inbound: DirectionChange::between(before, after, Direction::Inbound),
            outbound: DirectionChange::between(before, after, Direction::Outbound),
            leaves_all_segments: before.is_in_a_segment && !after.is_in_a_segment,
            loses_management: !is_managed && before.is_managed(),
            without_management: !is_managed,
        }
    }
}

fn management_removed(before: &Compiler<'_>, after: &Compiler<'_>) -> BTreeSet<String> {
    let kept = Reach::of_management(after.failsafe().management.iter());
    let gone = |rule: &Management| !Reach::of_management([rule].into_iter()).is_within(&kept);
    let before = before.failsafe().management;
    before.iter().filter(|rule| gone(rule)).map(in_words).collect()
}

fn in_words(Management { from, services }: &Management) -> String {
    let from = match AddressRange::from(*from).single() {
        Some(address) => address.to_string(),
        None => from.to_string(),
    };
    let services: Vec<String> = services.iter().map(ToString::to_string).collect();
    format!("{from} {}", services.join(" "))
}
