//! The Xshield platform: policy, compiler, signed rulesets, telemetry, API.
//!
//! [`serve`] starts it: keys and certificates from [`keys`], the database from [`xshield_store`], then the
//! host API ([`api::host`]) and the admin API ([`api::admin`]) on one TLS listener. [`jobs`] compiles
//! rulesets when policy or inventory change and forgets what is too old. [`threat`] keeps the list of
//! malicious addresses.

pub mod alerts;
pub mod api;
mod attempts;
pub mod auth;
mod bodies;
pub mod claims;
pub mod console;
mod door;
mod gathered;
mod holding;
pub mod impact;
pub mod intake;
pub mod jobs;
mod kept;
pub mod keys;
pub mod lasting;
mod management;
mod patience;
pub mod policy;
pub mod problem;
mod protection;
pub mod query;
pub mod readiness;
pub mod rehearsals;
pub mod rotation;
pub mod sealed;
pub mod serve;
pub mod settings;
mod sign_in;
mod source;
pub mod spoken;
pub mod state;
pub mod threat;
pub mod tls;
pub mod uploads;
pub mod waking;
