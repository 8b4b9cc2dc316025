//! Threat lists on a real host: files, downloads, reports of matches. What is done with them, and when, is
//! decided by `crate::core::threat`.
//!
//! | what | where |
//! |---|---|
//! | the ports of the part, implemented | `shell` |
//! | orders and lists in the state directory | `store` |
//! | the files that lead to a list are downloaded, and the list is made of them | `download`, `make` |
//! | what was matched since the last run is read, and reported | `matches`, `report` |
//!
//! A run that changes nothing reads the order, the file `lists`, and the kernel's ruleset generation, but
//! neither the list on disk nor the one in the kernel.

mod download;
pub(crate) mod error;
#[cfg(any(windows, test))]
pub(crate) mod listed;
mod make;
pub(crate) mod matches;
pub mod progress;
pub(crate) mod report;
pub(crate) mod shell;
pub(crate) mod store;

pub mod verbs;
