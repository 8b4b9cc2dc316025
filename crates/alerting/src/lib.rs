//! "Malicious IP Match": from what hosts and access logs tell to what people are told.
//!
//! | step | module |
//! |---|---|
//! | count once, queue | [`mod@matches`] |
//! | judge: which rules concern a match, and is it time to tell? | [`rule`], [`xshield_model::alert_memory`], [`judge`](mod@judge) |
//! | write it down, for people and channels | [`xshield_model::alert`], [`mod@payload`] (by [`mail_text`], [`cef`], [`ocsf`]) |
//! | deliver, until it is taken | [`send`], [`deliver`] |
//!
//! Each step ends in a transaction: a sudden end repeats at most the sending of one payload under
//! the same id.

pub mod cef;
pub mod channel;
pub mod deliver;
pub mod judge;
mod mail;
pub mod mail_text;
pub mod matches;
pub mod ocsf;
pub mod outgoing;
pub mod payload;
mod place;
pub mod rule;
pub mod send;
mod syslog;
mod wake;
pub mod webhook;

pub use wake::Wake;
