//! Ranges that can never be blocked, whatever a feed lists.

use serde::{Deserialize, Serialize};

use crate::entry::Prefix;

/// Why an address can never be blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtectedBy {
    /// The failsafe: platform, proxies, DNS, management sources.
    Failsafe,
    /// An address of an own asset.
    OwnAsset,
    /// Private and shared ranges (RFC 1918, 4193, 6598).
    Private,
    /// The host itself (RFC 1122, 4291), also the unspecified addresses.
    Loopback,
    /// One link (RFC 3927, 4291).
    LinkLocal,
    /// Multicast and broadcast (RFC 5771, 4291, 919).
    Multicast,
}

/// A prefix that can never be blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Protected {
    /// The addresses.
    pub prefix: Prefix,
    /// The reason.
    pub by: ProtectedBy,
}

const SPECIAL: [(&str, ProtectedBy); 14] = [
    ("0.0.0.0/8", ProtectedBy::Loopback),
    ("127.0.0.0/8", ProtectedBy::Loopback),
    ("::/128", ProtectedBy::Loopback),
    ("::1/128", ProtectedBy::Loopback),
    ("10.0.0.0/8", ProtectedBy::Private),
    ("100.64.0.0/10", ProtectedBy::Private),
    ("172.16.0.0/12", ProtectedBy::Private),
    ("192.168.0.0/16", ProtectedBy::Private),
    ("fc00::/7", ProtectedBy::Private),
    ("169.254.0.0/16", ProtectedBy::LinkLocal),
    ("fe80::/10", ProtectedBy::LinkLocal),
    ("224.0.0.0/4", ProtectedBy::Multicast),
    ("255.255.255.255/32", ProtectedBy::Multicast),
    ("ff00::/8", ProtectedBy::Multicast),
];

/// The ranges of special use that are protected unless an operator says otherwise.
#[must_use]
pub fn special_ranges() -> Vec<Protected> {
    let parsed = SPECIAL.iter().map(|(text, by)| text.parse().map(|prefix| (prefix, *by)));
    parsed.flatten().map(|(prefix, by)| Protected { prefix, by }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_special_range_is_a_prefix() {
        assert_eq!(super::special_ranges().len(), super::SPECIAL.len());
    }
}
