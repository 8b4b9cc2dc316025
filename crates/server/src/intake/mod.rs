//! Reports of hosts, from the bytes that arrive to rows in the database.
//!
//! | step | module |
//! |---|---|
//! | rate limits | [`budget`], [`Intake::admit`] |
//! | decompress and parse, within limits | `unpack` |
//! | split into rows, limit each | `items`, `matches` |
//! | store them in batches | [`Intake::take`] |
//! | store what replaces earlier reports, prune | `finish` |

pub mod budget;
mod error;
mod finish;
mod items;
mod matches;
mod reports;
mod unpack;

pub use error::ReportError;
pub(crate) use finish::ask_for_everything;
pub use reports::{Intake, Place, Taken};
pub use unpack::Received;
