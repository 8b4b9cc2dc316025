//! The exact set of addresses, in its only normal form.

mod algebra;
mod family;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use thiserror::Error;

use crate::entry::Prefix;
use crate::text::Range;

pub use family::Family;
pub(crate) use family::FamilyBuilder;

/// A set of addresses of both families: the fewest disjoint prefixes that cover exactly its
/// addresses, ascending. Equal sets are equal values. An entry takes 5 bytes (IPv4) or 17 (IPv6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ThreatSet {
    v4: Family<u32>,
    v6: Family<u128>,
}

impl ThreatSet {
    /// No address.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The set of both families.
    #[must_use]
    pub fn new(v4: Family<u32>, v6: Family<u128>) -> Self {
        Self { v4, v6 }
    }

    /// The IPv4 half.
    #[must_use]
    pub fn v4(&self) -> &Family<u32> {
        &self.v4
    }

    /// The IPv6 half.
    #[must_use]
    pub fn v6(&self) -> &Family<u128> {
        &self.v6
    }

    /// The number of prefixes that cover the set; a host counts as one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether no address is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `address` is in the set; O(log n).
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.entry(address).is_some()
    }

    /// The prefix of the normal form that contains `address`; O(log n).
    #[must_use]
    pub fn entry(&self, address: IpAddr) -> Option<Prefix> {
        match address {
            IpAddr::V4(address) => self.v4.entry(address.into()).map(Prefix::V4),
            IpAddr::V6(address) => self.v6.entry(address.into()).map(Prefix::V6),
        }
    }

    /// The prefixes, IPv4 first, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.v4.iter().map(Prefix::V4).chain(self.v6.iter().map(Prefix::V6))
    }

    /// The addresses that are in either set; O(n).
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self { v4: self.v4.union(&other.v4), v6: self.v6.union(&other.v6) }
    }

    /// The addresses that are in this set and not in the other; O(n). An address inside a wider
    /// prefix splits it.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self { v4: self.v4.difference(&other.v4), v6: self.v6.difference(&other.v6) }
    }

    /// The addresses that are in both sets; O(n).
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self { v4: self.v4.intersection(&other.v4), v6: self.v6.intersection(&other.v6) }
    }

    /// How much the set covers.
    #[must_use]
    pub fn size(&self) -> Size {
        let free = |bits: u8| 1u64 << bits.min(63);
        Size {
            entries: self.len() as u64,
            v4_addresses: self.v4.iter().map(|net| free(net.free_bits())).sum(),
            v6_networks: self
                .v6
                .iter()
                .map(|net| free(64u8.saturating_sub(net.bits())))
                .fold(0, u64::saturating_add),
        }
    }

    /// The digest of the normal form: SHA-256 over one record per prefix, ascending, each a byte 4 or 6, the
    /// first address in network order and the length. Only equal sets have the same digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut digester = Digester::default();
        self.iter().for_each(|prefix| digester.add(prefix));
        digester.finish()
    }
}

impl FromIterator<Prefix> for ThreatSet {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        prefixes.into_iter().map(Range::from).collect()
    }
}

impl FromIterator<Range> for ThreatSet {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match range {
                Range::V4(first, last) => v4.push((first, last)),
                Range::V6(first, last) => v6.push((first, last)),
            }
        }
        Self { v4: Family::from_ranges(v4), v6: Family::from_ranges(v6) }
    }
}

/// The size of a set, in the units in which the growth of feeds is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Prefixes of the normal form.
    pub entries: u64,
    /// IPv4 addresses.
    pub v4_addresses: u64,
    /// IPv6 networks of 64 bits; a longer prefix counts as one.
    pub v6_networks: u64,
}

