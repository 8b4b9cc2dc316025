//! "Malicious IP Match": from what hosts and access logs tell to what people are told.
//!
//! | step | module |
//! |---|---|
//! | count once, add what the list knows, queue | [`intake`] |
//! | judge: which rules concern a match, and is it time to tell? | [`rule`], [`xshield_model::alert_memory`], [`crate::jobs::alerts`] |
//! | write it down, for people and channels | [`xshield_model::alert`], [`mod@payload`] (by [`mail_text`], [`cef`], [`ocsf`]) |
//! | deliver, until it is taken | [`send`], [`crate::jobs::deliver`] |
//!
//! Each step ends in a transaction: a sudden end repeats at most the sending of one payload under
//! the same id.

use tokio::sync::Notify;

pub mod cef;
pub mod channel;
pub mod intake;
mod mail;
pub mod mail_text;
pub mod ocsf;
pub mod outgoing;
pub mod payload;
mod place;
pub mod rule;
pub mod send;
mod syslog;
pub mod webhook;

/// Wakes those who judge matches and deliver alerts.
#[derive(Debug, Default)]
pub struct Alerts {
    /// There are matches to be judged.
    pub fresh: Notify,
    /// There is something to be delivered.
    pub due: Notify,
}
