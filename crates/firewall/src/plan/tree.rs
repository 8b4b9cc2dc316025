//! Splits many boxes, so that a packet is only compared with few of them.
//!
//! A look-up in an interval set of several fields processes all its elements (`nft_set_pipapo.c`: bit vectors
//! as long as the set). Above [`LEAF`] boxes, a few comparisons of its address and port therefore first lead
//! a packet to a set with only the boxes near it.

use super::boxes::RuleBox;

/// Boxes of one set. With fewer, there would be more comparisons; with more, longer vectors.
pub(crate) const LEAF: usize = 48;
/// Branches of a fork.
const WAYS: usize = 4;
/// Forks above a leaf. The kernel refuses jumps that are nested more than 16 deep, and there are some before
/// and after.
const MAX_DEPTH: usize = 7;

/// The dimension by which a fork branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    Address,
    Service,
}

impl Axis {
    const BOTH: [Self; 2] = [Self::Address, Self::Service];

    fn of(self, flat: &RuleBox) -> (u128, u128) {
        match self {
            Self::Address => flat.addresses,
            Self::Service => (flat.services.0.into(), flat.services.1.into()),
        }
    }

    /// The part of a box between two bounds, both inclusive; `None` if it has none there.
    fn clip(self, flat: &RuleBox, (first, last): (u128, u128)) -> Option<RuleBox> {
        let (from, to) = self.of(flat);
        let (from, to) = (from.max(first), to.min(last));
        if from > to {
            return None;
        }
        let narrow = |service: u128| u16::try_from(service).unwrap_or(u16::MAX);
        Some(match self {
            Self::Address => RuleBox { addresses: (from, to), ..*flat },
            Self::Service => RuleBox { services: (narrow(from), narrow(to)), ..*flat },
        })
    }
}

/// Leaves, and the forks that lead to them.
#[derive(Debug)]
pub(crate) enum Tree<L> {
    Leaf(L),
    /// Branches by ranges of values, ascending and disjoint. A value in no branch is in no leaf.
    Fork {
        axis: Axis,
        branches: Vec<((u128, u128), Tree<L>)>,
    },
}

impl<L> Tree<L> {
    /// The same tree with other leaves.
    pub(crate) fn map<M>(self, leaf: &mut impl FnMut(L) -> M) -> Tree<M> {
        match self {
            Self::Leaf(content) => Tree::Leaf(leaf(content)),
            Self::Fork { axis, branches } => {
                let branches = branches.into_iter();
                let branches = branches.map(|(range, tree)| (range, tree.map(leaf))).collect();
                Tree::Fork { axis, branches }
            }
        }
    }
}

/// Splits boxes, which may overlap. A box across a border is in several leaves, a part in each; if splitting
/// would mostly multiply boxes, a leaf stays large.
pub(crate) fn part(boxes: Vec<RuleBox>) -> Tree<Vec<RuleBox>> {
    part_below(boxes, MAX_DEPTH)
}

fn part_below(boxes: Vec<RuleBox>, depth: usize) -> Tree<Vec<RuleBox>> {
    if boxes.len() <= LEAF || depth == 0 {
        return Tree::Leaf(boxes);
    }
    let forks = Axis::BOTH.into_iter().map(|axis| (axis, segments(&boxes, axis)));
    let cost = |parts: &[Part]| {
        let sizes = parts.iter().map(|(_, part)| part.len());
        (sizes.clone().max().unwrap_or(0), sizes.sum::<usize>())
    };
    let best = forks.min_by_key(|(_, parts)| cost(parts));
    let Some((axis, parts)) = best else { return Tree::Leaf(boxes) };
    let (largest, total) = cost(&parts);
    if 4 * largest > 3 * boxes.len() || 4 * total > 5 * boxes.len() {
        return Tree::Leaf(boxes);
    }
    let branch = |(range, part): Part| (range, part_below(part, depth - 1));
    Tree::Fork { axis, branches: parts.into_iter().map(branch).collect() }
}

