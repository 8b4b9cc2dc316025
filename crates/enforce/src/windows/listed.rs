//! Which flows of the Security log have listed peers.

use xshield_host::log_line::LoggedThreat;
use xshield_threat::ThreatMode;
use xshield_wire::threat::ThreatAction;

use crate::core::threat::ThreatPart;
use crate::problems::problem;
use crate::run::Run;
use crate::threat::listed::retain_listed;
use crate::threat::shell;
use crate::threat::store::Store;

/// The code of the problem that the list can't be read.
const UNREAD: &str = "threat-matches-unread";

/// Keeps the flows with peers in the list in force. A flow that a filter blocked which is not the policy's
/// was blocked by the list, since its sublayer is above those of other products; where the list does not
/// block, each flow with a listed peer is a match.
pub(crate) fn listed(
    threat: &ThreatPart,
    run: &mut Run<'_>,
    mut flows: Vec<LoggedThreat>,
) -> Vec<LoggedThreat> {
    let lists = &threat.lists;
    let (Some(list), Some(posture)) = (&lists.current, &lists.posture) else { return Vec::new() };
    flows.retain(|flow| match posture.mode(flow.direction) {
        ThreatMode::Off => false,
        ThreatMode::EventOnly => true,
        ThreatMode::Block => flow.action == ThreatAction::Blocked,
    });
    for flow in &mut flows {
        if posture.mode(flow.direction) == ThreatMode::EventOnly {
            flow.action = ThreatAction::Recorded;
        }
    }
    if flows.is_empty() {
        return flows;
    }
    let unread = match shell::elements(&Store::new(run.state), list) {
        // With damage in it, peers in the rest of the list are not recognised.
        Ok(entries) => retain_listed(&mut flows, entries).err().map(|e| problem(UNREAD, &e)),
        Err(error) => {
            flows.clear();
            Some(problem(UNREAD, &error))
        }
    };
    run.problems.extend(unread);
    flows
}
