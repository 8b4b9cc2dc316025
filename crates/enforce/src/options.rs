//! The options of a run besides the configuration: none for Spark, more for a resident program.

use std::path::PathBuf;
use std::time::Duration;

use xshield_firewall::LiveGroup;
use xshield_transport::Handover;
use xshield_wire::control::{HostConfiguration, Usage};
use xshield_wire::message::Report;

use crate::paths::RecordedPaths;

/// The options of a run. The default is Spark's.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Seconds until the next run if the program schedules it; otherwise `None`.
    pub interval: Option<u32>,
    /// The resources that the program uses.
    pub usage: Option<Usage>,
    /// Reports to be delivered with the run's own. A caller that passes the same report again after a failed
    /// run keeps its batch id, so that it counts once.
    pub reports: Vec<Report>,
    /// Whether the platform is contacted.
    pub contact: PlatformContact,
    /// The time limit for delivering reports; the rest waits for the next run. `None`: no limit.
    pub delivery_timeout: Option<Duration>,
    /// The file for diagnostics that an administrator of this host requested.
    pub archive: Option<PathBuf>,
    /// Whether the run reports the paths in the flow recorder.
    pub paths: RecordedPaths,
    /// The last lines of the program's log, for diagnostics.
    pub recent_log: Vec<String>,
    /// Which log group receives denied packets and matches as they occur.
    pub live: LiveLogging,
    /// Holds an open connection to the platform between runs.
    pub connection: Handover,
}

/// Which log group receives packets as they are denied or match the threat list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LiveLogging {
    /// None: no resident program receives them.
    #[default]
    Off,
    /// The same as before.
    Unchanged,
    /// This log group.
    To(LiveGroup),
}

/// Whether a run contacts the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlatformContact {
    /// It does.
    #[default]
    Allowed,
    /// It does not: the platform was just found unreachable, and the run only concerns this host.
    Skipped,
}

/// The parts of the platform's last answer that do not concern the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerRest {
    /// Seconds until the next check-in, as the platform wants it.
    pub next_check_in: Option<u32>,
    /// The token for the next poll, see [`xshield_wire::control`].
    pub seen: Option<String>,
    /// The platform's configuration for this host, in use from now on.
    pub configuration: Option<HostConfiguration>,
    /// How often it has requested a full report; another number requests one more.
    pub resends: u64,
    /// The key change that this run followed: the configuration has to be read again.
    pub followed: Option<u64>,
}
