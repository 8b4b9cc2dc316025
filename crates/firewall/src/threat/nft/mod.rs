//! The threat list in nftables.

mod batch;
mod check;
mod comments;
mod elements;
mod guard;
mod list_table;
mod load;
mod names;
mod operations;
mod read;
mod spots;
mod table;

pub use names::TABLE;
pub use spots::SPOTS;
pub use table::ThreatTable;
