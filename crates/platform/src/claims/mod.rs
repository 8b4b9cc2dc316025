//! What hosts say of themselves, and what the platform makes of it: a host's word is a claim.
//!
//! The platform holds each asset's name, addresses, system and source, and only what it holds counts
//! for policy. [`judge()`] decides what of a check-in's word is held from then on and what waits for an
//! operator; [`xshield_model::lineage`] tells machines with one identity apart. No clock, database or network here.

mod judge;
mod places;
mod words;

use std::net::IpAddr;

use xshield_policy::inventory::{Asset, Source};
use xshield_policy::names::Name;

pub use judge::{Judged, MOST_WAIT, World, judge};
pub use words::{Names, copied_notice, named_in_words, notices, notices_to_holder};

/// What a host says of itself in a check-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What it calls itself.
    pub name: Name,
    /// Its operating system.
    pub os: String,
    /// The program that speaks for it.
    pub source: Source,
    /// Its addresses, sorted.
    pub addresses: Vec<IpAddr>,
}

impl Said {
    /// Whether this is what the platform holds.
    #[must_use]
    pub fn is_held(&self, held: &Asset) -> bool {
        let mut addresses = held.addresses.clone();
        addresses.sort_unstable();
        self.name == held.name
            && self.os == held.os
            && self.source == held.source
            && self.addresses == addresses
    }
}
