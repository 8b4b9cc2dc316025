//! The entries of a feed: addresses and prefixes, confidence, and the feed's name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::word::Word;

/// A prefix of one family; host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net<T> {
    start: T,
    len: u8,
}

impl<T: Word> Net<T> {
    /// The prefix, or `None` if host bits are set or `len` is longer than an address.
    #[must_use]
    pub fn new(start: T, len: u8) -> Option<Self> {
        let fits = len <= T::BITS && start & T::host_mask(len) == T::default();
        fits.then_some(Self { start, len })
    }

    /// One address.
    #[must_use]
    pub fn host(address: T) -> Self {
        Self { start: address, len: T::BITS }
    }

    /// The prefix of `len` bits that contains `address`; `len` is at most [`Word::BITS`].
    #[must_use]
    pub fn around(address: T, len: u8) -> Self {
        let len = len.min(T::BITS);
        Self { start: address & !T::host_mask(len), len }
    }

    /// The lowest address.
    #[must_use]
    pub fn first(self) -> T {
        self.start
    }

    /// The highest address.
    #[must_use]
    pub fn last(self) -> T {
        self.start | T::host_mask(self.len)
    }

    /// The number of fixed bits.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.len
    }

    /// The number of free bits: 0 for one address.
    #[must_use]
    pub fn free_bits(self) -> u8 {
        T::BITS - self.len
    }

    /// Whether the prefix is one address.
    #[must_use]
    pub fn is_host(self) -> bool {
        self.len == T::BITS
    }
}

/// Calls `each` with the fewest prefixes that cover `first..=last` exactly, ascending. At most `2 × BITS − 2`
/// prefixes; none if `first` is above `last`.
pub(crate) fn split<T: Word>(first: T, last: T, mut each: impl FnMut(Net<T>)) {
    let mut start = first;
    while start <= last {
        let room = last - start;
        // The widest block that starts here: aligned to `start`, and not longer than the rest.
        let by_room = if room == T::MAX { T::BITS } else { (room + T::ONE).width() - 1 };
        let net = Net { start, len: T::BITS - start.low_zeros().min(by_room) };
        each(net);
        if net.last() == last {
            return;
        }
        start = net.last() + T::ONE;
    }
}

/// A prefix of either family; host bits are zero. Ordered IPv4 first, then by address and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Prefix {
    /// IPv4.
    V4(Net<u32>),
    /// IPv6.
    V6(Net<u128>),
}

impl Prefix {
    /// The prefix of `len` bits at `address`.
    ///
    /// # Errors
    /// When host bits are set or `len` is longer than an address.
    pub fn new(address: IpAddr, len: u8) -> Result<Self, PrefixError> {
        let prefix = match address {
            IpAddr::V4(address) => Net::new(address.into(), len).map(Self::V4),
            IpAddr::V6(address) => Net::new(address.into(), len).map(Self::V6),
        };
        prefix.ok_or(PrefixError { address, len })
    }

    /// The lowest address.
    #[must_use]
    pub fn first(self) -> IpAddr {
        match self {
            Self::V4(net) => net.first().address(),
            Self::V6(net) => net.first().address(),
        }
    }

    /// The highest address.
    #[must_use]
    pub fn last(self) -> IpAddr {
        match self {
            Self::V4(net) => net.last().address(),
            Self::V6(net) => net.last().address(),
        }
    }

    /// The number of fixed bits.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::V4(net) => net.bits(),
            Self::V6(net) => net.bits(),
        }
    }

    /// Whether the prefix is one address.
    #[must_use]
    pub fn is_host(self) -> bool {
        match self {
            Self::V4(net) => net.is_host(),
            Self::V6(net) => net.is_host(),
        }
    }

    /// Whether `address` is in the prefix.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(net), IpAddr::V4(address)) => Net::around(address.into(), net.len) == net,
            (Self::V6(net), IpAddr::V6(address)) => Net::around(address.into(), net.len) == net,
            _ => false,
        }
    }
}

/// An address and a length that are not a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{address}/{len} is not a prefix: expected its first address, and a length of at most \
     the bits of an address"
)]
pub struct PrefixError {
    address: IpAddr,
    len: u8,
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(Net::host(address.into())),
            IpAddr::V6(address) => Self::V6(Net::host(address.into())),
        }
    }
}

impl TryFrom<IpNet> for Prefix {
    type Error = PrefixError;

    fn try_from(net: IpNet) -> Result<Self, PrefixError> {
        Self::new(net.addr(), net.prefix_len())
    }
}

