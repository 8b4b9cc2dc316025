//! Decides which prefixes of a set become hosts in the kernel's hash set, and which stay intervals.
//!
//! A hash set needs one probe per look-up but only contains single addresses; an interval set contains
//! prefixes, with a higher cost per element and a second look-up per packet. Short blocks (most prefixes of
//! real lists are /31) are cheaper as hosts.

mod moves;

use crate::entry::{Net, Prefix};
use crate::set::{Family, ThreatSet};
use crate::word::Word;

pub use moves::{Moves, MovesBuilder};

/// The memory of an element in the kernel, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// One address in the hash set.
    pub host: u64,
    /// One prefix in the interval set.
    pub interval: u64,
}

impl Costs {
    /// The costs in nftables sets, as far as known.
    pub const KERNEL: Self = Self { host: 88, interval: 200 };
}

/// The prefix length from which prefixes are expanded into their hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expansion {
    /// IPv4 prefixes of at least this many bits are expanded; 32 expands none.
    pub v4_from: u8,
    /// IPv6 prefixes of at least this many bits are expanded; 128 expands none.
    pub v6_from: u8,
}

/// At most 2⁷ hosts result from one prefix.
const WIDEST_EXPANDED: u8 = 7;

impl Expansion {
    /// No prefix is expanded.
    pub const NONE: Self = Self { v4_from: 32, v6_from: 128 };

    /// The expansion of `set` that costs the fewest bytes; of equal ones, the one with the fewest intervals.
    /// Only /25 and longer (IPv6: /121) are considered.
    #[must_use]
    pub fn cheapest(set: &ThreatSet, costs: Costs) -> Self {
        Tally::of(set).cheapest(costs)
    }
}

/// The number of prefixes of a list, by family and length: all that is needed to choose an expansion, for
/// streamed lists.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    v4: Lengths<u32>,
    v6: Lengths<u128>,
}

impl Tally {
    fn of(set: &ThreatSet) -> Self {
        Self { v4: Lengths::of(set.v4()), v6: Lengths::of(set.v6()) }
    }

    /// Counts one more prefix.
    pub fn add(&mut self, prefix: Prefix) {
        match prefix {
            Prefix::V4(net) => self.v4.add(net),
            Prefix::V6(net) => self.v6.add(net),
        }
    }

    /// Like [`Expansion::cheapest`] of the list.
    #[must_use]
    pub fn cheapest(&self, costs: Costs) -> Expansion {
        Expansion {
            v4_from: cheapest_length(&self.v4, costs),
            v6_from: cheapest_length(&self.v6, costs),
        }
    }

    /// Like [`Counts::of`] of the list.
    #[must_use]
    pub fn counts(&self, expansion: Expansion) -> Counts {
        let (v4_hosts, v4_intervals) = self.v4.elements(expansion.v4_from);
        let (v6_hosts, v6_intervals) = self.v6.elements(expansion.v6_from);
        Counts { v4_hosts, v4_intervals, v6_hosts, v6_intervals }
    }
}

/// The number of elements of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// IPv4 addresses in the hash set.
    pub v4_hosts: u64,
    /// IPv4 prefixes in the interval set.
    pub v4_intervals: u64,
    /// IPv6 addresses in the hash set.
    pub v6_hosts: u64,
    /// IPv6 prefixes in the interval set.
    pub v6_intervals: u64,
}

impl Counts {
    /// The elements of `set` under `expansion`.
    #[must_use]
    pub fn of(set: &ThreatSet, expansion: Expansion) -> Self {
        Tally::of(set).counts(expansion)
    }

    /// Counts the elements of one more prefix, for streamed lists.
    pub fn add(&mut self, prefix: Prefix, expansion: Expansion) {
        let (hosts, intervals) = match prefix {
            Prefix::V4(_) => (&mut self.v4_hosts, &mut self.v4_intervals),
            Prefix::V6(_) => (&mut self.v6_hosts, &mut self.v6_intervals),
        };
        for element in elements(prefix, expansion) {
            *(if element.is_host() { &mut *hosts } else { &mut *intervals }) += 1;
        }
    }

