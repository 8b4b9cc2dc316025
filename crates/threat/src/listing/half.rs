//! The entries of one family, in compact form.

use crate::entry::{Confidence, Net};
use crate::set::Family;
use crate::word::Word;

/// The age of an entry if it is unknown.
pub(super) const UNKNOWN: u32 = 0;
/// The end of an entry that has none.
pub(super) const NEVER: u32 = u32::MAX;

/// Entries of one family, ascending by prefix, each prefix once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Half<T> {
    items: Vec<Item<T>>,
    /// The expiry of each entry; empty if no entry has one.
    ends: Vec<u32>,
}

/// Without a [`Net`] inside, so that its padding is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item<T> {
    start: T,
    since: u32,
    len: u8,
    confidence: Confidence,
}

/// An entry, unpacked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<T> {
    pub(super) net: Net<T>,
    pub(super) confidence: Confidence,
    /// Unix seconds, or [`UNKNOWN`].
    pub(super) since: u32,
    /// Unix seconds, or [`NEVER`].
    pub(super) until: u32,
}

impl<T> Default for Half<T> {
    fn default() -> Self {
        Self { items: Vec::new(), ends: Vec::new() }
    }
}

impl<T: Word> Half<T> {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self { items: Vec::with_capacity(entries), ends: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds an entry behind the last one.
    pub(super) fn push(&mut self, row: Row<T>) {
        let Row { net, confidence, since, until } = row;
        if until != NEVER || !self.ends.is_empty() {
            self.ends.resize(self.items.len(), NEVER);
            self.ends.push(until);
        }
        self.items.push(Item { start: net.first(), since, len: net.bits(), confidence });
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<T>> + '_ {
        (0..self.items.len()).map(|at| self.row(at))
    }

    pub(super) fn ends(&self) -> impl Iterator<Item = u32> + '_ {
        self.ends.iter().copied()
    }

    pub(super) fn find(&self, net: Net<T>) -> Option<Row<T>> {
        let wanted = (net.first(), net.bits());
        let at = self.items.binary_search_by(|item| (item.start, item.len).cmp(&wanted)).ok()?;
        Some(self.row(at))
    }

    pub(super) fn holding(&self, address: T) -> impl Iterator<Item = Row<T>> + '_ {
        (0..=T::BITS).filter_map(move |len| self.find(Net::around(address, len)))
    }

    pub(super) fn family(&self, least: Confidence) -> Family<T> {
        let enough = self.items.iter().filter(|item| item.confidence >= least);
        Family::from_sorted(enough.map(|item| {
            let net = Net::around(item.start, item.len);
            (net.first(), net.last())
        }))
    }

    pub(super) fn in_force(&self, now: u64) -> Self {
        self.rows().filter(|row| row.until == NEVER || u64::from(row.until) > now).collect()
    }

    fn row(&self, at: usize) -> Row<T> {
        let Item { start, since, len, confidence } = self.items[at];
        let until = self.ends.get(at).copied().unwrap_or(NEVER);
        // A stored prefix has no host bits, so `around` keeps it as it is.
        Row { net: Net::around(start, len), confidence, since, until }
    }
}

/// From rows that ascend.
impl<T: Word> FromIterator<Row<T>> for Half<T> {
    fn from_iter<I: IntoIterator<Item = Row<T>>>(rows: I) -> Self {
        let rows = rows.into_iter();
        let mut half = Self::with_capacity(rows.size_hint().0);
        rows.for_each(|row| half.push(row));
        half.items.shrink_to_fit();
        half.ends.shrink_to_fit();
        half
    }
}

/// An entry while it is collected. Compared by prefix first, so that equal ones are adjacent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fresh<T> {
    start: T,
    len: u8,
    confidence: Confidence,
    until: u32,
}

impl<T: Word> Fresh<T> {
    pub(super) fn new(net: Net<T>, confidence: Confidence, until: u32) -> Self {
        Self { start: net.first(), len: net.bits(), confidence, until }
    }
}

/// Collected entries in order, without duplicates, with the highest confidence and the latest expiry.
pub(super) fn settled<T: Word>(mut fresh: Vec<Fresh<T>>) -> Half<T> {
    if !fresh.is_sorted() {
        fresh.sort_unstable();
    }
    fresh.dedup_by(|later, kept| {
        let same = (later.start, later.len) == (kept.start, kept.len);
        if same {
            kept.confidence = later.confidence.max(kept.confidence);
            kept.until = later.until.max(kept.until);
        }
        same
    });
    let ends = if fresh.iter().any(|one| one.until != NEVER) {
        fresh.iter().map(|one| one.until).collect()
    } else {
        Vec::new()
    };
    let item =
        |Fresh { start, len, confidence, .. }| Item { start, since: UNKNOWN, len, confidence };
    let mut items: Vec<Item<T>> = fresh.into_iter().map(item).collect();
    items.shrink_to_fit();
    Half { items, ends }
}

/// Rows of two ascending lists, with rows of the same prefix paired.
pub(super) fn both<T: Word>(
    a: impl Iterator<Item = Row<T>>,
    b: impl Iterator<Item = Row<T>>,
) -> impl Iterator<Item = (Option<Row<T>>, Option<Row<T>>)> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (None, None) => None,
        (Some(left), Some(right)) if left.net == right.net => Some((a.next(), b.next())),
        (Some(left), Some(right)) if left.net > right.net => Some((None, b.next())),
        (Some(_), _) => Some((a.next(), None)),
        (None, Some(_)) => Some((None, b.next())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_small() {
        assert_eq!((size_of::<Item<u32>>(), size_of::<Fresh<u32>>()), (12, 12));
        assert_eq!((size_of::<Item<u128>>(), size_of::<Fresh<u128>>()), (32, 32));
    }
}
