//! The protocol between `ctagentcmd` and the running agent: a request and an answer, each a JSON object on
//! one line, over a Unix socket that only root may use, or a named pipe that only administrators of Windows may
//! use.

pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::log::Level;

/// The longest request, in bytes.
pub const LONGEST_REQUEST: u64 = 64 * 1024;
/// The longest answer, in bytes.
pub const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;

/// A request to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The agent's status.
    Status,
    /// Resource usage and waiting reports.
    Telemetry,
    /// The ruleset in the kernel.
    Policy,
    /// The flows in the kernel's recorder.
    Flows {
        /// The number of flows at most.
        most: usize,
    },
    /// Explain which rule decides about a packet.
    Explain {
        /// The packet in the syntax of `ctspark explain`.
        packet: String,
    },
    /// Collect diagnostics into a file on this host.
    Diagnostics,
    /// Run a cycle now.
    Run,
    /// Read the configuration again.
    Reload,
    /// The level of detail of the log.
    LogLevel {
        /// The new level; `None` only queries it.
        level: Option<Level>,
    },
}

/// An answer of the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The result.
    Ok(Value),
    /// The reason, and what to do.
    Error(String),
}
