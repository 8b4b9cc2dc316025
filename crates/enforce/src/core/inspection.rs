//! Whether the kernel holds the ruleset on disk.

use xshield_firewall::{Drift, FirewallError, Generation};

use super::kernel::{Kernel, KernelRuleset};
use super::known_good::LastKnownGood;

/// The most differences named in a problem; the others are counted.
const NAMED: usize = 5;

/// When a ruleset was last read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastReadBack {
    /// No run ever read back a ruleset.
    Never,
    /// In an earlier boot.
    BeforeThisBoot,
    /// In this boot, at this generation.
    At(Generation),
}

/// What was found in the kernel.
pub(super) enum Found {
    /// The complete ruleset on disk.
    Whole,
    /// Nothing, and no run ever read back a ruleset.
    Missing,
    /// A ruleset on trial left by another run.
    Unfinished,
    /// Something other than the ruleset on disk.
    Other(Vec<String>),
}

pub(super) fn inspect<K: Kernel>(
    kernel: &mut K,
    known: &LastKnownGood,
    last: LastReadBack,
) -> Result<Found, FirewallError> {
    let differences = match kernel.state()? {
        KernelRuleset::InForce(digest) => {
            let expected = known.plan(kernel)?;
            if digest == K::digest(&expected) {
                texts(&kernel.read_back(Some(&expected))?.differences)
            } else {
                vec!["another ruleset of ours is in force".to_owned()]
            }
        }
        KernelRuleset::OnTrial => return Ok(Found::Unfinished),
        KernelRuleset::Nothing if last == LastReadBack::Never => return Ok(Found::Missing),
        KernelRuleset::Nothing => vec![format!("{} is gone", K::PLACE)],
        KernelRuleset::Damaged { what } => vec![what],
    };
    Ok(if differences.is_empty() { Found::Whole } else { Found::Other(differences) })
}

pub(super) fn texts(differences: &[Drift]) -> Vec<String> {
    differences.iter().map(ToString::to_string).collect()
}

pub(super) fn drift_text(differences: &[String]) -> String {
    let named = differences.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    let rest = differences.len().saturating_sub(NAMED);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("the kernel does not hold what was programmed: {named}{more}")
}
