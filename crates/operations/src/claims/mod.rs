//! What hosts say of themselves, and what the platform makes of it: a host's word is a claim.
//!
//! The platform holds each asset's name, addresses, system and source, and only what it holds counts
//! for policy.
//!
//! | what | module |
//! |---|---|
//! | what of a check-in's word is held from then on and what waits: the rules, without IO | `judge`, `places` |
//! | a host's word is taken in by these rules | `take` |
//! | operators decide about what waits | `decide` |
//! | what is to be said about it | `words`, `findings` |
//! | the name of a new host | `free_name` |
//!
//! [`xshield_model::lineage`] tells machines with one identity apart.

mod decide;
mod described;
mod findings;
mod free_name;
mod judge;
mod places;
mod said;
mod take;
mod words;

pub use decide::{Decision, accept, list, refuse, rename};
pub use findings::findings;
pub use free_name::free_name;
pub use judge::{Judged, MOST_WAIT, World, judge};
pub use said::Said;
pub use take::{Taken, Terms, take};
pub use words::{Names, copied_notice, notices, notices_to_holder, shown};
