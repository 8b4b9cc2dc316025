//! What a host program remembers from run to run besides rulesets and lists: positions, counters, unreported
//! items. One file, always written as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use xshield_firewall::flows::{Differ, Losses};
use xshield_host::log_line::Cursor;
use xshield_host::resolver::Cache;
use xshield_host::socket_holders::Holders;
use xshield_host::windows_logs::{FilePosition, Position};
use xshield_policy::{AssetId, Revision, Ruleset};
use xshield_wire::control::HostConfiguration;
use xshield_wire::message::{Digest, Problem, Report, UnixSeconds};
use xshield_wire::{RulesetVersion, Verified};

use crate::auditing::Auditing;
use crate::platform_addresses::PlatformAddresses;
use crate::routes::{ProxyListDigest, RouteReport};
use crate::threat::progress::ThreatProgress;
use crate::time_answers::TimeAnswers;

/// State that changes from run to run.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The number of the last check-in.
    pub sequence: u64,
    /// The number of the last check-in that the platform answered.
    pub answered: Option<u64>,
    /// When the platform was last reached.
    pub last_contact: Option<UnixSeconds>,
    /// When a run last ended.
    pub last_run: Option<UnixSeconds>,
    /// The routes to the platform, in the configured order, and which of them the last run used.
    pub routes: Vec<RouteReport>,
    /// The proxies that the last run was configured with.
    pub proxies: Option<ProxyListDigest>,
    /// The problems of the last run.
    pub problems: Vec<Problem>,
    /// Problems that were not reported to the platform yet.
    pub untold: Vec<Problem>,
    /// The position in the flow recorder.
    pub flows: Differ,
    /// The recorder's own count of losses when it was last read, and which recorder that was.
    pub recorder_lost: Losses,
    /// Hit counters of the ruleset in force when they were last reported, by direction and rule.
    pub hits: BTreeMap<String, (u64, u64)>,
    /// Which plan the hit counters belong to.
    pub hits_of: Option<String>,
    /// When the recorder was last read.
    pub last_collected: Option<UnixSeconds>,
    /// The kernel's ruleset generation after the last run, and the boot it belongs to.
    pub generation: Option<(String, u32)>,
    /// The processes that held the sockets.
    pub holders: Holders,
    /// The position in the kernel's log.
    pub log: Option<Cursor>,
    /// The position in Windows' Security log.
    pub security_log: Option<Position>,
    /// The positions in the logs of Windows Firewall, by file.
    pub firewall_logs: BTreeMap<PathBuf, FilePosition>,
    /// What the last run let Windows write to its Security log.
    pub auditing: Auditing,
    /// The last good answers of the resolver, and addresses in their grace period.
    pub answers: Cache,
    /// The same for names of time servers.
    pub time_answers: Cache,
    /// When those were last resolved.
    pub time_asked: Option<TimeAnswers>,
    /// The recent addresses of the platform's name.
    pub whereabouts: PlatformAddresses,
    /// The digest of the listening ports when they were last reported.
    pub ports_digest: Option<Digest>,
    /// The digest of the programmed rules when they were last reported.
    pub programmed_digest: Option<Digest>,
    /// The highest revision that was ever in force here, for versions from before [`Self::newest`].
    pub floor: Revision,
    /// The newest ruleset that was ever in force here.
    pub newest: RulesetVersion,
    /// The label of that ruleset, as it was signed: evidence for a platform that forgot it.
    pub newest_label: Option<String>,
    /// Executed commands, newest last; their number is bounded.
    pub commands_done: Vec<String>,
    /// The platform's configuration for this host.
    pub configuration: Option<HostConfiguration>,
    /// Since when the platform is out of reach.
    pub unreachable_since: Option<UnixSeconds>,
    /// Diagnostics that the platform requested and does not have yet.
    pub diagnostics: Vec<WantedDiagnostics>,
    /// The detailed log that the platform requested.
    pub debug: Option<DebugSession>,
    /// How often the platform has requested a full report.
    pub resends: u64,
    /// The asset to which one-time reports were sent.
    pub told_to: Option<AssetId>,
    /// Until when the platform asked for no further reports.
    pub reports_after: Option<UnixSeconds>,
    /// Losses not yet reported.
    pub lost: u64,
    /// The same for threats.
    pub threat: ThreatProgress,
    /// Reports that are not in the spool yet. Saved together with the positions above, so that a kill neither
    /// loses nor repeats what was counted between two positions.
    pub outbox: Vec<Report>,
}

impl Progress {
    /// The oldest acceptable ruleset.
    #[must_use]
    pub fn ruleset_floor(&self) -> RulesetVersion {
        self.newest.max(self.floor.into())
    }

    /// Reports that are only sent after a change are sent once more.
    pub(crate) fn tell_everything_again(&mut self) {
        self.ports_digest = None;
        self.programmed_digest = None;
        self.resends += 1;
    }

    /// Records that a ruleset is in force.
    pub(crate) fn raise_floor(&mut self, ruleset: &Verified<Ruleset>) {
        let version = ruleset.version();
        if version >= self.newest {
            self.newest = version;
            self.newest_label =
                ruleset.label().map(|label| String::from_utf8_lossy(label).into_owned());
        }
        self.floor = self.floor.max(version.revision);
    }
}

/// A detailed log that the platform requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugSession {
    /// The command's id.
    pub command: String,
    /// When it ends.
    pub until: UnixSeconds,
    /// Number of the next line.
    pub next: u64,
}

/// Diagnostics that the platform requested and does not have yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedDiagnostics {
    /// The command's id.
    pub command: String,
    /// When the command was received.
    pub begun: UnixSeconds,
    /// When the command expires.
    pub expires: Option<UnixSeconds>,
    /// How often the upload was started again.
    pub attempts: u32,
}
