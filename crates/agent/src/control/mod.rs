//! What `ctagentcmd` and the running agent say to each other: one JSON object on one line there, one
//! back, over a Unix socket that only root may use.

pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::log::Level;

/// Where the socket is when nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/xshield/agent.sock";
/// Longest request, in bytes.
pub const LONGEST_REQUEST: u64 = 64 * 1024;
/// Longest answer, in bytes.
pub const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;

/// What the agent can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How it stands.
    Status,
    /// What it knows about the host.
    Telemetry,
    /// What is programmed.
    Policy,
    /// What the kernel's recorder counted.
    Flows {
        /// At most so many.
        most: usize,
    },
    /// Which rule decides about a packet.
    Explain {
        /// As `ctspark explain` takes it.
        packet: String,
    },
    /// Collect diagnostics into a file on this host.
    Diagnostics,
    /// Run a cycle now.
    Run,
    /// Read the configuration again.
    Reload,
    /// How much is said in the log.
    LogLevel {
        /// From now on; `None` asks only.
        level: Option<Level>,
    },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What was asked for.
    Ok(Value),
    /// Why not, and what to do.
    Error(String),
}
