//! Notifications to a host between check-ins, the platform's configuration for a host, and uploads of files.
//!
//! | request | answer |
//! |---|---|
//! | `GET /host/v1/notify?seen=TOKEN` | 200 [`Notification`] when something is pending that is newer than TOKEN; 204 when nothing became pending for [`NOTIFY_HOLD`] seconds |
//! | `PUT /host/v1/uploads/ID?offset=N&total=N&sha256=HEX` | 200 [`UploadStanding`]; the body is the chunk at `offset` |
//! | `GET /host/v1/uploads/ID` | 200 [`UploadStanding`] |
//!
//! All are signed with the session key, including the query.
//!
//! TOKEN is opaque to the host and made of unreserved characters (RFC 3986, 2.3). It is part of the last
//! check-in's answer ([`crate::message::CheckInAnswer::seen`]), so changes between that answer and the poll
//! are not missed; without it the platform answers at once. A host has one poll at a time: a newer one ends
//! the older one.
//!
//! ID is the id of the command that requested the file. A chunk at another offset than the expected one is
//! ignored; the answer contains the expected one. If all `total` bytes were received and do not match
//! `sha256`, the platform discards them and answers 422: the host starts again.

use serde::{Deserialize, Serialize};

use crate::message::UnixSeconds;

/// How long the platform holds a poll, in seconds.
pub const NOTIFY_HOLD: u64 = 50;
/// The largest chunk of an upload, in bytes.
pub const UPLOAD_PIECE: usize = 1 << 20;
/// The largest upload, in bytes.
pub const UPLOAD_MAX: u64 = 64 << 20;

/// Something is pending: check in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// [`crate::message::VERSION`].
    pub version: u16,
    /// The token for the next poll, if the host polls before it checks in.
    pub seen: String,
}

/// The state of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadStanding {
    /// [`crate::message::VERSION`].
    pub version: u16,
    /// The number of bytes on disk, which is the offset of the next chunk.
    pub received: u64,
    /// Whether it is complete and verified.
    pub state: UploadState,
}

/// Whether an upload is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UploadState {
    /// More chunks are expected.
    Partial,
    /// All bytes were received and match the announced digest.
    Complete,
}

/// The platform's configuration for a host. For `None`, the host's configuration file applies, or else its
/// default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfiguration {
    /// The version; another number is another configuration.
    pub version: u64,
    /// Seconds between two check-ins of an agent; 10 to 86,400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<u32>,
    /// Seconds between two reports of paths; 10 to 86,400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<u32>,
    /// Seconds between two scans of the installed software; 60 to 604,800.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<u32>,
    /// Whether the cloud's metadata service is queried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_metadata: Option<Switch>,
    /// Whether denials are reported as they happen; programs that can't do this ignore it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_events: Option<Switch>,
    /// An agent's CPU budget in thousandths of one core; 1 to 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_budget: Option<u16>,
    /// An agent's memory budget in MiB; 16 to 4,096.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_budget: Option<u32>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// The resource usage of an agent since its last check-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// When the program was started.
    pub started: UnixSeconds,
    /// In thousandths of one core.
    pub cpu: u32,
    /// Resident memory, in KiB.
    pub memory: u64,
}
