//! What a run came to, for people, programs and the exit code.

use serde::Serialize;
use xshield_firewall::LiveGroup;
use xshield_policy::Revision;
use xshield_threat::ThreatMode;
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::{InForce, Problem};
use xshield_wire::threat::ListName;

pub use crate::core::result::{Change, Contact, RunStatus};
use crate::options::Heard;
use crate::routes::RouteReport;
use crate::summary::PolicyInShort;

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// In one word.
    pub status: RunStatus,
    /// What is in the kernel now, as read back.
    pub in_force: Option<InForce>,
    /// What that does; `None` when nothing is in the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyInShort>,
    /// What the platform wants; `None` when it was not asked or has no policy.
    pub wanted: Option<Revision>,
    /// What was done to the kernel.
    pub change: Change,
    /// Whether the platform was reached.
    pub platform: Contact,
    /// The ways to the platform, in the configured order.
    pub routes: Vec<RouteReport>,
    /// Flow events found in this run.
    pub events: usize,
    /// Reports delivered in this run.
    pub delivered: usize,
    /// Reports still waiting.
    pub waiting: usize,
    /// What became of the threat list.
    pub threat: ThreatOutcome,
    /// The log group that denied packets are handed to, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveGroup>,
    /// Of this host's identity key, by which an operator knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<IdentityFingerprint>,
    /// Addresses that left the rules because their names no longer have them, and since when; one text
    /// each.
    pub left: Vec<String>,
    /// What an operator should know.
    pub problems: Vec<Problem>,
    /// The kernel's ruleset generation when the policy was last read back.
    #[serde(skip)]
    pub generation: Option<u32>,
    /// What the platform said besides the policy.
    #[serde(skip)]
    pub heard: Heard,
}

/// What became of the threat list in a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ThreatOutcome {
    /// The list in the kernel.
    pub list: Option<ListName>,
    /// What becomes of flows that listed peers open.
    pub inbound: Option<ThreatMode>,
    /// What becomes of flows to listed peers.
    pub outbound: Option<ThreatMode>,
    /// What was done to the kernel.
    pub change: ThreatChange,
    /// Flows with listed peers found in this run.
    pub matches: usize,
}

/// What was done about the threat list in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThreatChange {
    /// Nothing: what is wanted was there.
    #[default]
    None,
    /// A whole list was loaded.
    Loaded,
    /// The list was changed in one transaction.
    Changed,
    /// What is done about it was changed; the list stayed.
    Posture,
    /// It was not as it was left, and was put right.
    Repaired,
    /// It was taken out.
    Removed,
}

impl Outcome {
    /// A run that has done nothing yet.
    #[must_use]
    pub fn new(status: RunStatus) -> Self {
        Self {
            status,
            in_force: None,
            policy: None,
            wanted: None,
            change: Change::None,
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
            heard: Heard::default(),
        }
    }
}
