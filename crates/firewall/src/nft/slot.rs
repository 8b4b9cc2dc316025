//! Two slots for a ruleset in the kernel, so that a new one can exist beside the one in force; and the
//! comment that says which ruleset is in which slot.

use xshield_policy::Revision;

use crate::installed::{InstalledRuleset, Slot};
use crate::plan::is_shared;

/// Splits a kernel name into slot and name.
pub(crate) fn split(name: &str) -> Option<(Slot, &str)> {
    if is_shared(name) {
        return None;
    }
    let a = name.strip_suffix("_a").map(|plain| (Slot::A, plain));
    a.or_else(|| name.strip_suffix("_b").map(|plain| (Slot::B, plain)))
}

/// The kernel's name.
pub(crate) fn kernel_name(name: &str, slot: Option<Slot>) -> String {
    match slot {
        Some(slot) if !is_shared(name) => format!("{name}_{}", slot.letter()),
        _ => name.to_owned(),
    }
}

/// Identifies the layout; a table with another layout is rebuilt.
const LAYOUT: &str = "xshield/1";

/// The comment of the rules that lead to a ruleset.
pub(crate) fn comment(ruleset: &InstalledRuleset) -> String {
    let InstalledRuleset { slot, revision, digest, capabilities } = ruleset;
    format!("{LAYOUT} {slot} {revision} {digest} {capabilities}")
}

/// Parses such a comment; `None`: it is not ours, or of another layout.
pub(crate) fn parse_comment(comment: &str) -> Option<InstalledRuleset> {
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
    Some(InstalledRuleset { slot, revision, digest, capabilities })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Capabilities;
    use crate::plan::Digest;

    #[test]
    fn comments_round_trip_and_fit() {
        for slot in [Slot::A, Slot::B] {
            let standing = InstalledRuleset {
                slot,
                revision: Revision(u64::MAX),
                digest: Digest([0xab; 32]),
                capabilities: Capabilities::FULL,
            };
            let text = comment(&standing);
            assert_eq!(parse_comment(&text), Some(standing));
            assert!(text.len() <= 126, "{text}");
        }
        assert_eq!(parse_comment("xshield/0 a 1 00"), None);
    }

    #[test]
    fn names_round_trip() {
        assert_eq!(split(&kernel_name("in_orig", Some(Slot::B))), Some((Slot::B, "in_orig")));
        assert_eq!(split(&kernel_name("rec_denied_in", Some(Slot::B))), None);
        assert_eq!(split("input"), None);
    }
}
