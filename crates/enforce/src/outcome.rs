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
            generation: None,
            answer_rest: AnswerRest::default(),
        }
    }
}
