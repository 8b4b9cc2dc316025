//! What may be done on the platform, by whom: checked, in one transaction, audited.
//!
//! An operation that changes something takes [`By`], the proof of a role, and a [`Change`], in which its
//! rows and its audit entry are committed together; [`Signals`] then tells running jobs and held polls.
//! Reads take a connection or the store: every caller who is signed in may read. Answers are values of
//! [`xshield_api`]; what is refused is an [`OperationError`], from which faces make their own.

pub mod agent_events;
pub mod alert_rules;
pub mod asset_threat;
pub mod assets;
pub mod audit_log;
pub mod caller;
pub mod change;
pub mod channels;
pub mod claims;
pub mod commands;
pub mod compiler;
pub mod diagnostics;
pub mod enforcement_keys;
pub mod error;
pub mod expiry;
pub mod health;
pub mod host_configuration;
pub mod host_telemetry;
pub mod lookup;
pub mod management;
pub mod paging;
pub mod parsed_policies;
pub mod passwords;
pub mod pointer;
pub mod policy;
pub mod protection;
pub mod selection;
pub mod sign_in;
pub mod signals;
pub mod signed_rulesets;
pub mod standing;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod threat;
pub mod tokens;
pub mod users;

pub use caller::By;
pub use change::Change;
pub use error::{OperationError, Result};
pub use signals::Signals;
pub use xshield_store::ids;
