//! Reports of hosts, from the bytes that arrive to rows in the database.
//!
//! | step | module |
//! |---|---|
//! | may this host report now? | [`budget`], [`Intake::admit`] |
//! | unpack and read, within bounds | `unpack` |
//! | take the rows apart, bound each | `items`, `matches` |
//! | store them in slices | [`Intake::take`] |
//! | store what replaces what was told before, forget what is too much | `finish` |

pub mod budget;
mod finish;
mod items;
mod matches;
mod reports;
mod unpack;

pub(crate) use finish::ask_for_everything;
pub use reports::{Intake, Place, Taken};
pub use unpack::Received;
