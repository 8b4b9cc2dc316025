//! Groups of rules with the same effect.

use xshield_policy::{BoundDirection, BoundStance, Direction};

use super::recorder::way;
use super::shapes::Shapes;

/// The effect of a group of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Failsafe,
    Block,
    Allow,
    /// Allow rules of the enforced stance only.
    AllowEnforced,
    BlockTested,
    AllowTested,
}

impl Verb {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Failsafe => "failsafe",
            Self::Block => "block",
            Self::Allow => "allow",
            Self::AllowEnforced => "allow_enforced",
            Self::BlockTested => "block_tested",
            Self::AllowTested => "allow_tested",
        }
    }

    /// The prefix of the group's sets: effect, direction, and the stance if there are two.
    pub(super) fn sets(self, direction: Direction) -> String {
        let way = way(direction);
        match self {
            Self::Failsafe => format!("fs_{way}"),
            Self::Block => format!("block_{way}"),
            Self::Allow => format!("allow_{way}"),
            Self::AllowEnforced => format!("allow_{way}_enforced"),
            Self::BlockTested => format!("block_{way}_tested"),
            Self::AllowTested => format!("allow_{way}_tested"),
        }
    }

    pub(super) fn is_block(self) -> bool {
        matches!(self, Self::Block | Self::BlockTested)
    }

    /// The chain for packets of established flows whose socket is closed; `None` for rules that accept
    /// nothing.
    pub(super) fn ownerless(self) -> Option<&'static str> {
        match self {
            Self::Allow => Some("ownerless"),
            Self::AllowEnforced => Some("ownerless_enforced"),
            Self::AllowTested => Some("ownerless_tested"),
            Self::Failsafe | Self::Block | Self::BlockTested => None,
        }
    }
}

/// Rules of one kind, sorted by shape.
pub(super) struct Group {
    pub(super) verb: Verb,
    pub(super) shapes: Shapes,
}

/// Whether a direction enforces nothing, so that only its tested stance exists.
pub(super) fn only_tested(rules: &BoundDirection) -> bool {
    rules.tested.is_some() && rules.enforced == BoundStance::open()
}
