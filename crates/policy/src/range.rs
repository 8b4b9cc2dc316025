//! Sets of addresses as sorted, disjoint ranges: union, complement, membership.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Addresses `first..=last` of one family; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AddressRange {
    /// IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

impl From<IpNet> for AddressRange {
    fn from(net: IpNet) -> Self {
        match net {
            IpNet::V4(net) => Self::V4(net.network(), net.broadcast()),
            IpNet::V6(net) => Self::V6(net.network(), net.broadcast()),
        }
    }
}

impl From<IpAddr> for AddressRange {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address, address),
            IpAddr::V6(address) => Self::V6(address, address),
        }
    }
}

impl AddressRange {
    /// Whether `address` is in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(first, last), IpAddr::V4(address)) => (first..=last).contains(&&address),
            (Self::V6(first, last), IpAddr::V6(address)) => (first..=last).contains(&&address),
            _ => false,
        }
    }

    /// The address of a range with only one.
    #[must_use]
    pub fn single(&self) -> Option<IpAddr> {
        match self {
            Self::V4(first, last) => (first == last).then_some(IpAddr::V4(*first)),
            Self::V6(first, last) => (first == last).then_some(IpAddr::V6(*first)),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(first, last) if first == last => write!(f, "{first}"),
            Self::V6(first, last) if first == last => write!(f, "{first}"),
            Self::V4(first, last) => write!(f, "{first}-{last}"),
            Self::V6(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

/// A set of addresses of both families. Invariant: each list is sorted, its ranges disjoint and not
/// adjacent, so equal sets are equal values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct RangeSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl RangeSet {
    /// No address.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Every address of both families.
    #[must_use]
    pub fn everything() -> Self {
        Self { v4: vec![(0, u32::MAX)], v6: vec![(0, u128::MAX)] }
    }

    /// Whether no address is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether `address` is in the set.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => member(&self.v4, u32::from(address)),
            IpAddr::V6(address) => member(&self.v6, u128::from(address)),
        }
    }

    /// The addresses that are in either set.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.v4.extend(&other.v4);
        self.v6.extend(&other.v6);
        Self { v4: normalised(self.v4), v6: normalised(self.v6) }
    }

    /// The addresses that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.complement().union(&other.complement()).complement()
    }

    /// The addresses that are in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.complement().union(other).complement()
    }

    /// The addresses that are not in the set.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self { v4: gaps(&self.v4), v6: gaps(&self.v6) }
    }

    /// The ranges, IPv4 first, ascending.
    pub fn iter(&self) -> impl Iterator<Item = AddressRange> + '_ {
        let v4 = self.v4.iter().map(|&(a, b)| AddressRange::V4(a.into(), b.into()));
        let v6 = self.v6.iter().map(|&(a, b)| AddressRange::V6(a.into(), b.into()));
        v4.chain(v6)
    }
}

impl FromIterator<AddressRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = AddressRange>>(ranges: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match range {
                AddressRange::V4(first, last) => v4.push((first.into(), last.into())),
                AddressRange::V6(first, last) => v6.push((first.into(), last.into())),
            }
        }
        Self { v4: normalised(v4), v6: normalised(v6) }
    }
}

impl FromIterator<IpNet> for RangeSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        nets.into_iter().map(AddressRange::from).collect()
    }
}

impl FromIterator<IpAddr> for RangeSet {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        addresses.into_iter().map(AddressRange::from).collect()
    }
}

/// The common interface of the two integer widths.
trait Scalar: Copy + Ord {
    const MIN: Self;
    const MAX: Self;
    fn above(self) -> Option<Self>;
    fn below(self) -> Option<Self>;
}

macro_rules! scalar {
    ($type:ty) => {
        impl Scalar for $type {
            const MIN: Self = <$type>::MIN;
            const MAX: Self = <$type>::MAX;
            fn above(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn below(self) -> Option<Self> {
                self.checked_sub(1)
            }
        }
    };
}
scalar!(u32);
scalar!(u128);

fn member<T: Scalar>(ranges: &[(T, T)], value: T) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= value);
    after > 0 && value <= ranges[after - 1].1
}

fn normalised<T: Scalar>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(previous) if previous.1.above().is_none_or(|next| first <= next) => {
                previous.1 = previous.1.max(last);
            }
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn gaps<T: Scalar>(ranges: &[(T, T)]) -> Vec<(T, T)> {
    let mut free = Vec::with_capacity(ranges.len() + 1);
    let mut next = Some(T::MIN);
    for &(first, last) in ranges {
        if let (Some(start), Some(end)) = (next, first.below())
            && start <= end
        {
            free.push((start, end));
        }
        next = last.above();
    }
    if let Some(start) = next {
        free.push((start, T::MAX));
    }
    free
}

/// The peers of a bound rule. "Any" is an explicit value: an empty set matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressMatch {
    /// Every address of either family.
    Any,
    /// These addresses.
    Only(RangeSet),
}

impl AddressMatch {
    /// Whether `address` matches.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Only(set) => set.contains(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(text: &str) -> RangeSet {
        text.split_whitespace().map(|net| net.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn adjacent_and_overlapping_ranges_become_one() {
        assert_eq!(set("10.0.0.0/25 10.0.0.128/25 10.0.0.7/32"), set("10.0.0.0/24"));
        assert_eq!(set("0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1"), RangeSet::everything());
    }

    #[test]
    fn the_complement_at_the_ends_of_the_address_space() {
        assert_eq!(RangeSet::empty().complement(), RangeSet::everything());
        assert_eq!(RangeSet::everything().complement(), RangeSet::empty());
    }

    fn arbitrary_set() -> impl Strategy<Value = RangeSet> {
        let v4 = proptest::collection::vec((0u8..16, 0u8..16), 0..5);
        let v6 = proptest::collection::vec((0u8..16, 0u8..16), 0..5);
        (v4, v6).prop_map(|(v4, v6)| {
            let v4 = v4.into_iter().map(|(a, b)| {
                AddressRange::V4(u32::from(a.min(b)).into(), u32::from(a.max(b)).into())
            });
            let v6 = v6.into_iter().map(|(a, b)| {
                AddressRange::V6(u128::from(a.min(b)).into(), u128::from(a.max(b)).into())
            });
            v4.chain(v6).collect()
        })
    }

    proptest! {
        #[test]
        fn set_operations_agree_with_membership(a in arbitrary_set(), b in arbitrary_set(), probe in 0u8..18) {
            for address in [
                IpAddr::V4(u32::from(probe).into()),
                IpAddr::V6(u128::from(probe).into()),
            ] {
                let (in_a, in_b) = (a.contains(address), b.contains(address));
                prop_assert_eq!(a.clone().union(&b).contains(address), in_a || in_b);
                prop_assert_eq!(a.intersection(&b).contains(address), in_a && in_b);
                prop_assert_eq!(a.difference(&b).contains(address), in_a && !in_b);
                prop_assert_eq!(a.complement().contains(address), !in_a);
            }
            prop_assert_eq!(a.complement().complement(), a);
        }
    }
}
