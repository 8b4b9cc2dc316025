//! Live events: denials and threat matches, reported within a second.
//!
//! [`receive`] binds the log group and aggregates packets into flows; [`send`] adds their programs and sends
//! them. At most one batch is between the two: while the platform is slow or unreachable, further packets are
//! aggregated, and those beyond the limit are counted. Nothing is kept on disk, and live events are not added
//! to any count: the recorder, which cycles read, is the record.
//!
//! The rules send packets while this program holds the group. If another program holds it, or live events are
//! off, the next cycle removes the logging from the rules.

mod counts;
mod outbox;
mod receive;
mod send;

pub(crate) use outbox::Outbox;
pub(crate) use receive::run as receive;
pub(crate) use send::run as send;
