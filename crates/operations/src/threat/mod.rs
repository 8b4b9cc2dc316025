//! Administration of the threat list: feeds, held listings, exceptions, modes, settings, revisions, matches.

pub mod access_log;
mod engine;
pub mod events;
pub mod exceptions;
pub mod export;
pub mod feeds;
pub mod held_listings;
mod lists;
pub mod modes;
pub mod private_ranges;
pub mod revisions;
pub mod settings;
pub mod status;
pub mod why;

pub use access_log::MatchQueue;
pub use engine::ThreatEngine;
pub use lists::{InForce, ThreatLists};
