//! Problems with forwarded traffic: where it can't be judged, and where the policy does not mention it.

use xshield_firewall::Capabilities;
use xshield_host::linux::forwarding::Forwarding;
use xshield_policy::{Direction, Ruleset, Subject};
use xshield_wire::message::Problem;

use crate::problems::problem;

/// Checks the ruleset that is to be in force.
pub(crate) fn inspect(ruleset: &Ruleset, capabilities: &Capabilities) -> Option<Problem> {
    let told = |code: &str, text: String| Some(Problem { code: code.to_owned(), text });
    match ruleset.forwarded {
        Some(forwarded) if forwarded.judges() && !capabilities.forwarded => told(
            "forwarded-unenforceable",
            "the policy judges forwarded traffic, and this kernel can't tell who opened a flow \
             (it has no 'ct original ip saddr'; Linux 4.17 has): forwarded traffic passes \
             without being judged"
                .to_owned(),
        ),
        Some(_) => None,
        None if !restricts(ruleset) => None,
        None => match Forwarding::inspect() {
            Ok(found) if found.serves_others() => told(
                "forwarding-left-alone",
                format!(
                    "this host forwards traffic ({found}), but the policy does not cover that: \
                     published ports and connections that containers and virtual machines open \
                     are not judged. Write 'forwarded: published-ports' or 'forwarded: \
                     everything' in its segment or asset document, or 'forwarded: leave-alone' \
                     if this is intended"
                ),
            ),
            Ok(_) => None,
            Err(error) => Some(problem("forwarding-unknown", &error)),
        },
    }
}

/// Whether any of the host's own traffic is denied or tested: only then can operators assume that forwarded
/// traffic is, too.
fn restricts(ruleset: &Ruleset) -> bool {
    let mut stances =
        Direction::BOTH.iter().flat_map(|&direction| ruleset.direction(direction).stances());
    stances.any(|stance| stance.subject != Subject::Nothing || !stance.blocks.is_empty())
}
