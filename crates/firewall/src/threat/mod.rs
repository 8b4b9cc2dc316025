//! The threat list in the kernel: table `inet xshield_threat`, in front of the policy and apart from it.
//!
//! - Single addresses stand in hash sets, prefixes in small interval sets. They are looked up first, in
//!   both directions and for forwarded packets, for established flows as for new ones.
//! - The list stands in slot `_a` or `_b`. A whole list is filled into the other slot, which nothing
//!   leads to, and put in force by one transaction; a delta changes the slot in force in one transaction.
//!   At any failure and after a kill, the list that was in force is in force, complete.
//! - Who has matched goes through the failsafe, flow by flow, and is then recorded in bounded sets, logged
//!   at a bounded rate, and dropped or let through to the policy, as the [`Posture`] says. Another posture
//!   rewrites the chains and leaves the list alone.
//! - The comments in chain `about` name what is in force; see [`InstalledList`].
//!
//! Deliberately absent: timeouts and counters of the list's elements, and any flush of a list in force.

mod error;
mod list;
mod list_set;
#[cfg(target_os = "linux")]
mod nft;
mod posture;
mod state;
mod table;

pub use error::{ThreatError, Unreadable};
pub use list::{Counts, InstalledList, ListName};
#[cfg(target_os = "linux")]
pub use nft::{SPOTS, TABLE, ThreatTable};
pub use posture::Posture;
pub use state::{Difference, Listed, ThreatState};
pub use table::ListTable;
pub use xshield_threat::ThreatMode;
