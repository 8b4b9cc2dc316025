//! "Malicious IP Match": from reports of hosts and access logs to alerts.
//!
//! | step | module |
//! |---|---|
//! | deduplicate, queue | [`mod@matches`] |
//! | evaluate: which rules apply to a match, and is an alert due? | [`rule`], [`xshield_model::alert_memory`], [`judge`](mod@judge) |
//! | format it for people and channels | [`xshield_model::alert`], [`mod@payload`] (by [`mail_text`], [`cef`], [`ocsf`]) |
//! | deliver, with retries | [`send`], [`deliver`] |
//!
//! Each step ends in a transaction: after a crash, at most one payload is sent again, with the same id.

pub mod cef;
pub mod channel;
pub mod deliver;
mod destination;
pub mod judge;
mod mail;
pub mod mail_text;
pub mod matches;
pub mod ocsf;
pub mod outgoing;
pub mod payload;
pub mod rule;
pub mod send;
mod syslog;
mod wake;
pub mod webhook;

pub use wake::Wake;