/// SHA-256 of the normal form of a [`ThreatSet`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The text is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a digest is 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(DigestError),
        };
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() {
            return Err(DigestError);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

/// Computes the digest of a set that is read prefix by prefix in normal form.
pub(crate) struct Digester {
    context: Context,
    /// Pending records: hashing a few bytes at a time costs several times as much.
    records: Vec<u8>,
}

/// The number of bytes of records hashed at a time.
const TOGETHER: usize = 4096;

impl Default for Digester {
    fn default() -> Self {
        Self { context: Context::new(&SHA256), records: Vec::with_capacity(TOGETHER) }
    }
}

impl Digester {
    pub(crate) fn add(&mut self, prefix: Prefix) {
        match prefix {
            Prefix::V4(net) => {
                let mut record = [4; 6];
                record[1..5].copy_from_slice(&net.first().to_be_bytes());
                record[5] = net.bits();
                self.record(&record);
            }
            Prefix::V6(net) => {
                let mut record = [6; 18];
                record[1..17].copy_from_slice(&net.first().to_be_bytes());
                record[17] = net.bits();
                self.record(&record);
            }
        }
    }

    pub(crate) fn finish(mut self) -> Digest {
        self.context.update(&self.records);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.context.finish().as_ref());
        Digest(bytes)
    }

    fn record(&mut self, record: &[u8]) {
        if self.records.len() + record.len() > TOGETHER {
            self.context.update(&self.records);
            self.records.clear();
        }
        self.records.extend_from_slice(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> ThreatSet {
        text.split_whitespace().map(|part| crate::text::range(part.as_bytes()).unwrap()).collect()
    }

    fn show(set: &ThreatSet) -> String {
        set.iter().map(|prefix| prefix.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn sets_have_one_normal_form() {
        for (entries, form) in [
            ("", ""),
            ("1.2.3.4 1.2.3.5", "1.2.3.4/31"),
            ("1.2.3.5 1.2.3.6", "1.2.3.5 1.2.3.6"),
            ("1.2.3.0/24 1.2.3.7 1.2.3.0/25", "1.2.3.0/24"),
            ("::1 1.1.1.1 ::", "1.1.1.1 ::/127"),
            ("255.255.255.255 0.0.0.0", "0.0.0.0 255.255.255.255"),
            ("0.0.0.0/1 128.0.0.0/1", "0.0.0.0/0"),
        ] {
            let built = set(entries);
            assert_eq!(show(&built), form, "{entries}");
            assert_eq!(built, set(form.replace("0.0.0.0/0", entries).as_str()));
        }
    }

    #[test]
    fn an_exception_inside_a_prefix_splits_it() {
        for (a, b, difference) in [
            ("1.2.3.0/30", "1.2.3.1", "1.2.3.0 1.2.3.2/31"),
            ("1.2.3.0/30", "1.2.3.0/24", ""),
            ("1.2.3.0/30 9.9.9.9", "1.2.3.0/30", "9.9.9.9"),
            ("0.0.0.0/1 128.0.0.0/1", "255.255.255.255 0.0.0.0/1", &{
                let rest = (2..=32).map(|len| Net::around(!(1u32 << (32 - len)), len));
                rest.map(|net| Prefix::V4(net).to_string()).collect::<Vec<_>>().join(" ")
            }),
            ("2001:db8::/126", "2001:db8::2", "2001:db8::/127 2001:db8::3"),
        ] {
            assert_eq!(show(&set(a).difference(&set(b))), difference, "{a} - {b}");
        }
    }

    use crate::entry::Net;

    #[test]
    fn sizes_count_covered_addresses() {
        let size = set("1.0.0.0/24 9.9.9.9 2001:db8::/63 2001:db9::1").size();
        assert_eq!(size, Size { entries: 4, v4_addresses: 257, v6_networks: 3 });
        assert_eq!(set("0.0.0.0/1 128.0.0.0/1").size().v4_addresses, 1 << 32);
    }

    #[test]
    fn digests_depend_only_on_the_content() {
        assert_eq!(set("1.2.3.4 1.2.3.5").digest(), set("1.2.3.4/31").digest());
        assert_ne!(set("1.2.3.4").digest(), set("1.2.3.5").digest());
        assert_ne!(set("0.0.0.1").digest(), set("::1").digest());
        let digest = set("1.2.3.4").digest();
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("".parse::<Digest>(), Err(DigestError));
    }
}
