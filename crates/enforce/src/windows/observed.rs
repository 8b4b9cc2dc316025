//! What Windows wrote to its Security log since the last run, as reports.

use xshield_firewall::FirewallError;
use xshield_firewall::wfp::attribution::FilterNumbers;
use xshield_host::log_line::LoggedThreat;
use xshield_host::windows::paths::drives;
use xshield_host::windows::security_log::{SecurityLogError, ThisSecurityLog};
use xshield_host::windows_logs::{Gap, OwnAddresses, follow};
use xshield_policy::Bound;
use xshield_wire::telemetry::PathSource;

use super::Firewall;
use crate::core::policy::PolicyPart;
use crate::paths::RecordedPaths;
use crate::problems::problem;
use crate::reports::Interval;
use crate::run::Run;
use crate::security_events::FlowTally;
use crate::threat::matches::Matches;
use crate::{event_reports, paths, programmed_report};

/// Events that are read at a time.
const AT_A_TIME: usize = 4_096;
/// The most events of one run; the next one reads the rest.
const MOST: usize = 262_144;

/// What was recorded since the last run, not yet reported.
pub(crate) struct Recorded {
    /// That of the threat list.
    pub(crate) matches: Option<Matches>,
    /// The ruleset that decided about the flows.
    bound: Option<Bound>,
    interval: Interval,
}

/// What is left for the threat part to report.
pub(crate) struct RecordedMatches {
    pub(crate) matches: Option<Matches>,
    pub(crate) logged: Vec<LoggedThreat>,
    pub(crate) bound: Option<Bound>,
}

/// The interval of this run. The log itself is read after enforcement: it takes time, and nothing in it is
/// lost meanwhile.
pub(crate) fn read_flows(
    run: &mut Run<'_>,
    _: &mut Firewall,
    policy: &PolicyPart,
) -> Result<Recorded, FirewallError> {
    let now = run.now();
    let since = run.progress.last_collected.replace(now).unwrap_or(now);
    let interval = Interval { since, until: now };
    Ok(Recorded { matches: None, bound: policy.bound(), interval })
}

/// Reports the events since the last run, with the rules whose filters decided. `lost`: what the spool had to
/// drop. Returns the number of different flows.
pub(crate) fn tell_flows(
    run: &mut Run<'_>,
    recorded: Recorded,
    policy: &PolicyPart,
    firewall: &Firewall,
    lost: u64,
) -> (usize, RecordedMatches) {
    let Recorded { matches, bound, interval } = recorded;
    let numbers = firewall.numbers();
    if numbers.has_changed()
        && let Err(error) = run.state.save_filter_numbers(numbers)
    {
        run.problems.push(problem("filters-unsaved", &error));
    }
    let mut tally = FlowTally::default();
    if let Err(error) = read_log(run, &mut tally, numbers) {
        run.problems.push(problem("security-log", &error));
    }
    let events = tally.events();
    if run.options.paths == RecordedPaths::Told {
        let drives = drives();
        let paths = tally.paths(|device_path| drives.dos_path(device_path));
        paths::in_reports(&paths, interval, PathSource::SecurityLog)
            .into_iter()
            .for_each(|body| run.put(body));
    }
    programmed_report::report_hits(run, policy, tally.hits());
    if tally.unplaced > 0 {
        let text = format!(
            "{} events of the Security log name no address of this host, so they are not reported",
            tally.unplaced
        );
        run.note("security-log-unplaced", text);
    }
    event_reports::report(run, &events, lost + tally.lost);
    let logged = if matches.is_some() { tally.with_peers() } else { Vec::new() };
    (events.len(), RecordedMatches { matches, logged, bound })
}

/// Counts the events since the last run. What was counted before an error counts.
fn read_log(
    run: &mut Run<'_>,
    tally: &mut FlowTally,
    numbers: &FilterNumbers,
) -> Result<(), SecurityLogError> {
    let own: OwnAddresses = run.host.addresses.iter().copied().collect();
    let mut unreadable = 0;
    for _ in 0..MOST / AT_A_TIME {
        let position = run.progress.security_log.as_ref();
        let batch = follow(&mut ThisSecurityLog, &own, position, AT_A_TIME)?;
        let now = run.now();
        batch.events.iter().for_each(|event| tally.add(event, numbers, now));
        unreadable += batch.unreadable;
        run.progress.security_log = Some(batch.position);
        match batch.gap {
            Gap::None => {}
            Gap::Overwritten(records) => {
                let text = format!(
                    "{records} records of the Security log were overwritten before they were read, flows \
                     among them are not reported: give the log more room (wevtutil sl Security /ms:BYTES), \
                     or run Spark more often"
                );
                run.note("security-log-overwritten", text);
            }
            Gap::Cleared => {
                let text = "the Security log was cleared since the last run: flows before that are not \
                            reported; event 1102 says who cleared it";
                run.note("security-log-cleared", text.to_owned());
            }
        }
        if batch.is_complete {
            break;
        }
    }
    if unreadable > 0 {
        let text = format!("{unreadable} events of the Security log could not be parsed");
        run.note("security-log-unreadable", text);
    }
    Ok(())
}
