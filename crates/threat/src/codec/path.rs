//! Finds the files that lead from one version of a list to another with the fewest bytes.

use std::collections::{BTreeMap, BTreeSet};

/// An available file. `V` identifies a version of the list: a revision or a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File<V> {
    /// The whole list.
    Snapshot {
        /// The resulting version.
        to: V,
        /// Its length.
        bytes: u64,
    },
    /// A change.
    Delta {
        /// The base.
        from: V,
        /// The resulting version.
        to: V,
        /// Its length.
        bytes: u64,
    },
}

impl<V: Copy> File<V> {
    fn to(&self) -> V {
        match *self {
            Self::Snapshot { to, .. } | Self::Delta { to, .. } => to,
        }
    }

    fn bytes(&self) -> u64 {
        match *self {
            Self::Snapshot { bytes, .. } | Self::Delta { bytes, .. } => bytes,
        }
    }
}

/// The files to fetch and apply in this order, with the smallest total size; of equal ones, the fewest files.
/// `None` if no files lead to `to`; an empty path if the host already has it. O(versions × files).
#[must_use]
pub fn cheapest<V: Copy + Ord>(from: Option<V>, to: V, files: &[File<V>]) -> Option<Vec<File<V>>> {
    // `None` is a host without a list: a snapshot is possible from everywhere, so from there.
    let mut open = BTreeSet::from([((0, 0), None)]);
    open.extend(from.map(|from| ((0, 0), Some(from))));
    let mut best: BTreeMap<Option<V>, (u64, u64)> =
        open.iter().map(|&(cost, at)| (at, cost)).collect();
    let mut came_by: BTreeMap<V, File<V>> = BTreeMap::new();
    while let Some((cost, at)) = open.pop_first() {
        if at == Some(to) {
            return Some(way_back(to, from, &came_by));
        }
        for file in files.iter().filter(|file| leads_on(file, at)) {
            let next = (cost.0.saturating_add(file.bytes()), cost.1 + 1);
            let known = best.get(&Some(file.to()));
            if known.is_some_and(|&known| known <= next) {
                continue;
            }
            if let Some(known) = best.insert(Some(file.to()), next) {
                open.remove(&(known, Some(file.to())));
            }
            came_by.insert(file.to(), *file);
            open.insert((next, Some(file.to())));
        }
    }
    None
}

fn leads_on<V: Copy + Ord>(file: &File<V>, at: Option<V>) -> bool {
    match file {
        File::Snapshot { .. } => at.is_none(),
        File::Delta { from, .. } => at == Some(*from),
    }
}

fn way_back<V: Copy + Ord>(to: V, from: Option<V>, came_by: &BTreeMap<V, File<V>>) -> Vec<File<V>> {
    let mut path = Vec::new();
    let mut at = Some(to);
    while let Some(file) = at.filter(|&at| Some(at) != from).and_then(|at| came_by.get(&at)) {
        path.push(*file);
        at = match file {
            File::Snapshot { .. } => None,
            File::Delta { from, .. } => Some(*from),
        };
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshot(to: u64, bytes: u64) -> File<u64> {
        File::Snapshot { to, bytes }
    }

    fn delta(from: u64, to: u64, bytes: u64) -> File<u64> {
        File::Delta { from, to, bytes }
    }

    #[test]
    fn the_smallest_download_is_chosen() {
        let files = [
            snapshot(1, 900),
            snapshot(3, 1000),
            delta(1, 2, 40),
            delta(2, 3, 40),
            delta(1, 3, 70),
            delta(3, 4, 50),
            delta(3, 2, 45),
        ];
        for (from, to, expected) in [
            (Some(3), 3, Some(vec![])),
            (Some(1), 3, Some(vec![delta(1, 3, 70)])),
            (Some(2), 4, Some(vec![delta(2, 3, 40), delta(3, 4, 50)])),
            (None, 3, Some(vec![snapshot(1, 900), delta(1, 3, 70)])),
            (Some(9), 1, Some(vec![snapshot(1, 900)])),
            (Some(3), 2, Some(vec![delta(3, 2, 45)])),
            (Some(1), 7, None),
        ] {
            assert_eq!(cheapest(from, to, &files), expected, "{from:?} to {to}");
        }
        let far = [snapshot(9, 100), delta(1, 9, 101)];
        assert_eq!(cheapest(Some(1), 9, &far), Some(vec![snapshot(9, 100)]));
        let equal = [delta(1, 2, 5), delta(2, 3, 5), delta(1, 3, 10)];
        assert_eq!(cheapest(Some(1), 3, &equal), Some(vec![delta(1, 3, 10)]));
    }

    proptest! {
        #[test]
        fn no_path_is_smaller(
            snapshots in prop::collection::vec((0u64..6, 0u64..100), 0..4),
            deltas in prop::collection::vec((0u64..6, 0u64..6, 0u64..60), 0..14),
            from in prop::option::of(0u64..6),
            to in 0u64..6,
        ) {
            let mut files: Vec<_> = snapshots.iter().map(|&(to, bytes)| snapshot(to, bytes)).collect();
            files.extend(deltas.iter().map(|&(from, to, bytes)| delta(from, to, bytes)));
            // Bellman and Ford, as an oracle.
            let mut sums = [None; 6];
            if let Some(from) = from {
                sums[from as usize] = Some(0);
            }
            for &(to, bytes) in &snapshots {
                let sum = &mut sums[to as usize];
                *sum = Some(sum.map_or(bytes, |sum: u64| sum.min(bytes)));
            }
            for _ in 0..6 {
                for &(from, to, bytes) in &deltas {
                    if let Some(sum) = sums[from as usize] {
                        let known = &mut sums[to as usize];
                        *known = Some(known.map_or(sum + bytes, |known| known.min(sum + bytes)));
                    }
                }
            }
            let path = cheapest(from, to, &files);
            let sum = path.as_ref().map(|path| path.iter().map(File::bytes).sum::<u64>());
            prop_assert_eq!(sum, sums[to as usize]);
        }
    }
}
