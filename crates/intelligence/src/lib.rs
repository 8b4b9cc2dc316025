//! Threat intelligence on the platform: compiles feeds into one list and derives what each host needs of it.
//!
//! | step | module |
//! |---|---|
//! | a feed is fetched, within limits and only from allowed addresses | [`xshield_http_client`] |
//! | it is parsed, checked against the organization's own addresses, stored | [`read`], [`judge`], [`run`] |
//! | listings are compiled into a revision of the list | [`list`] |
//! | a match is attributed to the feeds of its revision | [`past`] |
//! | each host is told which list or part to use, in which modes | [`orders`], [`parts`], [`modes`] |
//! | a host gets there with the fewest bytes | [`paths`] |
//!
//! The list in force lives in memory, with its feeds; it is compiled again from the stored listings at start,
//! before anyone is served.

pub mod error;
pub mod feed;
pub mod files;
mod in_force;
pub mod judge;
pub mod list;
pub mod listings;
pub mod measure;
pub mod modes;
pub mod orders;
pub mod parts;
pub mod past;
pub mod paths;
pub mod read;
pub mod run;
pub mod seams;
mod state;
pub mod tidy;
pub mod wake;

pub use in_force::{Current, RevisionName};
pub use state::Threats;
