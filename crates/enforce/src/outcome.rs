//! What a run came to, for people, programs and the exit code.

use serde::Serialize;
use xshield_firewall::LiveGroup;
use xshield_policy::Revision;
use xshield_threat::ThreatMode;
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::{InForce, Problem};
use xshield_wire::threat::ListName;

use crate::closing::PolicyInShort;
use crate::errand::Heard;
use crate::routes::RouteReport;

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

/// In one word. Each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// The wanted ruleset is in force.
    Enforcing,
    /// The platform has no policy for this host yet; nothing is enforced.
    NoPolicy,
    /// Another run holds the lock; nothing was done.
    AnotherRun,
    /// firewalld is installed or enabled; nothing was changed, nothing is enforced.
    Blocked,
    /// The platform could not be reached; the last-known-good ruleset is in force, if there is one.
    PlatformUnreachable,
    /// The platform refused this host: its key, its identity or its clock.
    Refused,
    /// A ruleset came that can't be trusted; the last-known-good one is in force.
    RulesetRefused,
    /// The new ruleset cut the platform off; the previous one is back.
    Reverted,
    /// Something failed; see the problems.
    Failed,
}

impl RunStatus {
    /// The program's exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Enforcing | Self::NoPolicy | Self::AnotherRun => 0,
            Self::Failed => 1,
            // 2 is clap's, for a wrong command line; 3 is a preflight failure.
            Self::Blocked => 4,
            Self::PlatformUnreachable => 5,
            Self::Refused => 6,
            Self::RulesetRefused => 7,
            Self::Reverted => 8,
        }
    }
}

/// What was done to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Nothing: what is wanted was there.
    None,
    /// A new ruleset, or the same one with new addresses or ports, was tried and kept.
    Applied,
    /// Someone else had changed our table; it was put right.
    Repaired,
    /// A new ruleset was tried and taken back.
    Reverted,
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

/// Whether the platform was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contact {
    /// It answered.
    Reached,
    /// It did not.
    Unreachable,
    /// It was not asked.
    NotAsked,
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

    /// Leaves out what was told before: each attempt of a run is refused in the same words, and what
    /// fails for that reason names it behind its own.
    pub(crate) fn tell_once(&mut self) {
        self.problems = once(std::mem::take(&mut self.problems));
    }
}

/// Each cause with the first problem that names it.
pub(crate) fn once(problems: impl IntoIterator<Item = Problem>) -> Vec<Problem> {
    let mut told: Vec<Problem> = Vec::new();
    for problem in problems {
        if !told.iter().any(|before| is_of_one_cause(&before.text, &problem.text)) {
            told.push(problem);
        }
    }
    told
}

/// Whether two texts are the same, or one is the other with what failed by it in front.
fn is_of_one_cause(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    long.strip_suffix(short).is_some_and(|front| front.is_empty() || front.ends_with(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let refused = "the platform refused a session: the key is revoked";
        let behind =
            "fetching the threat list failed: the platform refused a session: the key is revoked";
        for (found, told) in [
            (&[("platform-refused", refused)][..], &["platform-refused"][..]),
            (
                &[("platform-refused", refused), ("report-undelivered", refused)],
                &["platform-refused"],
            ),
            (&[("platform-refused", refused), ("threat-failed", behind)], &["platform-refused"]),
            (&[("threat-failed", behind), ("platform-refused", refused)], &["threat-failed"]),
            (
                &[("spool", "could not write a"), ("spool", "could not write b")],
                &["spool", "spool"],
            ),
            (&[("a", "full"), ("b", "the disk is full")], &["a", "b"]),
        ] {
            let mut outcome = Outcome::new(RunStatus::Failed);
            let problem = |(code, text): &(&str, &str)| Problem {
                code: (*code).to_owned(),
                text: (*text).to_owned(),
            };
            outcome.problems = found.iter().map(problem).collect();
            outcome.tell_once();
            let codes: Vec<&str> = outcome.problems.iter().map(|one| one.code.as_str()).collect();
            assert_eq!(codes, told, "{found:?}");
        }
    }
}
