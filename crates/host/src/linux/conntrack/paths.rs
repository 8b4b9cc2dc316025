//! Aggregates connections into paths. Pure; memory is limited, but everything is counted.
//!
//! A connection keeps the path that it was given when it was first seen. Its packets and bytes are added when
//! it ends, and before that whenever the kernel's list is read, so that a connection that stays open for days
//! is visible, and one that lives for a millisecond is counted, too.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use xshield_policy::Protocol;
use xshield_wire::message::UnixSeconds;

use super::message::{Connection, Counters, Phase};
use crate::program::Program;

/// The most items kept of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Paths between two drains: about 200 bytes each.
    pub paths: usize,
    /// Connections that have not ended, including closed ones that the kernel still keeps: about 24 bytes
    /// each.
    pub connections: usize,
    /// Open connections whose counters are followed: about 64 bytes each.
    pub followed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { paths: 50_000, connections: 262_144, followed: 32_768 }
    }
}

/// The direction of a connection, as seen from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionDirection {
    /// A peer opened it to this host.
    Inbound,
    /// This host opened it.
    Outbound,
    /// Forwarded between others: containers, virtual machines, routed networks.
    Forwarded,
}

/// What the connections of one path have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathKey {
    /// The direction, as seen from this host.
    pub way: ConnectionDirection,
    /// The side that opened the connections.
    pub source: IpAddr,
    /// The destination, as the source addressed it.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; the type for ICMP; 0 if there is none.
    pub port: u16,
    /// The program at this host's end, when known.
    pub program: Option<Arc<Program>>,
}

/// What happened on a path since the last drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The path.
    pub key: PathKey,
    /// Connections seen for the first time.
    pub connections: u64,
    /// Connections that are open, or closed so recently that the kernel still keeps them.
    pub live: u64,
    /// New packets and bytes. Zero if the kernel doesn't count.
    pub counters: Counters,
    /// When the path was first seen.
    pub first_seen: UnixSeconds,
    /// When the path was last seen.
    pub last_seen: UnixSeconds,
}

/// The result of [`Paths::drain`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drained {
    /// Paths that are new or had activity.
    pub paths: Vec<Path>,
    /// Connections of further paths that exceeded the limit.
    pub overflow_connections: u64,
    /// Their packets and bytes.
    pub overflow: Counters,
}

/// All paths.
#[derive(Debug)]
pub struct Paths {
    limits: Limits,
    hasher: RandomState,
    numbers: HashMap<PathKey, u32>,
    slots: Vec<Option<Path>>,
    /// Paths that no drain has returned yet.
    untold: HashSet<u32>,
    free: Vec<u32>,
    /// Each connection, by [`Paths::mark`].
    live: HashMap<u64, Live>,
    /// The number of times that the kernel's list was read.
    list: u32,
    /// What has already been added of open connections, by the same key.
    followed: HashMap<u64, Counters>,
    overflow_connections: u64,
    overflow: Counters,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    /// Its path.
    slot: u32,
    /// The last list that contained it.
    list: u32,
}

/// The slot of a connection whose path exceeded the limit.
const NO_ROOM: u32 = u32::MAX;

