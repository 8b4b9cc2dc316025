//! What a host claims about itself.

use std::net::IpAddr;

use xshield_policy::inventory::{Asset, Source};
use xshield_policy::names::Name;

/// What a host claims about itself in a check-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its name.
    pub name: Name,
    /// Its operating system.
    pub os: String,
    /// The program that reports for it.
    pub source: Source,
    /// Its addresses, sorted.
    pub addresses: Vec<IpAddr>,
}

impl Said {
    /// Whether this equals what is stored.
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