/// A range of an axis, and the boxes in it.
type Part = ((u128, u128), Vec<RuleBox>);

/// Ranges along one axis with about as many boxes each.
fn segments(boxes: &[RuleBox], axis: Axis) -> Vec<Part> {
    let mut starts: Vec<u128> = boxes.iter().map(|flat| axis.of(flat).0).collect();
    starts.sort_unstable();
    let end = boxes.iter().map(|flat| axis.of(flat).1).max().unwrap_or(0);
    let mut bounds: Vec<u128> = (0..WAYS).map(|way| starts[way * starts.len() / WAYS]).collect();
    bounds.dedup();
    let last = |index: usize| bounds.get(index + 1).map_or(end, |next| next - 1);
    let ranges = bounds.iter().enumerate().map(|(index, &first)| (first, last(index)));
    let inside = |range| boxes.iter().filter_map(|flat| axis.clip(flat, range)).collect();
    ranges.map(|range| (range, inside(range))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn covers(flat: &RuleBox, address: u128, service: u16) -> bool {
        (flat.addresses.0..=flat.addresses.1).contains(&address)
            && (flat.services.0..=flat.services.1).contains(&service)
    }

    fn covering(boxes: &[RuleBox], address: u128, service: u16) -> Vec<usize> {
        let found = boxes.iter().filter(|flat| covers(flat, address, service));
        let mut orders: Vec<usize> = found.map(|flat| flat.order).collect();
        orders.sort_unstable();
        orders
    }

    fn leaf(tree: &Tree<Vec<RuleBox>>, address: u128, service: u16) -> &[RuleBox] {
        match tree {
            Tree::Leaf(boxes) => boxes,
            Tree::Fork { axis, branches } => {
                let value = match axis {
                    Axis::Address => address,
                    Axis::Service => service.into(),
                };
                let branch = branches.iter().find(|((lo, hi), _)| (*lo..=*hi).contains(&value));
                branch.map_or(&[], |(_, tree)| leaf(tree, address, service))
            }
        }
    }

    fn leaves(tree: Tree<Vec<RuleBox>>) -> Vec<usize> {
        let mut sizes = Vec::new();
        tree.map(&mut |boxes: Vec<RuleBox>| sizes.push(boxes.len()));
        sizes
    }

    #[test]
    fn disjoint_boxes_are_separated() {
        let flat = |n: u128| {
            let service = u16::try_from(n * 7 % 60_000).unwrap();
            let addresses = (n * 256, n * 256 + 255);
            RuleBox { services: (service, service + 100), addresses, order: 0 }
        };
        let sizes = leaves(part((0..10_000).map(flat).collect()));
        assert!(sizes.iter().all(|&size| size <= LEAF), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 10_000);
    }

    #[test]
    fn overlapping_boxes_are_not_multiplied() {
        let flat = |order| RuleBox { services: (0, u16::MAX), addresses: (0, u128::MAX), order };
        assert_eq!(leaves(part((0..1000).map(flat).collect())), [1000]);
    }

    proptest! {
        #[test]
        fn a_packet_reaches_all_its_boxes_and_no_others(
            list in proptest::collection::vec((0u128..5000, 0u128..400, 0u16..500, 0u16..60), 0..600),
            points in proptest::collection::vec((0u128..5500, 0u16..600), 50),
        ) {
            let flat = |(order, &(a, da, s, ds)): (usize, &(u128, u128, u16, u16))| RuleBox {
                services: (s, s + ds),
                addresses: (a, a + da),
                order,
            };
            let boxes: Vec<RuleBox> = list.iter().enumerate().map(flat).collect();
            let tree = part(boxes.clone());
            for (address, service) in points {
                let wanted = covering(&boxes, address, service);
                let got = covering(leaf(&tree, address, service), address, service);
                prop_assert_eq!(got, wanted);
            }
        }
    }
}
