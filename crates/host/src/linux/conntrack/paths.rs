//! Connections folded into paths: pure, with a bound on what is kept and none on what is counted.
//!
//! A connection belongs to the path that it was given when it was first seen. What it has moved is
//! added when it ends, and before that whenever the kernel's list is read, so that a connection that
//! stays open for days shows what it moves, and one that lives for a millisecond is counted, too.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use xshield_policy::Protocol;
use xshield_wire::message::UnixSeconds;

use super::message::{Connection, Counters, Phase};
use crate::program::Program;

/// How many of each are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Paths between two drains: about 200 bytes each.
    pub paths: usize,
    /// Connections that are not over, closed ones that the kernel still keeps among them: about 24
    /// bytes each.
    pub connections: usize,
    /// Connections whose counters are followed while they are open: about 64 bytes each.
    pub followed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { paths: 50_000, connections: 262_144, followed: 32_768 }
    }
}

/// Where a connection goes, as seen from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// A peer opened it to this host.
    Inbound,
    /// This host opened it.
    Outbound,
    /// Between others, through this host: containers, virtual machines, routed networks.
    Forwarded,
}

/// What connections have in common to be one path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathKey {
    /// As seen from this host.
    pub way: Way,
    /// Who opened the connections.
    pub source: IpAddr,
    /// Whom to, as the source named it.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; the type for ICMP; 0 where there is none.
    pub port: u16,
    /// The program at this host's end, when known.
    pub program: Option<Arc<Program>>,
}

/// What happened on a path since the last drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Which path.
    pub key: PathKey,
    /// Connections seen for the first time.
    pub connections: u64,
    /// Connections that are open now, or closed so recently that the kernel still keeps them.
    pub live: u64,
    /// Packets and bytes that are new. Zero where the kernel doesn't count.
    pub counters: Counters,
    /// When anything was first seen on it.
    pub first_seen: UnixSeconds,
    /// When anything was last seen on it.
    pub last_seen: UnixSeconds,
}

/// What [`Paths::drain`] takes out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drained {
    /// Paths that are new or on which anything happened.
    pub paths: Vec<Path>,
    /// Connections of further paths that found no room.
    pub overflow_connections: u64,
    /// What they have moved.
    pub overflow: Counters,
}

/// All paths.
#[derive(Debug)]
pub struct Paths {
    limits: Limits,
    hasher: RandomState,
    numbers: HashMap<PathKey, u32>,
    slots: Vec<Option<Path>>,
    /// Paths that no drain has told of.
    untold: HashSet<u32>,
    free: Vec<u32>,
    /// Each connection, by [`Paths::mark`].
    live: HashMap<u64, Live>,
    /// Counts the lists of the kernel that were read.
    list: u32,
    /// What has been added of open connections, by the same.
    followed: HashMap<u64, Counters>,
    overflow_connections: u64,
    overflow: Counters,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    /// Its path.
    slot: u32,
    /// The last list that it was in.
    list: u32,
}

/// Stands for a connection whose path found no room.
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

    /// Whether the connection is known and not over.
    #[must_use]
    pub fn knows(&self, connection: &Connection) -> bool {
        self.live.contains_key(&self.mark(connection))
    }

    /// A connection that was not known, on its path. Twice is once. Where there is no room for it, it
    /// is counted when it ends.
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

    /// A connection that began before anyone looked: it is no new one, and what it has moved until now
    /// is not counted.
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

    /// What a connection that is open has moved so far.
    pub fn follow(&mut self, connection: &Connection, now: UnixSeconds) {
        let mark = self.mark(connection);
        let Some(live) = self.live.get_mut(&mark) else { return };
        live.list = self.list;
        let slot = live.slot;
        let Some(counters) = connection.counters else { return };
        // A closed one moves no more: it is added when the kernel forgets it.
        let has_room = self.followed.len() < self.limits.followed;
        let is_new = !self.followed.contains_key(&mark);
        if is_new && (connection.phase == Phase::Closing || !has_room) {
            return;
        }
        let before = self.followed.insert(mark, counters).unwrap_or_default();
        self.count(slot, counters.since(before), now);
    }

    /// A connection is over. One that was not known is counted on the path that `key` tells; without a
    /// key it is left out.
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

    /// From here on the kernel's whole list is read: [`Paths::begin`] and [`Paths::follow`] for each
    /// connection in it.
    pub fn begin_list(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// Forgets connections that were not in the list and did not begin since: their end was missed.
    /// Returns how many.
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

    /// How many connections are kept.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Takes out the paths that are new or on which anything happened since the last drain. Paths on
    /// which nothing is open are forgotten.
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

    /// The slot of a path, [`NO_ROOM`] when there is none left.
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
