//! The threat list's part of the cycle, without IO. It runs beside the policy's part: a failure in one
//! never stops the other.
//!
//! | step | where |
//! |---|---|
//! | the kernel holds what the last run left, or gets it again from disk | `table` |
//! | the order is fetched, verified and carried out | `order` |
//! | the files that lead to its list are fetched, and the lists they make are put in force | `fetch`, `table` |
//! | modes and failsafe follow the order, the policy and the host's facts | `work`, `table` |
//!
//! What it does to disk, platform and host goes through [`ports`]; what it does to the kernel through
//! [`ListTable`](xshield_firewall::threat::ListTable). `crate::threat` implements the ports.
//!
//! Before the kernel gets a list, the list is written to disk and `Lists` names it as prepared; once it is
//! in the kernel, `Lists` names it as the current one. So at every moment, also after a kill, the list in
//! the kernel is one of the two.

pub(crate) mod failure;
mod fetch;
pub(crate) mod lists;
mod order;
pub(crate) mod part;
pub(crate) mod ports;
mod table;
pub(crate) mod work;

pub(crate) use failure::ThreatFailure;
pub(crate) use part::ThreatPart;
pub(crate) use work::ThreatWork;
