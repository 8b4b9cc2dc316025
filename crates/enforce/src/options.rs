//! What a run is sent with, besides the configuration: nothing for Spark, more for a resident program.

use std::path::PathBuf;
use std::time::Duration;

use xshield_firewall::LiveGroup;
use xshield_transport::Handover;
use xshield_wire::control::{HostConfiguration, Usage};
use xshield_wire::message::Report;

use crate::paths::RecordedPaths;

/// What a run is sent with. The default is Spark's.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Seconds until the next run, as the program means to keep it; `None` when something else decides.
    pub interval: Option<u32>,
    /// What the program uses of the host.
    pub usage: Option<Usage>,
    /// To be delivered with what the run finds. Whoever sends the same report again after a failed run
    /// keeps its batch id: then it counts once.
    pub reports: Vec<Report>,
    /// Whether the platform is asked.
    pub contact: Contacting,
    /// For how long reports are delivered; what is left waits for the next run. `None`: until nothing
    /// is left.
    pub patience: Option<Duration>,
    /// Where diagnostics are to be put on this host, when someone here asks for them.
    pub archive: Option<PathBuf>,
    /// Whether the run tells the paths that the flow recorder knows.
    pub paths: RecordedPaths,
    /// The program's last lines of log, for diagnostics.
    pub recent_log: Vec<String>,
    /// Who is told of denied packets and matches as they come.
    pub live: Handing,
    /// Where an open connection to the platform may wait, and where the run leaves its own.
    pub connection: Handover,
}

/// Who is handed packets as they are denied or match the threat list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handing {
    /// Nobody: no program stays to listen.
    #[default]
    Nobody,
    /// Whoever was before.
    AsBefore,
    /// Who listens to this log group.
    To(LiveGroup),
}

/// Whether a run asks the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contacting {
    /// It does.
    #[default]
    Ask,
    /// It does not: the platform was just found out of reach, and the run is about this host alone.
    Spare,
}

/// What the platform's last answer said besides the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Seconds until it wants to hear from the host again.
    pub next_check_in: Option<u32>,
    /// For the next poll, see [`xshield_wire::control`].
    pub seen: Option<String>,
    /// The platform's configuration for this host, as it is in use from now on.
    pub configuration: Option<HostConfiguration>,
    /// How often it has wanted everything again; another number: once more.
    pub resends: u64,
    /// The succession that this run followed: the configuration is to be read again.
    pub followed: Option<u64>,
}
