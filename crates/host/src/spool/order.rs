//! The order in which waiting records are delivered. Pure.
//!
//! After hours without the platform, a slow or unreliable connection should carry the many small records
//! before the few large ones. So the smallest is sent first, but never before an earlier one of the same
//! sequence ([`DeliveryOrder::InOrder`]); and every [`OLDEST_EVERY`]th is the oldest, so that a stream of small
//! records does not delay a large one forever.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, RecordId};

/// Which earlier records a record must not overtake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryOrder {
    /// Those with the same number: each depends on the previous one.
    InOrder(u8),
    /// None: its content is summed in any order.
    BySize,
}

impl DeliveryOrder {
    /// The suffix of a record's name. Records of older versions have none.
    pub(super) fn mark(self) -> String {
        match self {
            Self::InOrder(0) => String::new(),
            Self::InOrder(number) => format!("-{number}"),
            Self::BySize => "-s".to_owned(),
        }
    }

    /// Parses a suffix without its hyphen.
    pub(super) fn parse(mark: Option<&str>) -> Option<Self> {
        match mark {
            None => Some(Self::InOrder(0)),
            Some("s") => Some(Self::BySize),
            Some(number) => number.parse().ok().filter(|n| *n > 0).map(Self::InOrder),
        }
    }
}

/// One of this many records is the oldest.
const OLDEST_EVERY: usize = 4;

/// The waiting records in order of delivery.
pub(super) fn order(waiting: &BTreeMap<RecordId, Entry>) -> Vec<RecordId> {
    let mut queues: BTreeMap<DeliveryOrder, BTreeSet<(u64, RecordId)>> = BTreeMap::new();
    for (&id, entry) in waiting {
        queues.entry(entry.order).or_default().insert((rank(entry), id));
    }
    let mut oldest = waiting.keys().copied();
    let mut order = Vec::with_capacity(waiting.len());
    while order.len() < waiting.len() {
        let is_for_oldest = order.len() % OLDEST_EVERY == OLDEST_EVERY - 1;
        let next = match is_for_oldest {
            true => oldest.find(|id| waits(&queues, waiting, *id)),
            false => smallest(&queues, waiting),
        };
        let Some(id) = next else { break };
        let Some(entry) = waiting.get(&id) else { break };
        if let Some(order) = queues.get_mut(&entry.order) {
            order.remove(&(rank(entry), id));
        }
        order.push(id);
    }
    order
}

/// A record's position in its sequence, compared before its id.
fn rank(entry: &Entry) -> u64 {
    match entry.order {
        DeliveryOrder::InOrder(_) => 0,
        DeliveryOrder::BySize => entry.bytes,
    }
}

fn waits(
    queues: &BTreeMap<DeliveryOrder, BTreeSet<(u64, RecordId)>>,
    waiting: &BTreeMap<RecordId, Entry>,
    id: RecordId,
) -> bool {
    let entry = waiting.get(&id);
    entry.is_some_and(|entry| {
        queues.get(&entry.order).is_some_and(|l| l.contains(&(rank(entry), id)))
    })
}

/// The smallest of those that are first in their lanes; of equal ones the oldest.
fn smallest(
    queues: &BTreeMap<DeliveryOrder, BTreeSet<(u64, RecordId)>>,
    waiting: &BTreeMap<RecordId, Entry>,
) -> Option<RecordId> {
    let heads = queues.values().filter_map(|order| order.first().map(|&(_, id)| id));
    heads.min_by_key(|id| (waiting.get(id).map(|entry| entry.bytes), *id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waiting(records: &[(DeliveryOrder, u64)]) -> BTreeMap<RecordId, Entry> {
        let entry = |&(order, bytes): &(DeliveryOrder, u64)| Entry { items: 1, bytes, order };
        records.iter().enumerate().map(|(at, it)| (RecordId(at as u64 + 1), entry(it))).collect()
    }

    fn ids(records: &[(DeliveryOrder, u64)]) -> Vec<u64> {
        order(&waiting(records)).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn small_records_overtake_large_ones_only_outside_their_order() {
        use DeliveryOrder::{BySize, InOrder};
        let large_first = [(BySize, 900), (BySize, 10), (InOrder(1), 500), (InOrder(1), 5)];
        assert_eq!(ids(&large_first), [2, 3, 4, 1]);
        let alike = [(BySize, 7), (InOrder(1), 7), (BySize, 7)];
        assert_eq!(ids(&alike), [1, 2, 3], "of equal ones the oldest");
        let kinds = [(InOrder(1), 900), (InOrder(2), 1), (InOrder(2), 800)];
        assert_eq!(ids(&kinds), [2, 3, 1]);
        assert!(ids(&[]).is_empty());
    }

    #[test]
    fn the_largest_record_is_not_overtaken_forever() {
        let mut records = vec![(DeliveryOrder::BySize, 1_000)];
        records.extend([(DeliveryOrder::BySize, 1); 100]);
        assert_eq!(ids(&records)[..5], [2, 3, 4, 1, 5]);
    }

    #[test]
    fn order_suffixes_round_trip() {
        for order in [DeliveryOrder::BySize, DeliveryOrder::InOrder(0), DeliveryOrder::InOrder(255)]
        {
            assert_eq!(DeliveryOrder::parse(order.mark().strip_prefix('-')), Some(order));
        }
        for wrong in ["", "x", "0", "256", "-1", "ss"] {
            assert_eq!(DeliveryOrder::parse(Some(wrong)), None, "{wrong}");
        }
    }

    fn any_order() -> impl Strategy<Value = DeliveryOrder> {
        prop_oneof![Just(DeliveryOrder::BySize), (0_u8..3).prop_map(DeliveryOrder::InOrder)]
    }

    proptest! {
        #[test]
        fn every_backlog_is_delivered_completely_smallest_first(
            records in prop::collection::vec((any_order(), 0_u64..50), 0..60),
        ) {
            let waiting = waiting(&records);
            let order = order(&waiting);
            let all: BTreeSet<RecordId> = order.iter().copied().collect();
            prop_assert_eq!(order.len(), records.len());
            prop_assert_eq!(&all, &waiting.keys().copied().collect::<BTreeSet<_>>());
            for (at, id) in order.iter().enumerate() {
                let (left, this) = (&order[at..], waiting[id]);
                // No record overtakes an earlier one of its sequence.
                if let DeliveryOrder::InOrder(_) = this.order {
                    let same = left.iter().filter(|other| waiting[other].order == this.order);
                    prop_assert!(same.min() == Some(id));
                }
                // The smallest of those that may be next; or, every fourth time, the oldest.
                if at % OLDEST_EVERY == OLDEST_EVERY - 1 {
                    prop_assert!(left.iter().min() == Some(id));
                } else {
                    let first = |other: &&RecordId| {
                        let order = waiting[other].order;
                        order == DeliveryOrder::BySize
                            || left.iter().filter(|it| waiting[it].order == order).min() == Some(*other)
                    };
                    let least = left.iter().filter(first).map(|it| (waiting[it].bytes, *it)).min();
                    prop_assert_eq!(least, Some((this.bytes, *id)));
                }
                // No record waits for more than four times as many as were before it.
                prop_assert!(at < OLDEST_EVERY * usize::try_from(id.0).unwrap());
            }
        }
    }
}