    /// Bytes in the kernel.
    #[must_use]
    pub fn bytes(&self, costs: Costs) -> u64 {
        let hosts = self.v4_hosts.saturating_add(self.v6_hosts).saturating_mul(costs.host);
        let intervals = (self.v4_intervals + self.v6_intervals).saturating_mul(costs.interval);
        hosts.saturating_add(intervals)
    }
}

/// The elements that a prefix becomes: itself, or each of its hosts.
#[must_use]
pub fn elements(prefix: Prefix, expansion: Expansion) -> Elements {
    let (expanded, free) = match prefix {
        Prefix::V4(net) => (becomes_hosts(net, expansion.v4_from), net.free_bits()),
        Prefix::V6(net) => (becomes_hosts(net, expansion.v6_from), net.free_bits()),
    };
    match (expanded, prefix) {
        (false, whole) => Elements { first: whole, next: 0, end: 1 },
        // An expanded prefix has at most 2⁷ hosts.
        (true, Prefix::V4(net)) => {
            Elements { first: Prefix::V4(Net::host(net.first())), next: 0, end: 1 << free }
        }
        (true, Prefix::V6(net)) => {
            Elements { first: Prefix::V6(Net::host(net.first())), next: 0, end: 1 << free }
        }
    }
}

/// The iterator of [`elements`].
#[derive(Debug, Clone)]
pub struct Elements {
    first: Prefix,
    next: u8,
    end: u8,
}

impl Elements {
    /// No elements.
    pub(crate) fn none() -> Self {
        Self { first: Prefix::V4(Net::host(0)), next: 0, end: 0 }
    }
}

impl Iterator for Elements {
    type Item = Prefix;

    fn next(&mut self) -> Option<Prefix> {
        let more = self.next;
        if more == self.end {
            return None;
        }
        self.next += 1;
        Some(match self.first {
            whole if more == 0 => whole,
            Prefix::V4(net) => Prefix::V4(Net::host(net.first() | u32::from(more))),
            Prefix::V6(net) => Prefix::V6(Net::host(net.first() | u128::from(more))),
        })
    }
}

/// The hosts of one family under an expansion, ascending, one at a time.
pub fn hosts<T: Word>(family: &Family<T>, from: u8) -> impl Iterator<Item = T> + '_ {
    family.iter().filter(move |net| becomes_hosts(*net, from)).flat_map(|net| {
        (0..1u128 << net.free_bits()).map(move |more| net.first() | T::truncated(more))
    })
}

/// The intervals of one family under an expansion, ascending.
pub fn intervals<T: Word>(family: &Family<T>, from: u8) -> impl Iterator<Item = Net<T>> + '_ {
    family.iter().filter(move |net| !becomes_hosts(*net, from))
}

/// The elements that differ between two ascending plans: those only in `before`, then those only in `after`.
///
/// Elements in both are never touched, so a packet from a listed peer always meets its element.
pub fn changes<E: Ord>(
    before: impl Iterator<Item = E>,
    after: impl Iterator<Item = E>,
) -> (Vec<E>, Vec<E>) {
    let (mut before, mut after) = (before.peekable(), after.peekable());
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    loop {
        match (before.peek(), after.peek()) {
            (Some(old), Some(fresh)) if old == fresh => {
                before.next();
                after.next();
            }
            (Some(old), Some(fresh)) if old > fresh => new.extend(after.next()),
            (Some(_), _) => gone.extend(before.next()),
            (None, Some(_)) => new.extend(after.next()),
            (None, None) => return (gone, new),
        }
    }
}

fn becomes_hosts<T: Word>(net: Net<T>, from: u8) -> bool {
    net.bits() >= from && net.free_bits() <= WIDEST_EXPANDED || net.is_host()
}

/// The number of prefixes by free bits.
#[derive(Debug, Clone)]
struct Lengths<T> {
    by_free_bits: [u64; 129],
    family: std::marker::PhantomData<T>,
}

impl<T> Default for Lengths<T> {
    fn default() -> Self {
        Self { by_free_bits: [0; 129], family: std::marker::PhantomData }
    }
}

