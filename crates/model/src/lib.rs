//! The platform's nouns as plain values: what the database keeps, the API shows and the jobs decide
//! over. What can be said of them without IO is said here; who may change them, and what follows, is
//! the platform's affair.
//!
//! | module | what |
//! |---|---|
//! | [`alert`], [`alert_rule`], [`alert_memory`], [`channel`], [`delivery`] | alerts, the rules that give them, what a rule remembers, where they go |
//! | [`feed`], [`file_name`], [`threat_match`], [`threat_settings`] | threat feeds, their files, matches, modes |
//! | [`role`], [`audit_entry`] | what people may do, and what they did |
//! | [`asset_filter`], [`command`], [`key_kind`], [`live`] | how assets and commands stand, what keys are for, what agents tell at once |
//! | [`secrets`] | how secrets are kept from whoever has the database alone |
//! | [`causes`] | an error with its causes, in one line |
//! | [`claim`], [`lineage`], [`refusal`] | what a host says of itself, which machine says it, and who was refused |

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
