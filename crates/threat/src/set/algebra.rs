//! Union, difference and intersection of ascending, disjoint ranges, one range at a time.

use std::iter;

use crate::word::Word;

/// Ascending ranges with overlapping and adjacent ones joined.
pub(super) fn joined<T: Word>(
    ranges: impl Iterator<Item = (T, T)>,
) -> impl Iterator<Item = (T, T)> {
    let mut ranges = ranges.peekable();
    iter::from_fn(move || {
        let (first, mut last) = ranges.next()?;
        while let Some((_, next_last)) =
            ranges.next_if(|&(next, _)| next <= last || next - last == T::ONE)
        {
            last = last.max(next_last);
        }
        Some((first, last))
    })
}

/// The ranges of both, ascending by their first address; they may overlap.
pub(super) fn merged<T: Word>(
    a: impl Iterator<Item = (T, T)>,
    b: impl Iterator<Item = (T, T)>,
) -> impl Iterator<Item = (T, T)> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(left), Some(right)) if right < left => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    })
}

/// What of `a` is not in `b`.
pub(super) fn without<T: Word>(
    mut a: impl Iterator<Item = (T, T)>,
    b: impl Iterator<Item = (T, T)>,
) -> impl Iterator<Item = (T, T)> {
    let mut b = b.peekable();
    let mut rest: Option<(T, T)> = None;
    iter::from_fn(move || {
        loop {
            let (first, last) = rest.take().or_else(|| a.next())?;
            while b.next_if(|&(_, cut_last)| cut_last < first).is_some() {}
            let Some(&(cut_first, cut_last)) = b.peek().filter(|(cut_first, _)| *cut_first <= last)
            else {
                return Some((first, last));
            };
            if cut_last < last {
                rest = Some((cut_last + T::ONE, last));
            }
            if cut_first > first {
                return Some((first, cut_first - T::ONE));
            }
        }
    })
}

/// The parts that are in both.
pub(super) fn common<T: Word>(
    a: impl Iterator<Item = (T, T)>,
    b: impl Iterator<Item = (T, T)>,
) -> impl Iterator<Item = (T, T)> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    iter::from_fn(move || {
        loop {
            let (&left, &right) = (a.peek()?, b.peek()?);
            if left.1 <= right.1 {
                a.next();
            } else {
                b.next();
            }
            let (first, last) = (left.0.max(right.0), left.1.min(right.1));
            if first <= last {
                return Some((first, last));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use crate::set::Family;

    /// A family whose addresses stay below 256, and the same as plain numbers.
    fn small() -> impl Strategy<Value = (Family<u32>, BTreeSet<u32>)> {
        prop::collection::vec((0u32..256, 0u32..9), 0..20).prop_map(|parts| {
            let ranges: Vec<_> = parts.iter().map(|&(first, more)| (first, first + more)).collect();
            let plain = ranges.iter().flat_map(|&(first, last)| first..=last).collect();
            (Family::from_ranges(ranges), plain)
        })
    }

    fn plain(family: &Family<u32>) -> BTreeSet<u32> {
        family.iter().flat_map(|net| net.first()..=net.last()).collect()
    }

    proptest! {
        #[test]
        fn operations_agree_with_simple_sets((a, plain_a) in small(), (b, plain_b) in small()) {
            let cases = [
                (a.clone(), plain_a.clone()),
                (a.union(&b), &plain_a | &plain_b),
                (a.difference(&b), &plain_a - &plain_b),
                (a.intersection(&b), &plain_a & &plain_b),
            ];
            for (family, expected) in cases {
                prop_assert_eq!(&plain(&family), &expected);
                // The only normal form, however the set was created.
                let again = Family::from_ranges(expected.iter().map(|&one| (one, one)).collect());
                prop_assert_eq!(&family, &again);
                for address in 0..300 {
                    prop_assert_eq!(family.entry(address).is_some(), expected.contains(&address));
                }
            }
        }

        #[test]
        fn both_ends_of_the_address_space_are_handled(a: Vec<(u128, u128)>, b: Vec<(u128, u128)>) {
            let ends = |parts: Vec<(u128, u128)>| {
                let low = parts.iter().map(|(x, y)| (*x % 50, *y % 50));
                let high = parts.iter().map(|(x, y)| (u128::MAX - x % 50, u128::MAX - y % 50));
                Family::from_ranges(low.chain(high).map(|(x, y)| (x.min(y), x.max(y))).collect())
            };
            let (a, b) = (ends(a), ends(b));
            prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
            prop_assert_eq!(a.difference(&b).intersection(&b), Family::default());
            prop_assert_eq!(a.difference(&b).union(&b), a.union(&b));
        }
    }
}
