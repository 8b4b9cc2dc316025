//! Assets: their properties, tags, service state and identity keys.

mod change;
mod identities;
mod read;
mod table;

pub use change::{decommission, delete, reinstate, set_tags};
pub use identities::{approve_identity, reject_identity};
pub use read::{Filter, get, list, problems, whole};
pub use table::{Counts, Table, TableQuery, counts, table};
pub use xshield_store::assets::Sorting;
