//! The known connections: their paths, and those whose program is still being searched.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xshield_policy::Protocol;
use xshield_wire::message::UnixSeconds;

use super::super::programs::{Programs, SocketOwner};
use super::super::system;
use super::message::{Connection, Event, Tuple};
use super::monitor::Settings;
use super::paths::{ConnectionDirection, Drained, PathKey, Paths};
use crate::program::Program;

/// The most connections that wait for their program.
const MOST_PENDING: usize = 8_192;
/// The host's own addresses are read again after this time.
const ADDRESSES_FOR: Duration = Duration::from_secs(10);

/// The meaning of an unknown connection in the kernel's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It began before watching started.
    Before,
    /// Its beginning was missed.
    Since,
}

#[derive(Debug)]
pub(super) struct Watched {
    paths: Paths,
    /// If absent, paths have no program.
    programs: Option<Programs>,
    pending: HashMap<(Tuple, u32), Pending>,
    addresses: Addresses,
    lookups: Budget,
    unasked: u64,
}

/// A connection whose program is being searched.
#[derive(Debug)]
struct Pending {
    connection: Connection,
    owner: SocketOwner,
    key: PathKey,
    known: Known,
    began: UnixSeconds,
    ended: Option<(Connection, UnixSeconds)>,
}

impl Watched {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            paths: Paths::new(settings.limits),
            programs: Programs::open().ok(),
            pending: HashMap::new(),
            addresses: Addresses::default(),
            lookups: Budget::new(settings.lookups_per_second),
            unasked: 0,
        }
    }

    pub(super) fn take(&mut self, event: Event, now: UnixSeconds) {
        match event {
            Event::New(connection) => self.begin(connection, Known::Since, now),
            Event::Seen(connection) => self.paths.follow(&connection, now),
            Event::Ended(connection) => self.end(&connection, now),
        }
    }

    pub(super) fn begin_list(&mut self) {
        self.paths.begin_list();
    }

    /// An entry of the kernel's list.
    pub(super) fn list(&mut self, connection: Connection, known: Known, now: UnixSeconds) {
        self.begin(connection, known, now);
        if known == Known::Since {
            self.paths.follow(&connection, now);
        }
    }

    pub(super) fn end_list(&mut self) -> u64 {
        self.paths.end_list()
    }

    pub(super) fn drain(&mut self) -> Drained {
        self.paths.drain()
    }

    /// The number of connections that were not looked up since the last call.
    pub(super) fn take_unasked(&mut self) -> u64 {
        mem::take(&mut self.unasked)
    }

    pub(super) fn live(&self) -> usize {
        self.paths.live() + self.pending.len()
    }

    pub(super) fn settle_when_due(&mut self) {
        let due = |programs: &Programs| Instant::now() >= programs.next_search();
        if !self.pending.is_empty() && self.programs.as_ref().is_none_or(due) {
            self.settle();
        }
    }

    /// Searches the programs of pending connections, and adds the connections to their paths with or without
    /// one.
    pub(super) fn settle(&mut self) {
        if let Some(programs) = &mut self.programs {
            programs.search(self.pending.values().map(|pending| pending.owner));
        }
        let mut unnamed: HashMap<SocketOwner, Arc<Program>> = HashMap::new();
        for pending in mem::take(&mut self.pending).into_values() {
            let program = self.programs.as_ref().map(|programs| {
                programs.known(&pending.owner).unwrap_or_else(|| {
                    let owner = SocketOwner { inode: 0, ..pending.owner };
                    let without = || Arc::new(programs.without_process(&owner));
                    unnamed.entry(owner).or_insert_with(without).clone()
                })
            });
            let key = PathKey { program, ..pending.key };
            self.place(&pending.connection, key, pending.known, pending.began);
            if let Some((connection, at)) = pending.ended {
                self.paths.end(&connection, || None, at);
            }
        }
    }

    fn begin(&mut self, connection: Connection, known: Known, now: UnixSeconds) {
        let identity = (connection.original, connection.id);
        if self.paths.knows(&connection) || self.pending.contains_key(&identity) {
            return;
        }
        let Some(key) = self.addresses.key(&connection) else { return };
        let Some(owner) = self.owner(&connection, key.way) else {
            return self.place(&connection, key, known, now);
        };
        if let Some(program) = self.programs.as_ref().and_then(|programs| programs.known(&owner)) {
            let key = PathKey { program: Some(program), ..key };
            return self.place(&connection, key, known, now);
        }
        if self.pending.len() >= MOST_PENDING {
            self.settle();
        }
        let pending = Pending { connection, owner, key, known, began: now, ended: None };
        self.pending.insert(identity, pending);
    }

    fn place(&mut self, connection: &Connection, key: PathKey, known: Known, now: UnixSeconds) {
        match known {
            Known::Before => self.paths.adopt(connection, key, now),
            Known::Since => self.paths.begin(connection, key, now),
        }
    }

    fn end(&mut self, connection: &Connection, now: UnixSeconds) {
        if let Some(pending) = self.pending.get_mut(&(connection.original, connection.id)) {
            pending.ended = Some((*connection, now));
        } else {
            let addresses = &mut self.addresses;
            self.paths.end(connection, || addresses.key(connection), now);
        }
    }

    fn owner(&mut self, connection: &Connection, way: ConnectionDirection) -> Option<SocketOwner> {
        let programs = self.programs.as_mut()?;
        let Connection { original, reply, .. } = connection;
        if !matches!(original.protocol, Protocol::Tcp | Protocol::Udp)
            || way == ConnectionDirection::Forwarded
        {
            return None;
        }
        if !self.lookups.take() {
            self.unasked += 1;
            return None;
        }
        if way == ConnectionDirection::Outbound {
            let local = SocketAddr::new(original.source, original.source_port);
            let remote = SocketAddr::new(original.destination, original.port);
            programs.opener(original.protocol, local, remote)
        } else {
            // The answering side is not the addressed one if addresses are translated.
            programs.server(original.protocol, SocketAddr::new(reply.source, reply.source_port))
        }
    }
}

/// This host's own addresses.
#[derive(Debug, Default)]
struct Addresses {
    own: HashSet<IpAddr>,
    until: Option<Instant>,
}

impl Addresses {
    /// The path of a connection without its program; `None` for connections within this host.
    fn key(&mut self, connection: &Connection) -> Option<PathKey> {
        let Connection { original, reply, .. } = connection;
        let way = match (self.is_own(original.source), self.is_own(reply.source)) {
            (true, true) => return None,
            (true, false) => ConnectionDirection::Outbound,
            (false, true) => ConnectionDirection::Inbound,
            (false, false) => ConnectionDirection::Forwarded,
        };
        let Tuple { source, destination, protocol, port, .. } = *original;
        Some(PathKey { way, source, destination, protocol, port, program: None })
    }

    fn is_own(&mut self, address: IpAddr) -> bool {
        let now = Instant::now();
        if self.until.is_none_or(|until| now >= until) {
            self.until = Some(now + ADDRESSES_FOR);
            // If they can't be listed, the previous ones are the best guess.
            if let Ok(addresses) = system::interface_addresses() {
                self.own = addresses.into_iter().collect();
            }
        }
        address.is_loopback() || self.own.contains(&address)
    }
}

/// A number of actions per second.
#[derive(Debug)]
struct Budget {
    per_second: u32,
    left: u32,
    until: Instant,
}

impl Budget {
    fn new(per_second: u32) -> Self {
        Self { per_second, left: per_second, until: Instant::now() + Duration::from_secs(1) }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.until {
            self.left = self.per_second;
            self.until = now + Duration::from_secs(1);
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}
