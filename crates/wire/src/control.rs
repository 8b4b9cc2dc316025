//! How the platform reaches a host between check-ins, what it configures there, and how a host hands
//! over a file.
//!
//! | request | answer |
//! |---|---|
//! | `GET /host/v1/notify?seen=TOKEN` | 200 [`Notification`] when something is pending that the holder of TOKEN has not heard of; 204 when nothing came up for [`NOTIFY_HOLD`] seconds |
//! | `PUT /host/v1/uploads/ID?offset=N&total=N&sha256=HEX` | 200 [`UploadStanding`]; the body is the piece at `offset` |
//! | `GET /host/v1/uploads/ID` | 200 [`UploadStanding`] |
//!
//! All are signed with the session key; the query is part of what is signed.
//!
//! TOKEN is opaque to the host and made of unreserved characters (RFC 3986, 2.3). It comes with the
//! last check-in's answer ([`crate::message::CheckInAnswer::seen`]), so what comes up between that
//! answer and the poll is not missed; without it the platform answers at once. A host has one poll at
//! a time: a newer one ends the older.
//!
//! ID is the id of the command that asked for the file. A piece that does not begin where the platform
//! is leaves everything as it is; the answer says where to go on. When all `total` bytes are there and
//! are not what `sha256` says, the platform forgets them and answers 422: the host begins anew.

use serde::{Deserialize, Serialize};

use crate::message::UnixSeconds;

/// How long the platform holds a poll, in seconds.
pub const NOTIFY_HOLD: u64 = 50;
/// Largest piece of an upload, in bytes.
pub const UPLOAD_PIECE: usize = 1 << 20;
/// Largest upload, in bytes.
pub const UPLOAD_MAX: u64 = 64 << 20;

/// Something is pending: check in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// [`crate::message::VERSION`].
    pub version: u16,
    /// For the next poll, should the host poll before it checks in.
    pub seen: String,
}

/// How much of an upload the platform has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadStanding {
    /// [`crate::message::VERSION`].
    pub version: u16,
    /// Bytes on disk: where the next piece begins.
    pub received: u64,
    /// Whether that is all of it, and right.
    pub state: UploadState,
}

/// Whether an upload is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UploadState {
    /// More is to come.
    Partial,
    /// Everything is there and has the digest that was announced.
    Complete,
}

/// What the platform configures at a host. What is `None` is the host's own affair: its configuration
/// file, or else its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfiguration {
    /// Which one; another number is another configuration.
    pub version: u64,
    /// Seconds between two check-ins of an agent; 10 to 86,400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<u32>,
    /// Seconds between two reports of paths; 10 to 86,400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<u32>,
    /// Seconds between two looks at the installed software; 60 to 604,800.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<u32>,
    /// Whether the cloud's metadata service is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_metadata: Option<Switch>,
    /// Whether denials are to be told as they happen; programs that can't ignore it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_events: Option<Switch>,
    /// What an agent may use of one core, in thousandths; 1 to 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_budget: Option<u16>,
    /// What an agent may use of memory, in MiB; 16 to 4,096.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_budget: Option<u32>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// Done.
    On,
    /// Not done.
    Off,
}

/// What an agent uses of the host, measured since its last check-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// When the program was started.
    pub started: UnixSeconds,
    /// Of one core, in thousandths.
    pub cpu: u32,
    /// Resident memory, in KiB.
    pub memory: u64,
}