impl<T: Word> Lengths<T> {
    fn of(family: &Family<T>) -> Self {
        let mut lengths = Self::default();
        family.iter().for_each(|net| lengths.add(net));
        lengths
    }

    fn add(&mut self, net: Net<T>) {
        self.by_free_bits[usize::from(net.free_bits())] += 1;
    }

    /// Hosts and intervals if prefixes of `from` bits and more are expanded.
    fn elements(&self, from: u8) -> (u64, u64) {
        let expanded = usize::from(T::BITS.saturating_sub(from).min(WIDEST_EXPANDED));
        let (short, wide) = self.by_free_bits.split_at(expanded + 1);
        let hosts = short.iter().enumerate().map(|(free, count)| count << free).sum();
        (hosts, wide.iter().sum())
    }
}

fn cheapest_length<T: Word>(lengths: &Lengths<T>, costs: Costs) -> u8 {
    let price = |from: u8| {
        let (hosts, intervals) = lengths.elements(from);
        let bytes = hosts.saturating_mul(costs.host);
        (bytes.saturating_add(intervals.saturating_mul(costs.interval)), intervals)
    };
    // The longest length is preferred among equals, so that a plan does not change without reason.
    let candidates = (T::BITS - WIDEST_EXPANDED..=T::BITS).rev();
    candidates.min_by_key(|&from| price(from)).unwrap_or(T::BITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(text: &str) -> ThreatSet {
        text.split_whitespace().map(|part| part.parse::<Prefix>().unwrap()).collect()
    }

    #[test]
    fn short_blocks_are_expanded_where_that_is_cheaper() {
        let costs = Costs { host: 64, interval: 200 };
        for (entries, v4_from) in [
            ("", 32),
            ("1.1.1.1", 32),
            ("1.1.1.2/31", 31),
            ("1.1.1.4/30", 32),
            // Intervals cost 200, so at most three hosts are cheaper.
            ("1.1.1.2/31 1.1.1.4/30", 31),
            ("1.1.0.0/16", 32),
        ] {
            assert_eq!(Expansion::cheapest(&set(entries), costs).v4_from, v4_from, "{entries}");
        }
        let generous = Costs { host: 1, interval: 200 };
        assert_eq!(
            Expansion::cheapest(&set("1.1.1.0/25 2001:db8::/121"), generous),
            Expansion { v4_from: 25, v6_from: 121 }
        );
    }

    #[test]
    fn only_what_differs_changes() {
        let (gone, new) = changes([1, 2, 5].into_iter(), [2, 3, 5, 6].into_iter());
        assert_eq!((gone, new), (vec![1], vec![3, 6]));
    }

    proptest! {
        #[test]
        fn plans_cover_the_set_and_counts_are_right(
            parts: Vec<(u32, u8)>,
            v4_from in 20u8..=32,
        ) {
            let set: ThreatSet =
                parts.iter().map(|&(a, len)| Prefix::V4(Net::around(a, 20 + len % 13))).collect();
            let hosts: Vec<u32> = hosts(set.v4(), v4_from).collect();
            let intervals: Vec<_> = intervals(set.v4(), v4_from).collect();
            let counts = Counts::of(&set, Expansion { v4_from, v6_from: 128 });
            prop_assert_eq!(hosts.len() as u64, counts.v4_hosts);
            prop_assert_eq!(intervals.len() as u64, counts.v4_intervals);
            prop_assert!(hosts.is_sorted());
            let (mut counted, mut tally) = (Counts::default(), Tally::default());
            let expansion = Expansion { v4_from, v6_from: 128 };
            set.iter().for_each(|prefix| {
                counted.add(prefix, expansion);
                tally.add(prefix);
            });
            prop_assert_eq!((counted, tally.counts(expansion)), (counts, counts));
            let costs = Costs { host: 64, interval: 200 };
            prop_assert_eq!(tally.cheapest(costs), Expansion::cheapest(&set, costs));
            let both = hosts.into_iter().map(Net::host).chain(intervals).map(Prefix::V4);
            prop_assert_eq!(both.collect::<ThreatSet>(), set);
        }
    }
}
