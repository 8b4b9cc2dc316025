//! Makes overlapping boxes (address range × port range) disjoint, as the kernel's interval sets require.

use std::collections::{BTreeMap, BTreeSet};

/// `addresses × services`, both inclusive, with the position of its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RuleBox {
    /// First and last service (a port, a protocol or an ICMP type).
    pub services: (u16, u16),
    /// First and last address.
    pub addresses: (u128, u128),
    /// Position of the rule: of two that cover a point, the first is named.
    pub order: usize,
}

/// Splits boxes into layers; the boxes of a layer are disjoint, and a point is in some layer exactly if it is
/// in some box. A layer has at most `4 * n + 1024` boxes for its `n` input boxes; boxes that would be split
/// further go into another layer, so the total stays linear in the input.
pub(crate) fn layers(boxes: Vec<RuleBox>) -> Vec<Vec<RuleBox>> {
    let mut layers = Vec::new();
    let mut groups: BTreeMap<(u16, u16), Vec<RuleBox>> = BTreeMap::new();
    for flat in boxes {
        groups.entry(flat.services).or_default().push(flat);
    }
    while !groups.is_empty() {
        let later = split_off_the_widest(&mut groups);
        layers.push(disjoint(&groups));
        groups = later;
    }
    layers
}

type Groups = BTreeMap<(u16, u16), Vec<RuleBox>>;

/// Removes the groups that span most of the others' bounds, until the rest fits.
fn split_off_the_widest(groups: &mut Groups) -> Groups {
    let bounds: BTreeSet<u32> =
        groups.keys().flat_map(|&(lo, hi)| [u32::from(lo), u32::from(hi) + 1]).collect();
    let bounds: Vec<u32> = bounds.into_iter().collect();
    let position = |bound: u32| bounds.partition_point(|&other| other < bound);
    let mut costs: Vec<(usize, (u16, u16))> = groups
        .iter()
        .map(|(&(lo, hi), flats)| {
            let segments = position(u32::from(hi) + 1) - position(u32::from(lo));
            (segments * flats.len() * 2, (lo, hi))
        })
        .collect();
    let budget = 4 * groups.values().map(Vec::len).sum::<usize>() + 1024;
    let mut total: usize = costs.iter().map(|(cost, _)| cost).sum();
    costs.sort_unstable();
    let mut later = Groups::new();
    while total > budget && costs.len() > 1 {
        let Some((cost, services)) = costs.pop() else { break };
        total -= cost;
        if let Some(flats) = groups.remove(&services) {
            later.insert(services, flats);
        }
    }
    later
}

/// Sweeps over the services, and within each range between two bounds over the addresses.
fn disjoint(groups: &Groups) -> Vec<RuleBox> {
    let mut starts: BTreeMap<u32, Vec<(u16, u16)>> = BTreeMap::new();
    let mut bounds = BTreeSet::new();
    for &(lo, hi) in groups.keys() {
        starts.entry(lo.into()).or_default().push((lo, hi));
        bounds.extend([u32::from(lo), u32::from(hi) + 1]);
    }
    let bounds: Vec<u32> = bounds.into_iter().collect();
    let mut active: BTreeSet<(u16, u16)> = BTreeSet::new();
    let mut stretches: Vec<((u16, u16), Vec<RuleBox>)> = Vec::new();
    for pair in bounds.windows(2) {
        let [start, end] = [pair[0], pair[1] - 1];
        active.retain(|&(_, hi)| u32::from(hi) >= start);
        active.extend(starts.get(&start).into_iter().flatten());
        let covering: Vec<RuleBox> =
            active.iter().filter_map(|services| groups.get(services)).flatten().copied().collect();
        let services = (narrow(start), narrow(end));
        let pieces = first_in_order_wins(&covering, services);
        match stretches.last_mut() {
            Some((previous, same)) if adjacent(*previous, services) && alike(same, &pieces) => {
                previous.1 = services.1;
            }
            _ => stretches.push((services, pieces)),
        }
    }
    let boxes = stretches.into_iter().flat_map(|(services, pieces)| {
        pieces.into_iter().map(move |piece| RuleBox { services, ..piece })
    });
    boxes.collect()
}

fn narrow(bound: u32) -> u16 {
    u16::try_from(bound).unwrap_or(u16::MAX)
}

