//! Commands for a host, and their outcomes.

use serde::{Deserialize, Serialize};

use super::UnixSeconds;

/// A command for the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Identifies the command, which is executed once however often it is received.
    pub id: String,
    /// What to do.
    pub kind: CommandKind,
    /// It must not be started after this time; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixSeconds>,
    /// The duration in seconds, for debug logging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u32>,
}

/// The kinds of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandKind {
    /// Send programmed rules, listening ports and everything else that is only sent after changes again.
    Resend,
    /// Run a full cycle now. For Spark, the cycle that receives it is already the requested one.
    RunNow,
    /// Collect diagnostics and upload them.
    Diagnostics,
    /// Log in detail for [`Command::duration`], and send the log to the platform.
    DebugOn,
    /// Stop logging in detail.
    DebugOff,
    /// A command of a later version; reported as unknown, not executed.
    #[serde(other)]
    Unknown,
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOutcome {
    /// The command's id.
    pub id: String,
    /// When it ended, by the host's clock.
    pub at: UnixSeconds,
    /// The result.
    pub result: CommandResult,
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum CommandResult {
    /// It was executed.
    Done,
    /// It failed.
    Failed {
        /// The reason, and what to do.
        reason: String,
    },
    /// It was received too late.
    Expired,
    /// This version does not know it.
    Unknown,
}
