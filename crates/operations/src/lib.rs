//! The operations of the platform: authorized, validated, each in one audited transaction.
//!
//! An operation that changes something takes [`By`], the proof of a role, and a [`AuditedChange`], which commits its
//! rows and its audit entry together; [`Signals`] then notifies jobs and open polls. Reads take a connection
//! or the store: every signed-in caller may read. Results are values of [`xshield_api`]; errors are
//! [`OperationError`]s, which the API and the console convert to their own.

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
pub use change::AuditedChange;
pub use error::{OperationError, Result};
pub use signals::Signals;
pub use xshield_store::ids;