impl Paths {
    /// No paths yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            hasher: RandomState::new(),
            numbers: HashMap::new(),
            slots: Vec::new(),
            untold: HashSet::new(),
            free: Vec::new(),
            live: HashMap::new(),
            list: 0,
            followed: HashMap::new(),
            overflow_connections: 0,
            overflow: Counters::default(),
        }
    }

    /// Whether the connection is known and has not ended.
    #[must_use]
    pub fn knows(&self, connection: &Connection) -> bool {
        self.live.contains_key(&self.mark(connection))
    }

    /// Adds a new connection to its path; repeating it has no effect. If there is no room for it, it is
    /// counted when it ends.
    pub fn begin(&mut self, connection: &Connection, key: PathKey, now: UnixSeconds) {
        let mark = self.mark(connection);
        if self.live.contains_key(&mark) || self.live.len() >= self.limits.connections {
            return;
        }
        let slot = self.slot(key, now);
        self.live.insert(mark, Live { slot, list: self.list });
        self.count_connection(slot, now);
        if let Some(path) = self.path(slot) {
            path.live += 1;
        }
    }

    /// Adds a connection that existed before watching began: it is not new, and what it has transferred until
    /// now is not counted.
    pub fn adopt(&mut self, connection: &Connection, key: PathKey, now: UnixSeconds) {
        let mark = self.mark(connection);
        if self.live.contains_key(&mark) || self.live.len() >= self.limits.connections {
            return;
        }
        let slot = self.slot(key, now);
        self.live.insert(mark, Live { slot, list: self.list });
        self.followed.insert(mark, connection.counters.unwrap_or_default());
        if let Some(path) = self.path(slot) {
            path.live += 1;
        }
    }

    /// Updates the counters of an open connection.
    pub fn follow(&mut self, connection: &Connection, now: UnixSeconds) {
        let mark = self.mark(connection);
        let Some(live) = self.live.get_mut(&mark) else { return };
        live.list = self.list;
        let slot = live.slot;
        let Some(counters) = connection.counters else { return };
        // A closed connection transfers nothing more: it is added when the kernel removes it.
        let has_room = self.followed.len() < self.limits.followed;
        let is_new = !self.followed.contains_key(&mark);
        if is_new && (connection.phase == Phase::Closing || !has_room) {
            return;
        }
        let before = self.followed.insert(mark, counters).unwrap_or_default();
        self.count(slot, counters.since(before), now);
    }

    /// Ends a connection. An unknown one is counted on the path with `key`; without a key it is ignored.
    pub fn end(
        &mut self,
        connection: &Connection,
        key: impl FnOnce() -> Option<PathKey>,
        now: UnixSeconds,
    ) {
        let mark = self.mark(connection);
        let slot = if let Some(live) = self.live.remove(&mark) {
            if let Some(path) = self.path(live.slot) {
                path.live = path.live.saturating_sub(1);
                path.touch(now);
            }
            live.slot
        } else {
            let Some(key) = key() else { return };
            let slot = self.slot(key, now);
            self.count_connection(slot, now);
            slot
        };
        let before = self.followed.remove(&mark).unwrap_or_default();
        let moved = connection.counters.map(|counters| counters.since(before));
        self.count(slot, moved.unwrap_or_default(), now);
    }

    /// Starts reading the kernel's whole list: call [`Paths::begin`] and [`Paths::follow`] for each
    /// connection in it.
    pub fn begin_list(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// Removes connections that were not in the list and did not begin since: their end was missed. Returns
    /// their number.
    pub fn end_list(&mut self) -> u64 {
        let (slots, followed, list) = (&mut self.slots, &mut self.followed, self.list);
        let before = self.live.len();
        self.live.retain(|mark, live| {
            let stays = live.list == list;
            if !stays {
                followed.remove(mark);
                if let Some(Some(path)) = slots.get_mut(live.slot as usize) {
                    path.live = path.live.saturating_sub(1);
                }
            }
            stays
        });
        (before - self.live.len()) as u64
    }

    /// The number of known connections.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Returns the paths that are new or had activity since the last drain. Paths without open connections
    /// are removed.
    #[must_use]
    pub fn drain(&mut self) -> Drained {
        let mut paths = Vec::new();
        for (number, slot) in (0_u32..).zip(&mut self.slots) {
            let Some(path) = slot else { continue };
            let is_new = self.untold.remove(&number);
            if is_new || path.connections > 0 || path.counters != Counters::default() {
                paths.push(path.clone());
                path.connections = 0;
                path.counters = Counters::default();
                path.first_seen = path.last_seen;
            }
            if path.live == 0 {
                self.numbers.remove(&path.key);
                *slot = None;
                self.free.push(number);
            }
        }
        Drained {
            paths,
            overflow_connections: mem::take(&mut self.overflow_connections),
            overflow: mem::take(&mut self.overflow),
        }
    }

    fn mark(&self, connection: &Connection) -> u64 {
        self.hasher.hash_one((connection.original, connection.id))
    }

    /// The slot of a path, [`NO_ROOM`] if there is none left.
    fn slot(&mut self, key: PathKey, now: UnixSeconds) -> u32 {
        if let Some(&slot) = self.numbers.get(&key) {
            return slot;
        }
        if self.numbers.len() >= self.limits.paths {
            return NO_ROOM;
        }
        let path = Path {
            key: key.clone(),
            connections: 0,
            live: 0,
            counters: Counters::default(),
            first_seen: now,
            last_seen: now,
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => match u32::try_from(self.slots.len()) {
                Ok(slot) if slot != NO_ROOM => {
                    self.slots.push(None);
                    slot
                }
                _ => return NO_ROOM,
            },
        };
        self.slots[slot as usize] = Some(path);
        self.untold.insert(slot);
        self.numbers.insert(key, slot);
        slot
    }

    fn path(&mut self, slot: u32) -> Option<&mut Path> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    fn count_connection(&mut self, slot: u32, now: UnixSeconds) {
        match self.path(slot) {
            Some(path) => {
                path.connections += 1;
                path.touch(now);
            }
            None => self.overflow_connections += 1,
        }
    }

    fn count(&mut self, slot: u32, moved: Counters, now: UnixSeconds) {
        match self.path(slot) {
            Some(path) if moved != Counters::default() => {
                path.counters.add(moved);
                path.touch(now);
            }
            Some(_) => {}
            None => self.overflow.add(moved),
        }
    }
}

impl Path {
    fn touch(&mut self, now: UnixSeconds) {
        self.first_seen = self.first_seen.min(now);
        self.last_seen = self.last_seen.max(now);
    }
}

#[cfg(test)]
mod tests;
