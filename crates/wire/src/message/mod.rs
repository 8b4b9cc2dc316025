//! The messages, as plain data. A recorded message of each version stays in the tests for good.

mod check_in;
mod command;
mod report;
mod session;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::control::{Notification, UploadStanding};
use crate::threat::ThreatPath;
use crate::trust::PublicTrust;
pub use check_in::{
    CheckIn, CheckInAnswer, Held, HostFacts, InForce, Problem, Program, ProgramKind, RouteFailure,
    RouteFailureKind, RouteStanding, Status,
};
pub use command::{Command, CommandKind, CommandOutcome, CommandResult};
pub use report::{
    DirectionState, EventKind, EventReport, EventSource, FirewallEvent, ListeningPort,
    ProgrammedReport, Report, ReportAnswer, ReportBody, RuleHits, UnenforceableRule,
};
pub use session::{SessionRequest, SessionResponse};

/// The version these types describe. The platform serves this one and the one before.
pub const VERSION: u16 = 1;

/// The oldest version that is still read.
pub const OLDEST_VERSION: u16 = if VERSION > 1 { VERSION - 1 } else { 1 };

/// Seconds since 1970-01-01 UTC.
pub type UnixSeconds = u64;

/// SHA-256 of a signed ruleset's payload: says which one is meant, byte for byte.
pub type Digest = Bytes<32>;

/// An error, as an RFC 9457 problem document (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDocument {
    /// A URI reference that names the kind, e.g. `/problems/clock-skew`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, for people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This occurrence, for people; says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The field at fault, as a JSON pointer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Why a message was refused.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Of a version that this side does not speak.
    #[error(
        "the message is of version {got}, this side reads {OLDEST_VERSION} to {VERSION}; \
         upgrade the older side"
    )]
    Version {
        /// Its version.
        got: u64,
    },
    /// Not JSON, or not this message.
    #[error("the message can't be read")]
    Malformed(#[source] serde_json::Error),
}

/// A message with a version of its own.
pub trait Message: Serialize + DeserializeOwned {
    /// The version its sender speaks.
    fn version(&self) -> u16;

    /// Reads the message. Fields that this version does not know are ignored.
    ///
    /// # Errors
    /// [`MessageError::Version`] before anything else is found fault with.
    fn read(json: &[u8]) -> Result<Self, MessageError> {
        #[derive(Deserialize)]
        struct Peek {
            version: u64,
        }
        let supported = |version: u64| {
            let range = u64::from(OLDEST_VERSION)..=u64::from(VERSION);
            if range.contains(&version) {
                Ok(())
            } else {
                Err(MessageError::Version { got: version })
            }
        };
        match serde_json::from_slice::<Self>(json) {
            Ok(message) => supported(message.version().into()).map(|()| message),
            Err(malformed) => {
                if let Ok(peek) = serde_json::from_slice::<Peek>(json) {
                    supported(peek.version)?;
                }
                Err(MessageError::Malformed(malformed))
            }
        }
    }

    /// Writes the message.
    ///
    /// # Errors
    /// When a value can't be held by JSON; no message of this version has one.
    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
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
