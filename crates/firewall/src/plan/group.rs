//! Rules that do the same, and what that is.

use xshield_policy::{BoundDirection, BoundStance, Direction};

use super::recorder::way;
use super::shapes::Shapes;

/// What a group of rules does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Failsafe,
    Block,
    Allow,
    /// Allows that count in the enforced stance and not in the tested one.
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

    /// How the group's sets begin: what the rules do, the direction, and the stance where it has two.
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

    /// The chain for packets of established flows whose socket is gone; `None` for rules that let
    /// nothing through.
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

/// Whether a direction enforces nothing, so that its tested stance stands alone.
pub(super) fn only_tested(rules: &BoundDirection) -> bool {
    rules.tested.is_some() && rules.enforced == BoundStance::open()
}
