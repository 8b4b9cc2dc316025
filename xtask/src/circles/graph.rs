//! Dependency cycles among files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::arrows::Arrow;
use super::source::FileId;

/// The dependencies by their source.
pub(super) struct Graph<'a> {
    after: BTreeMap<FileId, Vec<&'a Arrow>>,
    files: usize,
}

impl<'a> Graph<'a> {
    pub(super) fn new(files: usize, arrows: &'a [Arrow]) -> Self {
        let mut after: BTreeMap<FileId, Vec<&Arrow>> = BTreeMap::new();
        for arrow in arrows {
            after.entry(arrow.from).or_default().push(arrow);
        }
        Self { after, files }
    }

    fn after(&self, file: FileId) -> &[&'a Arrow] {
        self.after.get(&file).map_or(&[], Vec::as_slice)
    }

    /// The strongly connected components, largest first.
    pub(super) fn knots(&self) -> Vec<BTreeSet<FileId>> {
        let reach: Vec<BTreeSet<FileId>> = (0..self.files).map(|file| self.reached(file)).collect();
        let mut knots: Vec<BTreeSet<FileId>> = Vec::new();
        for file in 0..self.files {
            if !reach[file].contains(&file) || knots.iter().any(|knot| knot.contains(&file)) {
                continue;
            }
            let both_ways = |other: &FileId| reach[*other].contains(&file);
            knots.push(reach[file].iter().copied().filter(both_ways).collect());
        }
        knots.sort_by_key(|knot| std::cmp::Reverse(knot.len()));
        knots
    }

    /// The files reachable from this one.
    fn reached(&self, start: FileId) -> BTreeSet<FileId> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(file) = next.pop() {
            for arrow in self.after(file) {
                if reached.insert(arrow.to) {
                    next.push(arrow.to);
                }
            }
        }
        reached
    }

    /// A shortest cycle of the component.
    pub(super) fn shortest(&self, knot: &BTreeSet<FileId>) -> Vec<&'a Arrow> {
        let circles = knot.iter().filter_map(|file| self.back_to(*file));
        circles.min_by_key(Vec::len).unwrap_or_default()
    }

    /// The shortest path from a file back to it.
    fn back_to(&self, start: FileId) -> Option<Vec<&'a Arrow>> {
        let mut came_by: BTreeMap<FileId, &Arrow> = BTreeMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(file) = next.pop_front() {
            for arrow in self.after(file) {
                if let std::collections::btree_map::Entry::Vacant(new) = came_by.entry(arrow.to) {
                    new.insert(arrow);
                    next.push_back(arrow.to);
                }
            }
        }
        let mut circle = vec![*came_by.get(&start)?];
        while let Some(first) = circle.last().filter(|first| first.from != start) {
            circle.push(came_by.get(&first.from)?);
        }
        circle.reverse();
        Some(circle)
    }
}
