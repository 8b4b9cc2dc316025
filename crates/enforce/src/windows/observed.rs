//! What the host recorded since the last run: nothing yet. Denied packets are in the Security log, which is
//! not read yet.

use xshield_firewall::FirewallError;
use xshield_host::log_line::LoggedThreat;
use xshield_policy::Bound;

use super::Firewall;
use crate::core::policy::PolicyPart;
use crate::run::Run;
use crate::threat::matches::Matches;

/// What was recorded since the last run, not yet reported.
pub(crate) struct Recorded {
    /// That of the threat list.
    pub(crate) matches: Option<Matches>,
}

/// What is left for the threat part to report.
pub(crate) struct RecordedMatches {
    pub(crate) matches: Option<Matches>,
    pub(crate) logged: Vec<LoggedThreat>,
    pub(crate) bound: Option<Bound>,
}

/// Reads what was recorded since the last run.
pub(crate) fn read_flows(
    run: &mut Run<'_>,
    _: &mut Firewall,
    _: &PolicyPart,
) -> Result<Recorded, FirewallError> {
    run.progress.last_collected = Some(run.now());
    Ok(Recorded { matches: None })
}

/// Reports what was recorded. `lost`: what the spool had to drop. Returns the number of events.
pub(crate) fn tell_flows(
    run: &mut Run<'_>,
    recorded: Recorded,
    _: &PolicyPart,
    _: &Firewall,
    lost: u64,
) -> (usize, RecordedMatches) {
    run.progress.lost += lost;
    (0, RecordedMatches { matches: recorded.matches, logged: Vec::new(), bound: None })
}
