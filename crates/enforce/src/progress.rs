//! What a host program remembers from run to run, besides rulesets and lists: positions, counters, what is
//! still to be told. One file, written whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xshield_firewall::flows::{Differ, Losses};
use xshield_host::log_line::Cursor;
use xshield_host::resolver::Cache;
use xshield_host::socket_holders::Holders;
use xshield_policy::{AssetId, Revision, Ruleset};
use xshield_wire::control::HostConfiguration;
use xshield_wire::message::{Digest, Problem, Report, UnixSeconds};
use xshield_wire::{RulesetVersion, Verified};

use crate::platform_addresses::PlatformAddresses;
use crate::routes::{ProxiesMark, RouteReport};
use crate::threat::progress::ThreatProgress;
use crate::time_answers::TimeAnswers;

/// What changes from run to run.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The last check-in's number.
    pub sequence: u64,
    /// The number of the last one that the platform answered.
    pub answered: Option<u64>,
    /// When the platform was last reached.
    pub last_contact: Option<UnixSeconds>,
    /// When a run last ended.
    pub last_run: Option<UnixSeconds>,
    /// The ways to the platform, in the configured order, and which of them the last run used.
    pub routes: Vec<RouteReport>,
    /// The proxies that the last run was configured with.
    pub proxies: Option<ProxiesMark>,
    /// What the last run found wrong.
    pub problems: Vec<Problem>,
    /// Problems that the platform has not heard of yet.
    pub untold: Vec<Problem>,
    /// Where the flow recorder was last read.
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
    /// Which process held which socket.
    pub holders: Holders,
    /// Where the kernel's log was last read.
    pub log: Option<Cursor>,
    /// The last good answers of the resolver, and addresses in their grace.
    pub answers: Cache,
    /// The same for names of time servers.
    pub time_answers: Cache,
    /// When those were last asked for.
    pub time_asked: Option<TimeAnswers>,
    /// Where the platform's name led lately.
    pub whereabouts: PlatformAddresses,
    /// What the listening ports were when they were last reported.
    pub ports_digest: Option<Digest>,
    /// What the programmed rules were when they were last reported.
    pub programmed_digest: Option<Digest>,
    /// The highest revision that was ever in force here; what programs from before [`Self::newest`]
    /// read and write.
    pub floor: Revision,
    /// The newest ruleset that was ever in force here.
    pub newest: RulesetVersion,
    /// The label of that ruleset, as it was signed: evidence for a platform that forgot it.
    pub newest_label: Option<String>,
    /// Commands already carried out, newest last, bounded.
    pub commands_done: Vec<String>,
    /// The platform's configuration for this host.
    pub configuration: Option<HostConfiguration>,
    /// Since when the platform is out of reach.
    pub unreachable_since: Option<UnixSeconds>,
    /// Diagnostics that the platform wants and does not have yet.
    pub diagnostics: Vec<WantedDiagnostics>,
    /// The detailed log that the platform wants.
    pub debug: Option<DebugSession>,
    /// How often the platform wanted everything again.
    pub resends: u64,
    /// The asset that was told what is told once.
    pub told_to: Option<AssetId>,
    /// The platform has enough reports of this host until then.
    pub reports_after: Option<UnixSeconds>,
    /// Losses not yet reported.
    pub lost: u64,
    /// The same about threats.
    pub threat: ThreatProgress,
    /// Reports that are not in the spool yet. Written together with the positions above, so that a
    /// kill neither loses nor repeats what lies between two positions.
    pub outbox: Vec<Report>,
}

impl Progress {
    /// No ruleset older than this one is taken.
    #[must_use]
    pub fn ruleset_floor(&self) -> RulesetVersion {
        self.newest.max(self.floor.into())
    }

    /// What is told only when it changes is told once more.
    pub(crate) fn tell_everything_again(&mut self) {
        self.ports_digest = None;
        self.programmed_digest = None;
        self.resends += 1;
    }

    /// A ruleset is in force.
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

/// A detailed log that the platform wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugSession {
    /// The command's id.
    pub command: String,
    /// It ends then by itself.
    pub until: UnixSeconds,
    /// Number of the next line.
    pub next: u64,
}

/// Diagnostics that the platform wants and does not have yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedDiagnostics {
    /// The command's id.
    pub command: String,
    /// When it was heard.
    pub begun: UnixSeconds,
    /// When nobody wants it any more.
    pub expires: Option<UnixSeconds>,
    /// How often the upload was begun anew.
    pub attempts: u32,
}
