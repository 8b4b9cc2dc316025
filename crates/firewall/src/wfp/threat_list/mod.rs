//! The threat list in the filter engine: a sublayer above that of the policy, with a filter that blocks for each
//! entry and direction.
//!
//! - A plain block is final under every reading of the documentation, so the list blocks what the policy, or
//!   another product in a lower sublayer, permits.
//! - Above the blocks, the failsafe is permitted. These permits are plain, so the policy decides next.
//! - In the mode `event-only` there is no filter: a permit would have to be soft, which is open in the
//!   documentation. Matches are found in the events of flows instead, by looking up the peer.
//! - At each layer, one filter carries the name of the list in force. It is replaced in the transaction that
//!   deletes what is no longer listed; what is newly listed is added before, in parts. So at each moment the
//!   entries of the old list or of the new one are all in force, and after a kill the old list is, with some
//!   entries of the new one.
//! - The objects have a provider of their own, since a policy's filters are removed with their provider.
//! - ICMP errors pass the list: their layers would need as many filters again.
//! - There are no boot-time filters: between the start of the driver and that of the filter engine, the
//!   policy's alone are in force.

mod objects;
mod table;

pub use objects::{LIST_PROVIDER, LIST_SUBLAYER, LIST_WEIGHT};
pub use table::WfpThreatTable;
