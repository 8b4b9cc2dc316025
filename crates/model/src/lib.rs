//! The platform's domain model as plain values, shared by the database, the API and the jobs. Contains logic
//! that needs no IO; authorization and effects of changes are elsewhere.
//!
//! | module | what |
//! |---|---|
//! | [`alert`], [`alert_rule`], [`alert_memory`], [`channel`], [`delivery`] | alerts, the rules that raise them, the state of a rule, channels |
//! | [`feed`], [`file_name`], [`threat_match`], [`threat_settings`] | threat feeds, their files, matches, modes |
//! | [`role`], [`audit_entry`] | roles and the audit log |
//! | [`asset_filter`], [`command`], [`key_kind`], [`live`] | states of assets and commands, kinds of keys, live events |
//! | [`secrets`] | sealing of stored secrets |
//! | [`causes`] | an error with its causes, in one line |
//! | [`claim`], [`lineage`], [`refusal`] | claims of hosts, detection of copied machines, refused check-ins |

pub mod alert;
pub mod alert_memory;
pub mod alert_rule;
pub mod asset_filter;
pub mod audit_entry;
pub mod causes;
pub mod channel;
pub mod claim;
pub mod command;
pub mod delivery;
pub mod feed;
pub mod file_name;
pub mod key_kind;
pub mod lineage;
pub mod live;
pub mod refusal;
pub mod role;
pub mod secrets;
pub mod threat_match;
pub mod threat_settings;
mod timestamp;

pub use timestamp::{Timestamp, relative};
