//! Encodes the entries of a list as elements of sets, without a plan, since there are millions.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::installed::Slot;
use crate::nft::constants::{DATA_VALUE, LIST_ELEMENT, element, flag, message as kind, set};
use crate::nft::slot::kernel_name;
use crate::nft::socket::Batch;
use crate::nft::wire::Writer;
use crate::plan::Family;
use crate::threat::list_set::{ListSet, SetContent};

/// The size of one message; the kernel's limit is 64 KiB.
const LIST_BYTES: usize = 60_000;
/// The least number of hosts for which a set has room.
const LEAST_ROOM: u32 = 3 * 1024;
const NESTED: u16 = 0x8000;

/// The operation on elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Adding an existing one is an error.
    Add,
    /// Removing a missing one is an error.
    Remove,
}

/// The size of a set of hosts that starts with `count`: at least an eighth more, and then as many as need no
/// more memory, since the kernel's table has 4/3 of the size, rounded up to a power of two.
pub(crate) fn room(count: u32) -> u32 {
    let least = u64::from(count.max(LEAST_ROOM)) * 9 / 8;
    let buckets = (least * 4).div_ceil(3).next_power_of_two();
    u32::try_from(buckets / 4 * 3).unwrap_or(u32::MAX)
}

/// Elements of the four sets, with one message per set at a time.
pub(crate) struct Elements {
    verb: Verb,
    slot: Slot,
    waiting: [Vec<u8>; 4],
}

impl Elements {
    pub(crate) fn new(verb: Verb, slot: Slot) -> Self {
        Self { verb, slot, waiting: Default::default() }
    }

    /// Adds an entry; if its set's message is full, adds that to the batch.
    pub(crate) fn put(&mut self, entry: &IpNet, batch: &mut Batch) {
        let set = ListSet::of(entry);
        let waiting = &mut self.waiting[place(set)];
        match set.holds {
            SetContent::Hosts => write(waiting, entry.addr(), false),
            SetContent::Nets => {
                write(waiting, entry.network(), false);
                if let Some(end) = behind(entry.broadcast()) {
                    write(waiting, end, true);
                }
            }
        }
        if waiting.len() > LIST_BYTES {
            self.send(set, batch);
        }
    }

    /// Adds the remaining messages to the batch.
    pub(crate) fn finish(&mut self, batch: &mut Batch) {
        ListSet::ALL.into_iter().for_each(|set| self.send(set, batch));
    }

    fn send(&mut self, set: ListSet, batch: &mut Batch) {
        let waiting = &mut self.waiting[place(set)];
        if waiting.is_empty() {
            return;
        }
        let (what, flags) = match self.verb {
            Verb::Add => (kind::NEW_ELEMENT, flag::CREATE | flag::EXCLUSIVE),
            Verb::Remove => (kind::DEL_ELEMENT, 0),
        };
        let (table, name) = (batch.table, kernel_name(&set.name(), Some(self.slot)));
        batch.add(what, flags, |w| {
            w.text(element::LIST_TABLE, table);
            w.text(element::LIST_SET, &name);
            w.nested(element::LIST_ELEMENTS, |w| w.0.extend_from_slice(waiting));
        });
        waiting.clear();
    }
}

fn place(set: ListSet) -> usize {
    ListSet::ALL.iter().position(|one| *one == set).unwrap_or(0)
}

/// The address after this one.
pub(crate) fn behind(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|n| IpAddr::V6(n.into())),
    }
}

/// Encodes one element: nested attributes, the address, and a flag for an end.
fn write(out: &mut Vec<u8>, address: IpAddr, is_end: bool) {
    match address {
        IpAddr::V4(address) => write_key(out, &address.octets(), is_end),
        IpAddr::V6(address) => write_key(out, &address.octets(), is_end),
    }
}

fn write_key<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], is_end: bool) {
    let flags = if is_end { 8 } else { 0 };
    let mut head = [0; 12];
    let attributes = [
        (N + 12 + flags, LIST_ELEMENT | NESTED),
        (N + 8, element::KEY | NESTED),
        (N + 4, DATA_VALUE),
    ];
    for (bytes, (length, kind)) in head.chunks_exact_mut(4).zip(attributes) {
        // At most 36.
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        bytes[..2].copy_from_slice(&length.to_ne_bytes());
        bytes[2..].copy_from_slice(&kind.to_ne_bytes());
    }
    out.extend_from_slice(&head);
    out.extend_from_slice(key);
    if is_end {
        Writer(out).be32(element::FLAGS, element::INTERVAL_END);
    }
}

/// Encodes the element that is requested.
pub(crate) fn asked(w: &mut Writer<'_>, address: IpAddr, is_end: bool) {
    w.nested(element::LIST_ELEMENTS, |w| write(w.0, address, is_end));
}

impl Batch {
    /// Creates an empty set of the list, for this many entries and some more.
    pub(crate) fn list_set(&mut self, of: ListSet, slot: Slot, count: u32) {
        let table = self.table;
        let (number, length) = match of.family {
            Family::V4 => (7, 4),
            Family::V6 => (8, 16),
        };
        self.add(kind::NEW_SET, flag::CREATE | flag::EXCLUSIVE, |w| {
            w.text(set::TABLE, table);
            w.text(set::NAME, &kernel_name(&of.name(), Some(slot)));
            w.be32(set::FLAGS, if of.holds == SetContent::Nets { set::INTERVAL } else { 0 });
            w.be32(set::KEY_TYPE, number);
            w.be32(set::KEY_LENGTH, length);
            if of.holds == SetContent::Hosts {
                // With a size, and without timeouts or intervals, the kernel uses its most compact hash
                // table.
                w.nested(set::DESCRIPTION, |w| w.be32(set::DESCRIPTION_SIZE, room(count)));
            }
            w.be32(set::ID, 0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_sizes_have_an_eighth_of_headroom() {
        for count in [0, 1, 1000, 65_536, 1_000_000, 1_500_000, 5_000_000] {
            let room = room(count);
            assert!(u64::from(room) >= u64::from(count) * 9 / 8, "{count}: {room}");
            assert!((u64::from(room) * 4 / 3).is_power_of_two(), "{count}: {room}");
        }
        assert_eq!(room(1_000_000), 1_572_864);
    }
}
