//! The threat list, as operators decide about it: feeds, held listings, exceptions, modes, settings.

mod engine;
pub mod exceptions;
pub mod feeds;
pub mod held_listings;
pub mod modes;
pub mod settings;

pub use engine::ThreatEngine;
