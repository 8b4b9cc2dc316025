//! Dependency cycles among files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::edges::Edge;
use super::source::FileId;

/// The dependencies by their source.
pub(super) struct Graph<'a> {
    after: BTreeMap<FileId, Vec<&'a Edge>>,
    files: usize,
}

impl<'a> Graph<'a> {
    pub(super) fn new(files: usize, edges: &'a [Edge]) -> Self {
        let mut after: BTreeMap<FileId, Vec<&Edge>> = BTreeMap::new();
        for edge in edges {
            after.entry(edge.from).or_default().push(edge);
        }
        Self { after, files }
    }

    fn after(&self, file: FileId) -> &[&'a Edge] {
        self.after.get(&file).map_or(&[], Vec::as_slice)
    }

    /// The strongly connected components, largest first.
    pub(super) fn components(&self) -> Vec<BTreeSet<FileId>> {
        let reach: Vec<BTreeSet<FileId>> = (0..self.files).map(|file| self.reached(file)).collect();
        let mut components: Vec<BTreeSet<FileId>> = Vec::new();
        for file in 0..self.files {
            if !reach[file].contains(&file)
                || components.iter().any(|component| component.contains(&file))
            {
                continue;
            }
            let both_ways = |other: &FileId| reach[*other].contains(&file);
            components.push(reach[file].iter().copied().filter(both_ways).collect());
        }
        components.sort_by_key(|component| std::cmp::Reverse(component.len()));
        components
    }

    /// The files reachable from this one.
    fn reached(&self, start: FileId) -> BTreeSet<FileId> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(file) = next.pop() {
            for edge in self.after(file) {
                if reached.insert(edge.to) {
                    next.push(edge.to);
                }
            }
        }
        reached
    }

    /// A shortest cycle of the component.
    pub(super) fn shortest(&self, component: &BTreeSet<FileId>) -> Vec<&'a Edge> {
        let cycles = component.iter().filter_map(|file| self.back_to(*file));
        cycles.min_by_key(Vec::len).unwrap_or_default()
    }

    /// The shortest path from a file back to it.
    fn back_to(&self, start: FileId) -> Option<Vec<&'a Edge>> {
        let mut came_by: BTreeMap<FileId, &Edge> = BTreeMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(file) = next.pop_front() {
            for edge in self.after(file) {
                if let std::collections::btree_map::Entry::Vacant(new) = came_by.entry(edge.to) {
                    new.insert(edge);
                    next.push_back(edge.to);
                }
            }
        }
        let mut cycle = vec![*came_by.get(&start)?];
        while let Some(first) = cycle.last().filter(|first| first.from != start) {
            cycle.push(came_by.get(&first.from)?);
        }
        cycle.reverse();
        Some(cycle)
    }
}
