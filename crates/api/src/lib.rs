//! Requests and responses of the admin API, for the server, the console and the command line. Contains types,
//! and the text form of some of them.

// The doc comments are the descriptions of the API: a field with a self-explanatory name has none.
#![allow(missing_docs)]

pub mod access;
pub mod access_log;
pub mod agents;
pub mod alerts;
pub mod assets;
pub mod audit;
pub mod changes;
pub mod channels;
pub mod claims;
pub mod commands;
pub mod field_error;
pub mod health;
pub mod host_configuration;
pub mod host_telemetry;
pub mod impact;
pub mod keys;
pub mod names;
pub mod open;
pub mod page;
pub mod policy;
pub mod problem;
pub mod query;
pub mod telemetry;
pub mod threat_events;
pub mod threat_feeds;
pub mod threat_list;
pub mod threat_modes;
pub mod threat_status;
pub mod threat_why;
pub mod trust;
pub mod words;

pub use xshield_model::causes::in_words;
pub use xshield_model::{Timestamp, relative};
