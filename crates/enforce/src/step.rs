//! The named steps of a run. In debug builds a run can be killed or stopped at each, so that tests can
//! change the world there.

use std::fmt;

use serde::Serialize;

/// A step that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// No other run is under way.
    Locked,
    /// What the kernel holds and counted was read.
    Collected,
    /// Connection tracking was told of the connections that are open.
    Introduced,
    /// What others had changed was put back.
    Repaired,
    /// The platform was asked what is pending.
    CheckedIn,
    /// The wanted ruleset is here and verified, where it is another one.
    Fetched,
    /// It is bound to this host's facts.
    Resolved,
    /// It is in the kernel for a time.
    Tried,
    /// The platform was asked over a new connection.
    Confirmed,
    /// The ruleset is written down.
    Remembered,
    /// It is in the kernel for good.
    Kept,
    /// It was taken back.
    Reverted,
    /// A new threat order is here and verified.
    ThreatOrdered,
    /// The files of its list are here.
    ThreatFetched,
    /// The list is written down.
    ThreatPrepared,
    /// It is in the kernel.
    ThreatProgrammed,
    /// It is the one to be restored.
    ThreatKept,
    /// It was taken out of the kernel.
    ThreatRemoved,
    /// What runs remember is written down.
    Saved,
    /// The reports are in the spool.
    Spooled,
    /// The platform has taken a report.
    Delivered,
    /// Diagnostics are collected.
    CollectedDiagnostics,
    /// The platform has a piece of them.
    UploadedPiece,
    /// What became of them is written down.
    Diagnosed,
}

impl Step {
    /// All of them.
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

    /// As `XSHIELD_KILL_AT` and `XSHIELD_STOP_AT` name it.
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
    fn every_step_is_listed_once_by_its_name() {
        let names: std::collections::BTreeSet<_> = Step::ALL.iter().map(|s| s.name()).collect();
        assert_eq!(names.len(), Step::ALL.len());
        for step in Step::ALL {
            assert_eq!(serde_json::to_value(step).unwrap(), step.name());
        }
        // The last variant: a new one after it must be listed, too.
        assert_eq!(Step::ALL.len(), Step::Diagnosed as usize + 1);
    }
}