impl From<Prefix> for IpNet {
    fn from(prefix: Prefix) -> Self {
        let address = prefix.first();
        // A length that is too long can't be in a `Prefix`.
        Self::new(address, prefix.bits()).unwrap_or_else(|_| address.into())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            write!(f, "{}", self.first())
        } else {
            write!(f, "{}/{}", self.first(), self.bits())
        }
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl TryFrom<String> for Prefix {
    type Error = crate::text::Reason;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Prefix {
    type Err = crate::text::Reason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::text::prefix(text.as_bytes())
    }
}

/// A feed's confidence in an entry, 0 to 100.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(into = "u8", try_from = "u8")]
pub struct Confidence(u8);

impl Confidence {
    /// No confidence.
    pub const NONE: Self = Self(0);
    /// Certain.
    pub const FULL: Self = Self(100);

    /// The confidence, or `None` above 100.
    #[must_use]
    pub const fn new(percent: u8) -> Option<Self> {
        if percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// Percent.
    #[must_use]
    pub const fn percent(self) -> u8 {
        self.0
    }
}

/// A confidence above 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} is not a confidence: expected 0 to 100")]
pub struct ConfidenceError(u8);

impl TryFrom<u8> for Confidence {
    type Error = ConfidenceError;

    fn try_from(percent: u8) -> Result<Self, ConfidenceError> {
        Self::new(percent).ok_or(ConfidenceError(percent))
    }
}

impl From<Confidence> for u8 {
    fn from(confidence: Confidence) -> Self {
        confidence.0
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// The name of a feed: 1 to 64 of `a-z 0-9 - _ .`, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FeedId(String);

impl FeedId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a feed name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a feed name: use 1 to 64 of a-z 0-9 - _ . and begin with a letter or digit")]
pub struct FeedIdError(String);

impl FromStr for FeedId {
    type Err = FeedIdError;

    fn from_str(text: &str) -> Result<Self, FeedIdError> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for FeedId {
    type Error = FeedIdError;

    fn try_from(text: String) -> Result<Self, FeedIdError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins = text.bytes().next().is_some_and(plain);
        let goes_on = text.bytes().all(|byte| plain(byte) || b"-_.".contains(&byte));
        if begins && goes_on && text.len() <= 64 { Ok(Self(text)) } else { Err(FeedIdError(text)) }
    }
}

impl From<FeedId> for String {
    fn from(id: FeedId) -> Self {
        id.0
    }
}

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split_text(first: &str, last: &str) -> Vec<String> {
        let number = |text: &str| u32::from(text.parse::<std::net::Ipv4Addr>().unwrap());
        let mut found = Vec::new();
        split(number(first), number(last), |net| found.push(Prefix::V4(net).to_string()));
        found
    }

    #[test]
    fn ranges_become_the_fewest_prefixes() {
        for (first, last, expected) in [
            ("1.2.3.4", "1.2.3.4", vec!["1.2.3.4"]),
            ("1.2.3.4", "1.2.3.5", vec!["1.2.3.4/31"]),
            ("1.2.3.5", "1.2.3.6", vec!["1.2.3.5", "1.2.3.6"]),
            ("0.0.0.0", "255.255.255.255", vec!["0.0.0.0/0"]),
            ("255.255.255.254", "255.255.255.255", vec!["255.255.255.254/31"]),
            ("1.2.3.0", "1.2.4.127", vec!["1.2.3.0/24", "1.2.4.0/25"]),
            ("1.2.3.5", "1.2.3.4", vec![]),
        ] {
            assert_eq!(split_text(first, last), expected, "{first}-{last}");
        }
    }

    #[test]
    fn names_and_confidences_are_bounded() {
        for good in ["a", "9", "spamhaus-drop.v4_1", &"a".repeat(64)] {
            assert!(good.parse::<FeedId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a b", "a/b", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<FeedId>().is_err(), "{bad}");
        }
        assert_eq!(Confidence::new(101), None);
        assert!(serde_json::from_str::<Confidence>("101").is_err());
    }

    proptest! {
        #[test]
        fn a_split_covers_its_range_exactly(a: u128, b: u128) {
            let (first, last) = (a.min(b), a.max(b));
            let mut next = Some(first);
            split(first, last, |net| {
                assert_eq!(Some(net.first()), next);
                assert_eq!(Net::new(net.first(), net.bits()), Some(net));
                next = net.last().checked_add(1);
            });
            prop_assert_eq!(next, last.checked_add(1));
        }

        #[test]
        fn prefixes_survive_text(address: u128, len in 0u8..=128, four: bool) {
            let prefix = if four {
                Prefix::V4(Net::around(address as u32, (len % 32) + 1))
            } else {
                Prefix::V6(Net::around(address | 1 << 127, len.max(1)))
            };
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
            prop_assert_eq!(Prefix::try_from(IpNet::from(prefix)), Ok(prefix));
        }
    }
}
