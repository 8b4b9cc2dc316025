//! Reports of what the kernel counted and logged since the last run, and of what it holds now.

use xshield_firewall::flows::Delta;
use xshield_firewall::{Firewall, FirewallError};
use xshield_host::linux::kernel_log::{Moment, Sources};
use xshield_host::log_line::{self, LoggedFlow};
use xshield_policy::{Bound, Direction};
use xshield_wire::message::{EventKind, EventSource, FirewallEvent};

use crate::core::policy::PolicyPart;
use crate::event_reports;
use crate::flow_programs::FlowPrograms;
use crate::paths::{self, RecordedPaths};
use crate::problems::problem;
use crate::reports::{self, Interval};
use crate::run::Run;
use crate::threat::matches::Matches;

/// Unreported counts of the recorders since the last run.
pub(crate) struct Recorded {
    flows: Vec<Delta>,
    /// The counts of the threat list.
    pub(crate) matches: Option<Matches>,
    /// The ruleset that decided about the flows.
    bound: Option<Bound>,
    interval: Interval,
}

/// The part of it that the threat part reports.
pub(crate) struct RecordedMatches {
    pub(crate) matches: Option<Matches>,
    pub(crate) logged: Vec<log_line::LoggedThreat>,
    pub(crate) bound: Option<Bound>,
}

/// Reads what the recorder counted since the last run, under the ruleset that decided. It is not read again,
/// so it must be [reported](tell_flows) whatever happens next.
pub(crate) fn read_flows(
    run: &mut Run<'_>,
    firewall: &mut Firewall,
    policy: &PolicyPart,
) -> Result<Recorded, FirewallError> {
    let dump = firewall.flows()?;
    let now = run.now();
    let since = run.progress.last_collected.replace(now).unwrap_or(now);
    let flows = run.progress.flows.advance(&dump, run.environment.uptime_ms());
    let interval = Interval { since, until: now };
    Ok(Recorded { flows, matches: None, bound: policy.bound(), interval })
}

/// Reports what was recorded and what the kernel logged; returns the number of events. This comes after
/// enforcement, since reading the log can take long (journald is read through its program). `lost`: what the
/// spool had to drop.
pub(crate) fn tell_flows(
    run: &mut Run<'_>,
    recorded: Recorded,
    policy: &PolicyPart,
    firewall: &Firewall,
    lost: u64,
) -> (usize, RecordedMatches) {
    let Recorded { flows, matches, bound, interval } = recorded;
    let has_recorder = firewall.capabilities().recorder;
    let mut events = reports::flow_events(&flows, bound.as_ref(), interval);
    if let Some(bound) = bound.as_ref().filter(|bound| reports::has_program_rules(bound)) {
        let opened = events.iter().filter(|event| event.direction == Direction::Outbound);
        let programs = FlowPrograms::of(run.environment.os.as_ref(), opened.map(reports::place));
        reports::name_programs(&mut events, bound, &programs);
    }
    if run.options.paths == RecordedPaths::Told {
        paths::reports(run.environment.os.as_ref(), &events, interval)
            .into_iter()
            .for_each(|body| run.put(body));
    }
    let denials = events.iter().any(|event| event.kind != EventKind::Accepted);
    let mut logged = Vec::new();
    if denials || !has_recorder {
        let flows = logged_flows(run, interval);
        let logged_events = flows.iter().filter_map(|flow| flow.event(EventSource::KernelLog));
        events.extend(own_events(run, logged_events.collect(), bound.as_ref(), policy, interval));
        if !has_recorder {
            logged.extend(flows.iter().filter_map(LoggedFlow::threat));
        }
    }
    event_reports::report(run, &events, lost);
    (events.len(), RecordedMatches { matches, logged, bound })
}

/// Log lines since the last run. In addition to the recorder's exact counts, they are what operators see in
/// other tools.
fn logged_flows(run: &mut Run<'_>, interval: Interval) -> Vec<LoggedFlow> {
    let moment = Moment {
        now: interval.until,
        uptime: run.environment.uptime_ms() / 1000,
        boot_id: &run.host.boot_id,
    };
    match Sources::default().read(run.progress.log.as_ref(), moment) {
        Ok(Some(batch)) => {
            run.progress.lost += batch.lost;
            run.progress.log = Some(batch.cursor);
            log_line::flows(batch.lines, interval.until)
        }
        Ok(None) => Vec::new(),
        Err(error) => {
            run.problems.push(problem("kernel-log", &error));
            Vec::new()
        }
    }
}

/// The log lines of this host, with the rules that decided: the rules of `before` until the end of
/// `interval`, those in force now after it. The kernel has one log for all network namespaces.
fn own_events(
    run: &Run<'_>,
    mut events: Vec<FirewallEvent>,
    before: Option<&Bound>,
    policy: &PolicyPart,
    interval: Interval,
) -> Vec<FirewallEvent> {
    events.retain(|event| reports::is_about(event, &run.host.addresses));
    let is_late = |event: &FirewallEvent| event.last_seen > interval.until;
    let (mut late, mut events): (Vec<_>, Vec<_>) = events.into_iter().partition(is_late);
    reports::name_rules(&mut events, before);
    if !late.is_empty() {
        reports::name_rules(&mut late, policy.bound().as_ref());
    }
    events.extend(late);
    events
}
