//! What hosts claim about themselves, and what the platform accepts.
//!
//! The platform stores the accepted name, addresses, system and source of each asset, and only these count
//! for policy.
//!
//! | what | module |
//! |---|---|
//! | which claims of a check-in are accepted and which are pending: the rules, without IO | `judge`, `places` |
//! | applies these rules to a check-in | `take` |
//! | decisions of operators on pending claims | `decide` |
//! | messages about claims | `words`, `findings` |
//! | the name of a new asset | `free_name` |
//!
//! [`xshield_model::lineage`] distinguishes machines with the same identity.

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
