//! What becomes of assets when one policy takes the place of another: what an operator is told, and
//! asked about, before it does.
//!
//! Protection of an asset is what it denies: it loses protection in a direction where a level falls, a
//! block rule goes, or less forwarded traffic is judged. Beside it stands what rules newly allow.
//! Together they are all there is: a flow that was denied and no longer is belongs to an asset of one of
//! the two lists (`tests/impact.rs`). A flow can be in a list without need, never the other way round.

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

/// What becomes of one direction of an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    loses: bool,
    gains: bool,
    opens: bool,
    closes: bool,
    levels: Option<(Closed, Closed)>,
}

impl Change {
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
    // At an open level nothing is judged but by block rules.
    let judged = !was.closed.enforced.is_open() || !was.rules.blocks.is_empty();
    is.closed.enforced < was.closed.enforced
        || (judged && is.forwarded < was.forwarded)
        || !after.open(direction).is_within(&before.open(direction))
        || !before.blocked(direction).is_within(&after.blocked(direction))
}

/// Whether rules allow what was neither allowed nor open.
fn allows_more(before: &Protection, after: &Protection, direction: Direction) -> bool {
    let passed = before.open(direction).and(&before.allowed(direction));
    !after.allowed(direction).is_within(&passed)
}

/// Assets whose level becomes another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LevelChange {
    /// How far they are closed.
    pub from: Closed,
    /// How far they will be.
    pub to: Closed,
    /// The assets.
    pub assets: BTreeSet<Name>,
}

/// What becomes of one direction of assets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DirectionImpact {
    /// They deny less: a lower level, a block rule that goes, forwarded traffic that is left alone.
    pub lose_protection: BTreeSet<Name>,
    /// They deny more.
    pub gain_protection: BTreeSet<Name>,
    /// Rules, or management sources, allow what was not allowed.
    pub allow_more: BTreeSet<Name>,
    /// Rules, or management sources, no longer allow what they did.
    pub allow_less: BTreeSet<Name>,
    /// Levels and modes that change, in order.
    pub levels: Vec<LevelChange>,
}

/// What becomes of assets.
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
    /// What will be enforced lets in no management source, and nobody by SSH, RDP or WinRM.
    pub without_management: BTreeSet<Name>,
    /// Management sources that the settings will no longer name: `10.0.0.0/24 tcp/22`.
    pub management_removed: BTreeSet<String>,
}

impl Impact {
    /// What becomes of the assets of `after`, which were those of `before`.
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

    /// Whether any asset loses protection, its last segment or management access, or a management source
    /// goes.
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

/// What becomes of all assets of which both policies say the same.
#[derive(Debug, Clone, Copy)]
struct ClassChange {
    inbound: Change,
    outbound: Change,
    leaves_all_segments: bool,
    loses_management: bool,
    without_management: bool,
}

impl ClassChange {
    fn between(before: &Protection, after: &Protection) -> Self {
        let is_managed = after.is_managed();
        Self {
            inbound: Change::between(before, after, Direction::Inbound),
            outbound: Change::between(before, after, Direction::Outbound),
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
