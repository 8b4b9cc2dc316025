//! The threat list in the kernel: table `inet xshield_threat`, in front of the policy and independent of it.
//!
//! - Single addresses are in hash sets, prefixes in small interval sets. They are looked up first, in both
//!   directions and for forwarded packets, for established flows as for new ones.
//! - The list is in slot `_a` or `_b`. A whole list is written into the other, unreferenced slot, and put in
//!   force by one transaction; a delta changes the slot in force in one transaction. After any failure or
//!   kill, the list that was in force is still in force, complete.
//! - A matching packet is first checked against the failsafe; then it is recorded in sets of limited size,
//!   logged at a limited rate, and dropped or passed on to the policy, according to the [`Posture`]. A change
//!   of the posture rewrites the chains and does not touch the list.
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
