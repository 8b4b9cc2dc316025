//! Reports of matches from the kernel's recorder.

use xshield_firewall::FirewallError;
use xshield_firewall::threat::ListTable;
use xshield_host::log_line::LoggedThreat;
use xshield_policy::Bound;
use xshield_wire::message::ReportBody;
use xshield_wire::threat::ThreatReport;

use super::matches::{self, Context, Flow, Matches};
use crate::core::threat::ThreatPart;
use crate::flow_programs::FlowPrograms;
use crate::os;
use crate::problems::problem;
use crate::reports::Interval;
use crate::run::Run;

/// The most matches in one report; more are split into several reports.
const MATCHES_PER_REPORT: usize = 5_000;

/// Reads what the recorder counted since the last run, under the list and policy that were in
/// force.
pub(crate) fn read_matches(threat: &mut ThreatPart, run: &mut Run<'_>) -> Option<Matches> {
    let now = run.now();
    let Some(current) = &threat.lists.current else {
        // What a first list finds, it finds from now on.
        run.progress.threat.last_collected = Some(now);
        return None;
    };
    let revision = current.name.revision;
    let since = run.progress.threat.last_collected.unwrap_or(now);
    let mut flows = Vec::new();
    let read = |table: &mut dyn ListTable| Ok((table.matches()?, table.losses()?));
    match threat.table().and_then(read) {
        Ok((dump, losses)) => {
            let progress = &mut run.progress.threat;
            let new = progress.flows.advance(&dump, run.environment.uptime_ms());
            flows = matches::recorded(&new, Interval { since, until: now });
            progress.last_collected = Some(now);
            let lost = losses.since(&mut progress.recorder_lost);
            progress.lost += lost;
            if lost > 0 {
                let text = format!(
                    "the recorder of threat matches was full: {lost} packets are not in the events"
                );
                run.note("threat-recorder-full", text);
            }
        }
        // The table is gone, and the next step puts it back.
        Err(FirewallError::NothingInForce { .. }) => {}
        Err(error) => run.problems.push(problem("threat-matches-unread", &error)),
    }
    Some(Matches { revision, flows })
}

/// Makes reports of what matched; `logged`: what a system without a recorder wrote to its
/// log.
pub(crate) fn tell_matches(
    threat: &mut ThreatPart,
    run: &mut Run<'_>,
    matches: Option<Matches>,
    logged: Vec<LoggedThreat>,
    bound: Option<&Bound>,
) {
    let Some(Matches { revision, flows: mut found }) = matches else { return };
    let logged = os::listed(threat, run, logged);
    found.extend(matches::logged(&logged, &run.host.addresses));
    threat.matches += found.len();
    let programs = FlowPrograms::of(run.environment.os.as_ref(), found.iter().map(Flow::place));
    let context = Context { bound, ports: &run.ports, revision };
    let found: Vec<_> = found
        .into_iter()
        .map(|flow| {
            let program = programs.get(&flow.place());
            flow.report(&context, program)
        })
        .collect();
    let mut lost = std::mem::take(&mut run.progress.threat.lost);
    let mut chunks = found.chunks(MATCHES_PER_REPORT).map(<[_]>::to_vec).collect::<Vec<_>>();
    if chunks.is_empty() && lost > 0 {
        chunks.push(Vec::new());
    }
    for matches in chunks {
        let lost = std::mem::take(&mut lost);
        run.put(ReportBody::Threats(ThreatReport { matches, lost }));
    }
}
