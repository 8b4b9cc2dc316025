//! The result of a run, for people, programs and the exit code.

use serde::Serialize;
use xshield_firewall::LiveGroup;
use xshield_policy::Revision;
use xshield_threat::ThreatMode;
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::{InForce, Problem};
use xshield_wire::threat::ListName;

pub use crate::core::result::{Contact, RulesetChange, RunStatus, ThreatChange};
use crate::options::AnswerRest;
use crate::routes::RouteReport;
use crate::summary::PolicySummary;

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct RunOutcome {
    /// The overall status.
    pub status: RunStatus,
    /// What is in the kernel, as read back.
    pub in_force: Option<InForce>,
    /// A summary of that ruleset; `None` if nothing is in the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicySummary>,
    /// The revision that the platform wants; `None` if it was not asked or has no policy.
    pub wanted: Option<Revision>,
    /// What was done to the kernel.
    pub change: RulesetChange,
    /// Whether the platform was reached.
    pub platform: Contact,
    /// The routes to the platform, in the configured order.
    pub routes: Vec<RouteReport>,
    /// Flow events found in this run.
    pub events: usize,
    /// Reports delivered in this run.
    pub delivered: usize,
    /// Reports still waiting.
    pub waiting: usize,
    /// The result for the threat list.
    pub threat: ThreatOutcome,
    /// The log group to which denied packets are sent, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveGroup>,
    /// The fingerprint of this host's identity key, by which an operator identifies it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<IdentityFingerprint>,
    /// Addresses that left the rules because their names no longer resolve to them, and since when; one text
    /// each.
    pub left: Vec<String>,
    /// The problems of the run.
    pub problems: Vec<Problem>,
    /// The problems of the run before.
    #[serde(skip)]
    pub problems_before: Vec<Problem>,
    /// The kernel's ruleset generation when the policy was last read back.
    #[serde(skip)]
    pub generation: Option<u32>,
    /// The parts of the platform's answers that do not concern the policy.
    #[serde(skip)]
    pub answer_rest: AnswerRest,
}

/// The result of a run for the threat list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ThreatOutcome {
    /// The list in the kernel.
    pub list: Option<ListName>,
    /// The mode for flows that listed peers open.
    pub inbound: Option<ThreatMode>,
    /// The mode for flows to listed peers.
    pub outbound: Option<ThreatMode>,
    /// What was done to the kernel.
    pub change: ThreatChange,
    /// Flows with listed peers found in this run.
    pub matches: usize,
}

impl RunOutcome {
    /// The result of a run that has done nothing yet.
    #[must_use]
    pub fn new(status: RunStatus) -> Self {
        Self {
            status,
            in_force: None,
            policy: None,
            wanted: None,
            change: RulesetChange::None,
            platform: Contact::NotAsked,
            routes: Vec::new(),
            events: 0,
            delivered: 0,
            waiting: 0,
            threat: ThreatOutcome::default(),
            live: None,
            fingerprint: None,
            left: Vec::new(),
            problems: Vec::new(),
            problems_before: Vec::new(),
            generation: None,
            answer_rest: AnswerRest::default(),
        }
    }

    /// What is worth a line in a log that is kept: not what the run before already said.
    #[must_use]
    pub fn news(&self) -> News {
        let is_new = |problem: &&Problem| !self.problems_before.contains(problem);
        let is_solved = |problem: &&Problem| !self.problems.contains(problem);
        let changed =
            self.change != RulesetChange::None || self.threat.change != ThreatChange::None;
        let news = if self.problems.iter().any(|problem| is_new(&problem)) {
            News::Problem
        } else if changed || self.problems_before.iter().any(|problem| is_solved(&problem)) {
            News::Change
        } else {
            News::None
        };
        match (self.status.exit_code(), news) {
            (0, news) | (_, news @ News::None) => news,
            (_, News::Change | News::Problem | News::Failure) => News::Failure,
        }
    }
}

/// What a run says that the one before did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum News {
    /// Nothing.
    None,
    /// Something was changed, or a problem is solved.
    Change,
    /// There is a new problem, and the wanted ruleset is in force.
    Problem,
    /// The run failed.
    Failure,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_run_before_did_not_say_is_news() {
        let problem = |text: &str| Problem { code: "drift".to_owned(), text: text.to_owned() };
        let (one, two) = ([problem("one")], [problem("one"), problem("two")]);
        for (status, change, before, now, news) in [
            (RunStatus::Enforcing, RulesetChange::None, &[][..], &[][..], News::None),
            (RunStatus::Enforcing, RulesetChange::Applied, &[], &[], News::Change),
            (RunStatus::Enforcing, RulesetChange::None, &one, &one, News::None),
            (RunStatus::Enforcing, RulesetChange::None, &one, &two, News::Problem),
            (RunStatus::Enforcing, RulesetChange::Repaired, &[], &one, News::Problem),
            (RunStatus::Enforcing, RulesetChange::None, &two, &one, News::Change),
            (RunStatus::Failed, RulesetChange::None, &[], &one, News::Failure),
            (RunStatus::Failed, RulesetChange::None, &one, &one, News::None),
            (RunStatus::PlatformUnreachable, RulesetChange::Applied, &one, &one, News::Failure),
        ] {
            let outcome = RunOutcome {
                change,
                problems: now.to_vec(),
                problems_before: before.to_vec(),
                ..RunOutcome::new(status)
            };
            assert_eq!(outcome.news(), news, "{status:?} {change:?} {before:?} {now:?}");
        }
    }
}
