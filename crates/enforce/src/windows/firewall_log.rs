//! What Windows Firewall dropped although the policy allows it, from its own log where that is switched on.

use xshield_host::windows::firewall_log::of_dropped_packets;
use xshield_host::windows_logs::{FirewallLine, follow_file};
use xshield_policy::Bound;

use super::listed::listed;
use crate::allowed_but_dropped::AllowedButDropped;
use crate::core::threat::ThreatPart;
use crate::problems::problem;
use crate::run::Run;

/// The most lines of a file in one run; the next one reads the rest.
const MOST: usize = 100_000;

/// Reports drops of flows that a rule in force allows. `bound`: the ruleset that was in force since the last
/// run.
pub(crate) fn tell_foreign_drops(run: &mut Run<'_>, threat: &ThreatPart, bound: Option<&Bound>) {
    let lines = new_lines(run);
    let Some(bound) = bound else { return };
    let found = AllowedButDropped::of(&lines, bound);
    let listed = listed(threat, run, found.as_blocked(run.now()));
    run.problems.extend(found.without(&listed).problem());
}

/// The lines since the last run. Positions in files that are no longer written are forgotten.
fn new_lines(run: &mut Run<'_>) -> Vec<FirewallLine> {
    let mut before = std::mem::take(&mut run.progress.firewall_logs);
    let mut lines = Vec::new();
    for path in of_dropped_packets() {
        let position = before.remove(&path);
        match follow_file(&path, position.as_ref(), MOST) {
            Ok(batch) => {
                lines.extend(batch.lines);
                run.progress.firewall_logs.insert(path, batch.position);
            }
            // Windows makes it with the first packet that it drops.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                run.problems.push(problem("firewall-log-unread", &error));
                run.progress.firewall_logs.extend(position.map(|position| (path, position)));
            }
        }
    }
    lines
}
