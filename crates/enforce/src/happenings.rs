//! What a resident program went through in a run, as events for the platform. They are written down
//! together with the positions: each is told once, whatever is killed when.

use xshield_transport::Route;
use xshield_wire::message::{InForce, ProgramKind, ReportBody, UnixSeconds};
use xshield_wire::telemetry::{AgentEvent, AgentEventKind};

use crate::cycle::Run;
use crate::outcome::{Change, Contact, ThreatChange};
use crate::routes::RouteReport;

/// How things were when the run began.
#[derive(Debug, Clone, Default)]
pub(crate) struct Before {
    /// The ruleset in force.
    pub(crate) in_force: Option<InForce>,
    /// The route in use.
    pub(crate) route: Option<Route>,
    /// The version of the platform's configuration.
    pub(crate) configuration: Option<u64>,
}

/// Addresses that are named in one event; the rest is counted.
const NAMED: usize = 10;

/// The first of many texts, and how many more there are.
fn in_short(texts: &[String]) -> String {
    let named = texts.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match texts.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

impl Run<'_> {
    /// Remembers since when the platform is out of reach.
    pub(crate) fn note_reachability(&mut self) -> Option<UnixSeconds> {
        match self.outcome.platform {
            Contact::Reached => self.progress.unreachable_since.take(),
            Contact::Unreachable => {
                let now = self.cycle.surroundings.now();
                self.progress.unreachable_since.get_or_insert(now);
                None
            }
            Contact::NotAsked => None,
        }
    }

    /// Puts what happened in this run beside its reports.
    pub(crate) fn tell_what_happened(&mut self, routes: &[RouteReport]) {
        let unreachable_since = self.note_reachability();
        if self.cycle.program.kind != ProgramKind::Agent {
            return;
        }
        let mut events = Vec::new();
        self.policy_events(&mut events);
        let now = self.cycle.surroundings.now();
        let mut tell = |kind, text: String, seconds| {
            events.push(AgentEvent { at: now, kind, text, revision: None, seconds });
        };
        let used = routes.iter().find(|report| report.in_use).map(|report| &report.route);
        if let Some(since) = unreachable_since {
            let seconds = now.saturating_sub(since);
            let by = used.map_or_else(String::new, |route| format!(", by {route}"));
            let text = format!("the platform is reached again after {seconds} s{by}");
            tell(AgentEventKind::ReachableAgain, text, Some(seconds));
        }
        if let (Some(used), Some(before)) = (used, &self.before.route)
            && used != before
        {
            let text = format!("the platform is reached by {used}, before by {before}");
            tell(AgentEventKind::RouteChanged, text, None);
        }
        let configuration = self.progress.configuration.as_ref().map(|set| set.version);
        if let Some(version) = configuration
            && self.before.configuration != configuration
        {
            let text = format!("the platform's configuration {version} is in use");
            tell(AgentEventKind::ConfigurationChanged, text, None);
        }
        if !self.outcome.left.is_empty() {
            tell(AgentEventKind::AddressesLeft, in_short(&self.outcome.left), None);
        }
        if self.spool_losses.records > 0 {
            let text = format!(
                "{} waiting reports with {} flows were given up: damaged, or no room was left",
                self.spool_losses.records, self.spool_losses.items
            );
            tell(AgentEventKind::SpoolDamaged, text, None);
        }
        if !events.is_empty() {
            self.put(ReportBody::Agent { events });
        }
    }

    fn policy_events(&self, events: &mut Vec<AgentEvent>) {
        let at = self.cycle.surroundings.now();
        let revision = self.outcome.in_force.map(|in_force| in_force.revision);
        let mut tell = |kind, text: String| {
            events.push(AgentEvent { at, kind, text, revision, seconds: None });
        };
        if let Some(drift) = self.outcome.problems.iter().find(|problem| problem.code == "drift") {
            tell(AgentEventKind::Tampered, drift.text.clone());
            let threat = self.outcome.threat.change;
            if self.outcome.change == Change::Repaired || threat == ThreatChange::Repaired {
                tell(AgentEventKind::Repaired, "what was programmed is back in force".to_owned());
            }
        }
        match (self.outcome.change, revision) {
            (Change::Reverted, _) => {
                let found = self.outcome.problems.iter().find(|p| p.code == "ruleset-reverted");
                let text = found.map(|problem| problem.text.clone()).unwrap_or_default();
                tell(AgentEventKind::PolicyReverted, text);
            }
            (_, Some(revision)) if self.outcome.in_force != self.before.in_force => {
                tell(AgentEventKind::PolicyApplied, format!("revision {revision} is in force"));
            }
            _ => {}
        }
    }
}
