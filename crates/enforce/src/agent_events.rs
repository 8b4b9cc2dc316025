//! Events in which a resident program reports what happened in a run. They are saved together with the
//! positions, so that each is reported once even if the program is killed.

use xshield_host::spool::Losses;
use xshield_transport::Route;
use xshield_wire::message::{InForce, ProgramKind, ReportBody, UnixSeconds};
use xshield_wire::telemetry::{AgentEvent, AgentEventKind};

use crate::core::result::{Contact, RulesetChange};
use crate::outcome::ThreatChange;
use crate::routes::RouteReport;
use crate::run::Run;

/// The state at the beginning of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Before {
    /// The ruleset in force.
    pub(crate) in_force: Option<InForce>,
    /// The route in use.
    pub(crate) route: Option<Route>,
    /// The version of the platform's configuration.
    pub(crate) configuration: Option<u64>,
}

/// The most addresses named in one event; the others are counted.
const NAMED: usize = 10;

/// The first `NAMED` texts, and the number of the others.
fn in_short(texts: &[String]) -> String {
    let named = texts.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match texts.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

/// The results of a run that become events.
pub(crate) struct RunFindings<'a> {
    pub(crate) before: &'a Before,
    pub(crate) contact: Contact,
    pub(crate) in_force: Option<InForce>,
    pub(crate) change: RulesetChange,
    pub(crate) threat: ThreatChange,
    /// The current state of the routes to the platform.
    pub(crate) routes: &'a [RouteReport],
    pub(crate) spool_losses: Losses,
}

/// Remembers since when the platform is unreachable; returns that time once it is reached again.
fn note_reachability(run: &mut Run<'_>, contact: Contact) -> Option<UnixSeconds> {
    let now = run.now();
    match contact {
        Contact::Reached => run.progress.unreachable_since.take(),
        Contact::Unreachable => {
            run.progress.unreachable_since.get_or_insert(now);
            None
        }
        Contact::NotAsked => None,
    }
}

/// Adds the events of this run to its reports.
pub(crate) fn report(run: &mut Run<'_>, findings: &RunFindings<'_>) {
    let unreachable_since = note_reachability(run, findings.contact);
    if run.program.kind != ProgramKind::Agent {
        return;
    }
    let RunFindings { before, routes, .. } = findings;
    let mut events = policy_events(run, findings);
    let now = run.now();
    let mut report = |kind, text: String, seconds| {
        events.push(AgentEvent { at: now, kind, text, revision: None, seconds });
    };
    let used = routes.iter().find(|report| report.in_use).map(|report| &report.route);
    if let Some(since) = unreachable_since {
        let seconds = now.saturating_sub(since);
        let by = used.map_or_else(String::new, |route| format!(", by {route}"));
        let text = format!("the platform is reachable again after {seconds} s{by}");
        report(AgentEventKind::ReachableAgain, text, Some(seconds));
    }
    if let (Some(used), Some(before)) = (used, &before.route)
        && used != before
    {
        let text = format!("the route to the platform is now {used}; it was {before}");
        report(AgentEventKind::RouteChanged, text, None);
    }
    let configuration = run.progress.configuration.as_ref().map(|set| set.version);
    if let Some(version) = configuration
        && before.configuration != configuration
    {
        let text = format!("the platform's configuration {version} is in use");
        report(AgentEventKind::ConfigurationChanged, text, None);
    }
    if !run.left.is_empty() {
        report(AgentEventKind::AddressesLeft, in_short(&run.left), None);
    }
    let losses = findings.spool_losses;
    if losses.records > 0 {
        let text = format!(
            "{} waiting reports with {} flows were discarded: damaged, or the spool was full",
            losses.records, losses.items
        );
        report(AgentEventKind::SpoolDamaged, text, None);
    }
    if !events.is_empty() {
        run.put(ReportBody::Agent { events });
    }
}

fn policy_events(run: &Run<'_>, findings: &RunFindings<'_>) -> Vec<AgentEvent> {
    let mut events = Vec::new();
    let at = run.now();
    let revision = findings.in_force.map(|in_force| in_force.revision);
    let mut report = |kind, text: String| {
        events.push(AgentEvent { at, kind, text, revision, seconds: None });
    };
    let found = |code: &str| run.problems.iter().find(|problem| problem.code == code);
    if let Some(drift) = found("drift") {
        report(AgentEventKind::Tampered, drift.text.clone());
        if findings.change == RulesetChange::Repaired || findings.threat == ThreatChange::Repaired {
            report(AgentEventKind::Repaired, "the programmed rules are in force again".to_owned());
        }
    }
    match (findings.change, revision) {
        (RulesetChange::Reverted, _) => {
            let text = found("ruleset-reverted").map(|problem| problem.text.clone());
            report(AgentEventKind::PolicyReverted, text.unwrap_or_default());
        }
        (_, Some(revision)) if findings.in_force != findings.before.in_force => {
            report(AgentEventKind::PolicyApplied, format!("revision {revision} is in force"));
        }
        _ => {}
    }
    events
}
