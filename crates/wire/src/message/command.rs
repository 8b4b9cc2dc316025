//! What a host is told to do, and what came of it.

use serde::{Deserialize, Serialize};

use super::UnixSeconds;

/// A command for the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Carried out once however often it is heard.
    pub id: String,
    /// What to do.
    pub kind: CommandKind,
    /// Not begun after this time; `None`: never too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixSeconds>,
    /// For how long, in seconds, where that has a meaning: debug logging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u32>,
}

/// What a host can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandKind {
    /// Send programmed rules, listening ports and whatever is sent only when it changes, again.
    Resend,
    /// Run a whole cycle now. At Spark, whose cycle hears this, the running one is it.
    RunNow,
    /// Collect diagnostics and upload them.
    Diagnostics,
    /// Log in detail for [`Command::duration`], and publish the log to the platform.
    DebugOn,
    /// Stop logging in detail.
    DebugOff,
    /// A later version's command; reported as unknown, not carried out.
    #[serde(other)]
    Unknown,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOutcome {
    /// The command's id.
    pub id: String,
    /// When it ended, by the host's clock.
    pub at: UnixSeconds,
    /// How.
    pub result: CommandResult,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum CommandResult {
    /// Carried out.
    Done,
    /// Tried in vain.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
    /// Heard too late.
    Expired,
    /// This version does not know it.
    Unknown,
}
