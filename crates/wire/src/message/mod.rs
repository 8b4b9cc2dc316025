//! The messages as plain data. A recorded message of each version is kept in the tests permanently.

mod check_in;
mod command;
mod event;
mod in_force;
mod report;
mod session;
mod versioned;

use serde::{Deserialize, Serialize};

use crate::control::{Notification, UploadStanding};
use crate::threat::ThreatPath;
use crate::trust::PublicTrust;
pub use check_in::{
    CheckIn, CheckInAnswer, Held, HostFacts, Problem, Program, ProgramKind, RouteFailure,
    RouteFailureKind, RouteStanding, Status,
};
pub use command::{Command, CommandKind, CommandOutcome, CommandResult};
pub use event::{EventKind, EventSource, FirewallEvent};
pub use in_force::InForce;
pub use report::{
    DirectionState, EventReport, ListeningPort, ProgrammedReport, Report, ReportAnswer, ReportBody,
    RuleHits, UnenforceableRule,
};
pub use session::{SessionRequest, SessionResponse};
pub use versioned::{Digest, Message, MessageError, OLDEST_VERSION, UnixSeconds, VERSION};

/// An error, as an RFC 9457 problem document (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDocument {
    /// A URI reference that identifies the kind, e.g. `/problems/clock-skew`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, for people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// A description of this occurrence, with what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The invalid field as a JSON pointer, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

macro_rules! message {
    ($($type:ty),+) => {$(
        impl Message for $type {
            fn version(&self) -> u16 {
                self.version
            }
        }
    )+};
}

message!(SessionRequest, SessionResponse, CheckIn, CheckInAnswer, Report, ReportAnswer);
message!(ThreatPath, Notification, UploadStanding, PublicTrust);
