//! The Xshield platform: policy, compiler, signed rulesets, telemetry, API.
//!
//! [`serve`] starts it: keys and certificates from [`keys`], the database from [`xshield_store`], then the
//! host API ([`api::host`]) and the admin API ([`api::admin`]) on one TLS listener. [`jobs`] compiles
//! rulesets when policy or inventory change and deletes expired data. [`xshield_intelligence`] maintains the
//! list of malicious addresses.

pub mod api;
mod asset_locks;
mod attempts;
pub mod auth;
mod bodies;
mod cached_page;
mod client;
mod connections;
pub mod console;
mod download;
pub mod endpoints;
mod error_answers;
mod failed_sign_ins;
pub mod held_polls;
pub mod host_access;
mod host_message;
pub mod intake;
pub mod jobs;
mod json;
pub mod keys;
pub mod limits;
pub mod lost_keys;
pub mod passwords;
pub mod platform_key;
pub mod problem;
pub mod query;
pub mod readiness;
mod refusal_batch;
mod request_body;
pub mod rotation;
pub mod sealed;
pub mod serve;
pub mod settings;
mod sign_in;
mod signals;
mod source;
pub mod state;
mod streamed;
mod threat_list_inputs;
pub mod tls;
mod transfer_timeout;
pub mod uploads;
