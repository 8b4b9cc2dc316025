//! Threat lists, from the bytes of a feed to the bytes that a host receives. Pure: no files, clock or
//! randomness.
//!
//! | step | module | in → out |
//! |---|---|---|
//! | read | [`feed`] | bytes of one feed → [`Listing`], and invalid entries with samples |
//! | hold back | [`guard`] | the feed's last listing and this one → pass, or wait for an operator |
//! | compile | [`compile`](mod@compile) | listings − exceptions − protected → [`ThreatList`] with provenance |
//! | distribute | [`codec`] | [`ThreatSet`] → snapshot; two sets → delta; revisions → cheapest path |
//! | remember | [`listing::store`] | [`Listing`] → bytes on the platform's disk and back |
//! | keep | [`keep`] | snapshot or delta → a list on a host's disk → its elements, as a stream |
//! | plan | [`plan`] | [`ThreatSet`] → which elements are hosts, which are intervals |
//!
//! Everything is based on one normal form: a [`ThreatSet`] is the smallest list of disjoint prefixes that
//! covers exactly its addresses. Equal sets are equal values with equal digests, and every set has exactly
//! one encoding.

pub mod access_log;
pub mod codec;
pub mod compile;
pub mod entry;
pub mod feed;
pub mod guard;
pub mod keep;
pub mod listing;
pub mod mode;
pub mod plan;
pub mod presets;
pub mod protect;
pub mod set;
pub mod text;
mod word;

pub use compile::{Compiler, ThreatList, Why};
pub use entry::{Confidence, FeedId, Net, Prefix};
pub use guard::Guard;
pub use listing::Listing;
pub use mode::ThreatMode;
pub use set::{Digest, ThreatSet};
pub use word::Word;
