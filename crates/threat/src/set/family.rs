//! The addresses of one family in a set.

use super::algebra;
use crate::entry::{Net, split};
use crate::word::Word;

/// Addresses of one family in normal form: the fewest disjoint prefixes, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Family<T> {
    // Two vectors, since pairs would be padded from 5 to 8 and from 17 to 32 bytes.
    starts: Vec<T>,
    lens: Vec<u8>,
}

impl<T: Word> Family<T> {
    /// The set of all addresses of `ranges` (first, last), which may overlap, in any order; a range whose
    /// first is above its last is empty.
    #[must_use]
    pub fn from_ranges(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        Self::from_sorted(ranges.into_iter().filter(|(first, last)| first <= last))
    }

    /// The set of all addresses of `ranges`, which ascend by their first address.
    pub(crate) fn from_sorted(ranges: impl Iterator<Item = (T, T)>) -> Self {
        let mut builder = FamilyBuilder::with_capacity(ranges.size_hint().0);
        ranges.for_each(|(first, last)| builder.push(first, last));
        builder.finish()
    }

    /// How many prefixes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether no address is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The prefixes, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Net<T>> + Clone + '_ {
        // A stored prefix has no host bits, so `around` keeps it as it is.
        self.starts.iter().zip(&self.lens).map(|(&start, &len)| Net::around(start, len))
    }

    /// The prefixes without the first `skipped`, ascending; O(1) for any number.
    pub fn iter_from(&self, skipped: usize) -> impl ExactSizeIterator<Item = Net<T>> + '_ {
        let at = skipped.min(self.len());
        let left = self.starts[at..].iter().zip(&self.lens[at..]);
        left.map(|(&start, &len)| Net::around(start, len))
    }

    /// The maximal ranges (first, last), ascending; neither overlapping nor adjacent.
    pub fn ranges(&self) -> impl Iterator<Item = (T, T)> + '_ {
        algebra::joined(self.iter().map(|net| (net.first(), net.last())))
    }

    /// The prefix that contains `address`.
    #[must_use]
    pub fn entry(&self, address: T) -> Option<Net<T>> {
        let before = self.starts.partition_point(|&start| start <= address);
        let at = before.checked_sub(1)?;
        let net = Net::around(self.starts[at], self.lens[at]);
        (address <= net.last()).then_some(net)
    }

    /// The addresses in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_sorted(algebra::merged(self.ranges(), other.ranges()))
    }

    /// The addresses in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self::from_sorted(algebra::without(self.ranges(), other.ranges()))
    }

    /// The addresses in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::from_sorted(algebra::common(self.ranges(), other.ranges()))
    }
}

/// Builds a family from ranges in ascending order of their first address; keeps one range at a time.
pub(crate) struct FamilyBuilder<T> {
    family: Family<T>,
    open: Option<(T, T)>,
}

impl<T: Word> FamilyBuilder<T> {
    pub(crate) fn with_capacity(prefixes: usize) -> Self {
        let (starts, lens) = (Vec::with_capacity(prefixes), Vec::with_capacity(prefixes));
        Self { family: Family { starts, lens }, open: None }
    }

    pub(crate) fn push(&mut self, first: T, last: T) {
        if let Some((_, open_last)) = &mut self.open
            && (first <= *open_last || first - *open_last == T::ONE)
        {
            *open_last = last.max(*open_last);
            return;
        }
        self.close();
        self.open = Some((first, last));
    }

    pub(crate) fn finish(mut self) -> Family<T> {
        self.close();
        self.family
    }

    fn close(&mut self) {
        let Some((first, last)) = self.open.take() else { return };
        split(first, last, |net| {
            self.family.starts.push(net.first());
            self.family.lens.push(net.bits());
        });
    }
}
