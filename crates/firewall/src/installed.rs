//! The ruleset that a host's firewall holds.

use std::fmt;

use xshield_policy::Revision;

use crate::Capabilities;
use crate::plan::Digest;

/// The slot of a ruleset.
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

/// A ruleset in the kernel, as described by the comment stored with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstalledRuleset {
    /// Its slot.
    pub slot: Slot,
    /// The policy's revision; the first of several with the same plan.
    pub revision: Revision,
    /// The digest of its plan.
    pub digest: Digest,
    /// The kernel's capabilities when it was applied. They are valid until the next boot, like the table.
    pub capabilities: Capabilities,
}

/// The state of table `inet xshield`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelState {
    /// No ruleset of ours.
    Absent,
    /// One ruleset, in force for good.
    InForce(InstalledRuleset),
    /// A new ruleset on trial.
    Trial {
        /// The new one.
        new: InstalledRuleset,
        /// The one that returns; `None`: everything is accepted then.
        old: Option<InstalledRuleset>,
        /// The trial has expired: `old` is in force.
        over: bool,
    },
    /// The table differs from what we left.
    Damaged {
        /// The difference.
        what: String,
    },
}

impl KernelState {
    /// The ruleset that judges packets.
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

    /// The last ruleset that was put in force for good.
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
            Self::Trial { new, .. } => {
                write!(f, "the trial of revision {} has expired", new.revision)
            }
            Self::Damaged { what } => write!(f, "the table is damaged: {what}"),
        }
    }
}