fn adjacent(before: (u16, u16), after: (u16, u16)) -> bool {
    before.1.checked_add(1) == Some(after.0)
}

fn alike(a: &[RuleBox], b: &[RuleBox]) -> bool {
    let same = |(a, b): (&RuleBox, &RuleBox)| a.addresses == b.addresses && a.order == b.order;
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// In one dimension, makes overlapping address ranges disjoint, each with the first rule that covers it.
fn first_in_order_wins(ranges: &[RuleBox], services: (u16, u16)) -> Vec<RuleBox> {
    let mut opening: Vec<(u128, usize, u128)> =
        ranges.iter().map(|flat| (flat.addresses.0, flat.order, flat.addresses.1)).collect();
    opening.sort_unstable();
    if let [(first, order, last)] = opening[..] {
        return vec![RuleBox { services, addresses: (first, last), order }];
    }
    let mut pieces: Vec<RuleBox> = Vec::with_capacity(opening.len());
    let mut open: BTreeSet<(usize, u128)> = BTreeSet::new();
    let mut coming = opening.into_iter().peekable();
    let mut at = 0;
    loop {
        open.retain(|&(_, last)| last >= at);
        while let Some(&(first, order, last)) = coming.peek()
            && (open.is_empty() || first <= at)
        {
            at = at.max(first);
            open.insert((order, last));
            coming.next();
        }
        let Some(&(order, last)) = open.first() else { break };
        let end = match coming.peek() {
            Some(&(first, ..)) => last.min(first - 1),
            None => last,
        };
        match pieces.last_mut() {
            Some(piece) if piece.order == order && piece.addresses.1 + 1 == at => {
                piece.addresses.1 = end;
            }
            _ => pieces.push(RuleBox { services, addresses: (at, end), order }),
        }
        match end.checked_add(1) {
            Some(next) => at = next,
            None => break,
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn covering(boxes: &[RuleBox], service: u16, address: u128) -> Vec<usize> {
        let inside = |flat: &&RuleBox| {
            (flat.services.0..=flat.services.1).contains(&service)
                && (flat.addresses.0..=flat.addresses.1).contains(&address)
        };
        boxes.iter().filter(inside).map(|flat| flat.order).collect()
    }

    #[test]
    fn the_ends_of_number_ranges_are_kept() {
        let all = RuleBox { services: (0, u16::MAX), addresses: (0, u128::MAX), order: 0 };
        let one = RuleBox { services: (80, 80), addresses: (5, 5), order: 1 };
        assert_eq!(layers(vec![all, one]), vec![vec![all]]);
    }

    #[test]
    fn overlapping_rules_grow_linearly() {
        let staggered = (0..2000u16).map(|i| RuleBox {
            services: (i, i + 2000),
            addresses: (u128::from(i) * 10, u128::from(i) * 10 + 25),
            order: usize::from(i),
        });
        let layers = layers(staggered.collect());
        let total: usize = layers.iter().map(Vec::len).sum();
        assert!(
            total <= 5 * 2000 + 1024 * layers.len(),
            "{total} boxes in {} layers",
            layers.len()
        );
    }

    fn arbitrary_boxes() -> impl Strategy<Value = Vec<RuleBox>> {
        let one = (0u16..10, 0u16..4, 0u128..12, 0u128..6);
        proptest::collection::vec(one, 0..14).prop_map(|list| {
            let flat = |(order, (s, ds, a, da)): (usize, (u16, u16, u128, u128))| RuleBox {
                services: (s, s + ds),
                addresses: (a, a + da),
                order,
            };
            list.into_iter().enumerate().map(flat).collect()
        })
    }

    proptest! {
        #[test]
        fn layers_cover_the_same_points_once(boxes in arbitrary_boxes()) {
            let layers = layers(boxes.clone());
            for service in 0..15 {
                for address in 0..20 {
                    let wanted = covering(&boxes, service, address);
                    let got: Vec<Vec<usize>> =
                        layers.iter().map(|layer| covering(layer, service, address)).collect();
                    prop_assert!(got.iter().all(|layer| layer.len() <= 1), "{got:?}");
                    if layers.len() == 1 {
                        prop_assert_eq!(got[0].first(), wanted.iter().min());
                    }
                    prop_assert_eq!(got.concat().is_empty(), wanted.is_empty());
                }
            }
        }
    }
}
