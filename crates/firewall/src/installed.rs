//! Which ruleset of ours a host's firewall holds.

use std::fmt;

use xshield_policy::Revision;

use crate::Capabilities;
use crate::plan::Digest;

/// Where a ruleset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Names end in `_a`.
    A,
    /// Names end in `_b`.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(crate) fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

/// A ruleset in the kernel, as the mark says that was put there with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstalledRuleset {
    /// Where it stands.
    pub slot: Slot,
    /// The policy it came from; the first of several that have the same plan.
    pub revision: Revision,
    /// The plan it was made from.
    pub digest: Digest,
    /// What the kernel was found to be capable of. Holds until the next boot, as the table does.
    pub capabilities: Capabilities,
}

/// What stands in table `inet xshield`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelState {
    /// No ruleset of ours.
    Absent,
    /// One ruleset, for good.
    InForce(InstalledRuleset),
    /// A new one until its time runs out.
    Trial {
        /// The new one.
        new: InstalledRuleset,
        /// The one that comes back; `None`: everything is accepted then.
        old: Option<InstalledRuleset>,
        /// The time has run out: `old` is in force.
        over: bool,
    },
    /// Something that we did not leave like that.
    Damaged {
        /// What is wrong.
        what: String,
    },
}

impl KernelState {
    /// The ruleset that judges packets now.
    #[must_use]
    pub fn in_force(&self) -> Option<InstalledRuleset> {
        match self {
            Self::InForce(standing) | Self::Trial { new: standing, over: false, .. } => {
                Some(*standing)
            }
            Self::Trial { old, over: true, .. } => *old,
            Self::Absent | Self::Damaged { .. } => None,
        }
    }

    /// The last ruleset that was put there for good.
    #[must_use]
    pub fn settled(&self) -> Option<InstalledRuleset> {
        match self {
            Self::InForce(standing) => Some(*standing),
            Self::Trial { old, .. } => *old,
            Self::Absent | Self::Damaged { .. } => None,
        }
    }
}

impl fmt::Display for KernelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no ruleset is in the kernel"),
            Self::InForce(standing) => write!(f, "revision {} is in force", standing.revision),
            Self::Trial { new, over: false, .. } => {
                write!(f, "revision {} is on trial", new.revision)
            }
            Self::Trial { new, .. } => write!(f, "the trial of revision {} ran out", new.revision),
            Self::Damaged { what } => write!(f, "the table is damaged: {what}"),
        }
    }
}
