//! The result of a run, computed at its end from the results of its parts. Nothing here decides during a run.

use serde::Serialize;

/// The overall status. Each has its own exit code.
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
    /// The platform could not be reached; the last-known-good ruleset is in force if there is one.
    PlatformUnreachable,
    /// The platform refused this host because of its key, its identity or its clock.
    Refused,
    /// The platform sent a ruleset that can't be trusted; the last-known-good one is in force.
    RulesetRefused,
    /// The new ruleset blocked the connection to the platform; the previous one is in force again.
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
pub enum RulesetChange {
    /// Nothing: the wanted ruleset was in force.
    None,
    /// A new ruleset, or the same one with new addresses or ports, was tried and kept.
    Applied,
    /// Others had changed our table; it was repaired.
    Repaired,
    /// A new ruleset was tried and reverted.
    Reverted,
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

/// Why the policy part failed; each with the reason for the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PolicyFailure {
    /// Something on this host failed.
    Failed(String),
    /// A ruleset can't be trusted.
    RulesetRefused(String),
    /// A new ruleset was reverted.
    Reverted(String),
}

impl PolicyFailure {
    pub(crate) fn reason(&self) -> &str {
        let (Self::Failed(reason) | Self::RulesetRefused(reason) | Self::Reverted(reason)) = self;
        reason
    }

    fn status(&self) -> RunStatus {
        match self {
            Self::Failed(_) => RunStatus::Failed,
            Self::RulesetRefused(_) => RunStatus::RulesetRefused,
            Self::Reverted(_) => RunStatus::Reverted,
        }
    }
}

/// Why the first failed request to the platform failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContactFailure {
    /// The platform was not reached, or could not answer at the moment.
    Unreachable,
    /// It refused this host.
    Refused,
    /// Its answer can't be parsed.
    Garbled,
}

/// Which program manages this host's firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// Xshield alone.
    Ours,
    /// Another program does; nothing is changed.
    Foreign(&'static str),
}

/// Another program that manages this host's firewall, so that nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherManager {
    /// The program.
    pub by: &'static str,
    /// What an operator can do about it.
    pub text: String,
}

/// The results of a run's parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartResults<'a> {
    pub(crate) ownership: Ownership,
    pub(crate) policy: Option<&'a PolicyFailure>,
    pub(crate) contact: Option<ContactFailure>,
    /// Why the threat order is not carried out.
    pub(crate) threat: Option<&'a str>,
    /// Whether a ruleset was read back as expected.
    pub(crate) in_force: bool,
}

impl PartResults<'_> {
    /// The status of the run: the most severe of its parts.
    pub(crate) fn status(self) -> RunStatus {
        match self {
            Self { ownership: Ownership::Foreign(_), .. } => RunStatus::Blocked,
            Self { policy: Some(failure), .. } => failure.status(),
            Self { contact: Some(ContactFailure::Unreachable), .. } => {
                RunStatus::PlatformUnreachable
            }
            Self { contact: Some(ContactFailure::Refused), .. } => RunStatus::Refused,
            Self { contact: Some(ContactFailure::Garbled), .. } | Self { threat: Some(_), .. } => {
                RunStatus::Failed
            }
            Self { in_force: true, .. } => RunStatus::Enforcing,
            Self { in_force: false, .. } => RunStatus::NoPolicy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_severe_part_determines_the_status_of_a_run() {
        let well = PartResults {
            ownership: Ownership::Ours,
            policy: None,
            contact: None,
            threat: None,
            in_force: true,
        };
        let (failed, reverted) =
            (PolicyFailure::Failed(String::new()), PolicyFailure::Reverted(String::new()));
        let refused = PolicyFailure::RulesetRefused(String::new());
        let contact = |failure| PartResults { contact: Some(failure), ..well };
        for (results, expected, code) in [
            (well, RunStatus::Enforcing, 0),
            (PartResults { in_force: false, ..well }, RunStatus::NoPolicy, 0),
            (PartResults { threat: Some("no room"), ..well }, RunStatus::Failed, 1),
            (contact(ContactFailure::Unreachable), RunStatus::PlatformUnreachable, 5),
            (contact(ContactFailure::Refused), RunStatus::Refused, 6),
            (contact(ContactFailure::Garbled), RunStatus::Failed, 1),
            (PartResults { policy: Some(&failed), ..well }, RunStatus::Failed, 1),
            (
                PartResults {
                    policy: Some(&refused),
                    threat: Some("behind"),
                    ..contact(ContactFailure::Unreachable)
                },
                RunStatus::RulesetRefused,
                7,
            ),
            (
                PartResults { policy: Some(&reverted), ..contact(ContactFailure::Unreachable) },
                RunStatus::Reverted,
                8,
            ),
            (
                PartResults {
                    ownership: Ownership::Foreign("firewalld"),
                    policy: Some(&failed),
                    ..contact(ContactFailure::Unreachable)
                },
                RunStatus::Blocked,
                4,
            ),
        ] {
            assert_eq!(results.status(), expected, "{results:?}");
            assert_eq!(results.status().exit_code(), code, "{results:?}");
        }
    }
}
