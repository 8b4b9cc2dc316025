//! Two places for a ruleset in the kernel, so that a new one can stand beside the one in force.

use std::fmt;

use xshield_policy::Revision;

use crate::Capabilities;
use crate::plan::{Digest, is_shared};

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

    /// The slot of a kernel name, and the name without it.
    pub(crate) fn split(name: &str) -> Option<(Self, &str)> {
        if is_shared(name) {
            return None;
        }
        let a = name.strip_suffix("_a").map(|plain| (Self::A, plain));
        a.or_else(|| name.strip_suffix("_b").map(|plain| (Self::B, plain)))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

/// A name as the kernel has it.
pub(crate) fn kernel_name(name: &str, slot: Option<Slot>) -> String {
    match slot {
        Some(slot) if !is_shared(name) => format!("{name}_{}", slot.letter()),
        _ => name.to_owned(),
    }
}

/// A ruleset in the kernel, as the comment on the rule that leads to it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub slot: Slot,
    /// The policy it came from; the first of several that have the same plan.
    pub revision: Revision,
    /// The plan it was made from.
    pub digest: Digest,
    /// What the kernel was found to be capable of. Holds until the next boot, as the table does.
    pub capabilities: Capabilities,
}

/// Marks the layout; a table of another layout is rebuilt.
const LAYOUT: &str = "xshield/1";

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, revision, digest, capabilities } = self;
        write!(f, "{LAYOUT} {slot} {revision} {digest} {capabilities}")
    }
}

impl Standing {
    pub(crate) fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.split(' ');
        if words.next() != Some(LAYOUT) {
            return None;
        }
        let slot = match words.next()? {
            "a" => Slot::A,
            "b" => Slot::B,
            _ => return None,
        };
        let revision = Revision(words.next()?.parse().ok()?);
        let digest = words.next()?.parse().ok()?;
        let capabilities = words.next()?.parse().ok()?;
        Some(Self { slot, revision, digest, capabilities })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_round_trip_and_fit() {
        for slot in [Slot::A, Slot::B] {
            let standing = Standing {
                slot,
                revision: Revision(u64::MAX),
                digest: Digest([0xab; 32]),
                capabilities: Capabilities::FULL,
            };
            let text = standing.to_string();
            assert_eq!(Standing::parse(&text), Some(standing));
            assert!(text.len() <= 126, "{text}");
        }
        assert_eq!(Standing::parse("xshield/0 a 1 00"), None);
    }

    #[test]
    fn names_come_apart_as_they_were_put_together() {
        assert_eq!(Slot::split(&kernel_name("in_orig", Some(Slot::B))), Some((Slot::B, "in_orig")));
        assert_eq!(Slot::split(&kernel_name("rec_denied_in", Some(Slot::B))), None);
        assert_eq!(Slot::split("input"), None);
    }
}
