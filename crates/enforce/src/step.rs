//! The named steps of a run. In debug builds a run can be killed or stopped at each, so that tests can change
//! the host at that point.

use std::fmt;

use serde::Serialize;

/// A completed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// No other run is in progress.
    Locked,
    /// The kernel's ruleset and counters were read.
    Collected,
    /// Connection tracking was informed of the open connections.
    Introduced,
    /// What others had changed was repaired.
    Repaired,
    /// The platform was asked what is pending.
    CheckedIn,
    /// The wanted ruleset was fetched and verified, if the host did not have it.
    Fetched,
    /// It is bound to this host's facts.
    Resolved,
    /// It is in force on trial.
    Tried,
    /// The platform answered over a new connection.
    Confirmed,
    /// The ruleset is saved.
    Remembered,
    /// It is in force for good.
    Kept,
    /// It was reverted.
    Reverted,
    /// A new threat order was fetched and verified.
    ThreatOrdered,
    /// The files of its list were fetched.
    ThreatFetched,
    /// The list is saved.
    ThreatPrepared,
    /// It is in the kernel.
    ThreatProgrammed,
    /// It is the one that a restart restores.
    ThreatKept,
    /// It was removed from the kernel.
    ThreatRemoved,
    /// The remembered state is saved.
    Saved,
    /// The reports are in the spool.
    Spooled,
    /// The platform has accepted a report.
    Delivered,
    /// Diagnostics are collected.
    CollectedDiagnostics,
    /// The platform has received a chunk of them.
    UploadedPiece,
    /// Their result is saved.
    Diagnosed,
}

impl Step {
    /// All steps.
    pub const ALL: [Self; 24] = [
        Self::Locked,
        Self::Collected,
        Self::Introduced,
        Self::Repaired,
        Self::CheckedIn,
        Self::Fetched,
        Self::Resolved,
        Self::Tried,
        Self::Confirmed,
        Self::Remembered,
        Self::Kept,
        Self::Reverted,
        Self::ThreatOrdered,
        Self::ThreatFetched,
        Self::ThreatPrepared,
        Self::ThreatProgrammed,
        Self::ThreatKept,
        Self::ThreatRemoved,
        Self::Saved,
        Self::Spooled,
        Self::Delivered,
        Self::CollectedDiagnostics,
        Self::UploadedPiece,
        Self::Diagnosed,
    ];

    /// The name used in `XSHIELD_KILL_AT` and `XSHIELD_STOP_AT`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Collected => "collected",
            Self::Introduced => "introduced",
            Self::Repaired => "repaired",
            Self::CheckedIn => "checked-in",
            Self::Fetched => "fetched",
            Self::Resolved => "resolved",
            Self::Tried => "tried",
            Self::Confirmed => "confirmed",
            Self::Remembered => "remembered",
            Self::Kept => "kept",
            Self::Reverted => "reverted",
            Self::ThreatOrdered => "threat-ordered",
            Self::ThreatFetched => "threat-fetched",
            Self::ThreatPrepared => "threat-prepared",
            Self::ThreatProgrammed => "threat-programmed",
            Self::ThreatKept => "threat-kept",
            Self::ThreatRemoved => "threat-removed",
            Self::Saved => "saved",
            Self::Spooled => "spooled",
            Self::Delivered => "delivered",
            Self::CollectedDiagnostics => "collected-diagnostics",
            Self::UploadedPiece => "uploaded-piece",
            Self::Diagnosed => "diagnosed",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_listed_once() {
        let names: std::collections::BTreeSet<_> = Step::ALL.iter().map(|s| s.name()).collect();
        assert_eq!(names.len(), Step::ALL.len());
        for step in Step::ALL {
            assert_eq!(serde_json::to_value(step).unwrap(), step.name());
        }
        // The last variant: a new one after it must also be listed.
        assert_eq!(Step::ALL.len(), Step::Diagnosed as usize + 1);
    }
}
