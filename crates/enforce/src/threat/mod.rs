//! The threat list's part of the cycle. It is independent of the policy part: a failure in one never stops
//! the other.
//!
//! | step | where |
//! |---|---|
//! | matches since the last run are read and reported | `report` |
//! | the kernel holds what the last run left, or gets it again from disk | `table` |
//! | the order is fetched, verified and carried out | `order` |
//! | the files that lead to its list are fetched | `fetch` |
//! | the list is saved, put into the kernel, and remembered | `make`, `store`, `table` |
//! | modes and failsafe follow the order, the policy and the host's facts | `table` |
//!
//! A run that changes nothing reads the order, the file `lists`, and the kernel's ruleset generation, but
//! neither the list on disk nor the one in the kernel.

pub(crate) mod error;
mod fetch;
mod make;
pub(crate) mod matches;
mod order;
pub(crate) mod part;
pub mod progress;
mod report;
pub(crate) mod store;
mod table;
mod work;

pub(crate) use part::ThreatPart;
pub(crate) use work::ThreatWork;

pub mod verbs;
