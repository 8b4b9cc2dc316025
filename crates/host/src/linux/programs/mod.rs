//! Finds the program, user and service of a socket, at a limited cost.
//!
//! Given its endpoints, the kernel returns a socket's inode, user and cgroup at once. Which process holds the
//! inode is only in `/proc/PID/fd`: reading all of that is the costly part, so it is done for many sockets
//! together, and the more it costs on a host the less often. A socket that was closed before that still has
//! its user and service.

pub(crate) mod behind;
mod diag;
mod services;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xshield_policy::Protocol;

use super::processes::{self, Process};
use super::sockets;
use crate::program::Program;
use diag::Diag;
use services::{Services, Users};

pub use diag::SocketOwner;

/// The searches' share of the time is at most one part in this many.
const SEARCH_SHARE: u32 = 100;
/// The least time between two searches.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long the socket that serves a port is assumed to still do so.
const SERVED_FOR: Duration = Duration::from_secs(10);
/// The most sockets whose program, and ports whose socket, are remembered.
const MOST_KNOWN: usize = 16_384;

/// Why programs can't be determined.
#[derive(Debug, thiserror::Error)]
#[error("could not open a sock_diag socket; flows will be reported without their programs")]
pub struct ProgramsError(#[source] io::Error);

/// Finds programs, and remembers them for a while.
#[derive(Debug)]
pub struct Programs {
    diag: Diag,
    /// By the socket's inode.
    known: HashMap<u32, Arc<Program>>,
    /// The socket that serves a local port.
    serving: HashMap<(Protocol, IpAddr, u16), (Instant, Option<SocketOwner>)>,
    services: Services,
    users: Users,
    /// The time of the next search.
    next_search: Instant,
    /// The least time between two searches.
    interval: Duration,
}

impl Programs {
    /// Finds programs in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no sock_diag.
    pub fn open() -> Result<Self, ProgramsError> {
        Ok(Self {
            diag: Diag::open().map_err(ProgramsError)?,
            known: HashMap::new(),
            serving: HashMap::new(),
            services: Services::default(),
            users: Users::default(),
            next_search: Instant::now(),
            interval: SEARCH_INTERVAL,
        })
    }

    /// Sets the least time between two searches, instead of a second; their share of the time stays limited.
    #[must_use]
    pub fn searching_every(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// The local socket of a flow that this host opened. Costs two system calls.
    pub fn opener(
        &mut self,
        protocol: Protocol,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<SocketOwner> {
        self.diag.find(protocol, local, remote).ok().flatten()
    }

    /// The local sockets of flows that this host opened to these destinations, if their own ports are not
    /// known. Costs a list of all sockets.
    pub fn openers_to(
        &mut self,
        protocol: Protocol,
        destinations: &HashSet<SocketAddr>,
    ) -> HashMap<SocketAddr, SocketOwner> {
        self.diag.find_all_to(protocol, destinations).unwrap_or_default()
    }

    /// The socket that serves a local port. Remembered for ten seconds.
    pub fn server(&mut self, protocol: Protocol, local: SocketAddr) -> Option<SocketOwner> {
        let key = (protocol, local.ip(), local.port());
        let now = Instant::now();
        if let Some((until, owner)) = self.serving.get(&key)
            && now < *until
        {
            return *owner;
        }
        // No connection comes from this address, so the listening socket is found.
        let nobody: IpAddr = match local.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let owner = self.opener(protocol, local, SocketAddr::new(nobody, 0));
        if self.serving.len() >= MOST_KNOWN {
            self.serving.clear();
        }
        self.serving.insert(key, (now + SERVED_FOR, owner));
        owner
    }

    /// The program of a socket if it was already found.
    #[must_use]
    pub fn known(&self, owner: &SocketOwner) -> Option<Arc<Program>> {
        self.known.get(&owner.inode).cloned()
    }

    /// The time of the next search; until then none is done.
    #[must_use]
    pub fn next_search(&self) -> Instant {
        self.next_search
    }

    /// Searches the programs of these sockets unless the last search was too recent. `false`: it was not
    /// done.
    pub fn search(&mut self, owners: impl IntoIterator<Item = SocketOwner>) -> bool {
        let start = Instant::now();
        if start < self.next_search {
            return false;
        }
        let owners: HashMap<u32, SocketOwner> = owners
            .into_iter()
            .filter(|owner| owner.inode != 0 && !self.known.contains_key(&owner.inode))
            .map(|owner| (owner.inode, owner))
            .collect();
        if self.known.len() + owners.len() > MOST_KNOWN {
            self.known.clear();
        }
        self.services.refresh(owners.values().filter_map(|owner| owner.cgroup));
        self.users.refresh();
        self.search_processes(owners);
        let now = Instant::now();
        self.next_search = now + self.interval.max((now - start) * SEARCH_SHARE);
        true
    }

    fn search_processes(&mut self, mut wanted: HashMap<u32, SocketOwner>) {
        let mut pids: Vec<u32> = processes::pids();
        // The first process holds sockets for services that it starts later: it is searched last.
        pids.sort_unstable_by_key(|&pid| (pid == 1, pid));
        for pid in pids {
            if wanted.is_empty() {
                return;
            }
            let held: HashSet<u32> =
                sockets::inodes_of(pid).filter(|inode| wanted.contains_key(inode)).collect();
            if held.is_empty() {
                continue;
            }
            let Some(process) = Process::of(pid) else { continue };
            for inode in held {
                let Some(owner) = wanted.remove(&inode) else { continue };
                let program = self.describe(&owner, Some(&process));
                self.known.insert(inode, Arc::new(program));
            }
        }
    }

    /// What is known of a socket without its process.
    #[must_use]
    pub fn without_process(&self, owner: &SocketOwner) -> Program {
        self.describe(owner, None)
    }

    fn describe(&self, owner: &SocketOwner, process: Option<&Process>) -> Program {
        Program {
            name: process.map(|process| process.name.clone()),
            path: process.and_then(|process| process.path.clone()),
            uid: Some(owner.uid),
            user: self.users.name(owner.uid),
            service: owner.cgroup.and_then(|cgroup| self.services.name(cgroup)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn openers_are_found_by_their_destination() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln!("SKIPPED: no {address} here");
                continue;
            };
            let there = listener.local_addr().unwrap();
            let _asking = TcpStream::connect(there).unwrap();
            let nobody: SocketAddr = "203.0.113.1:9".parse().unwrap();
            let mut programs = Programs::open().unwrap();
            let wanted = HashSet::from([there, nobody]);
            let found = programs.openers_to(Protocol::Tcp, &wanted);
            assert_eq!(found.keys().collect::<Vec<_>>(), [&there]);
            programs.search(found.values().copied());
            let name = programs.known(&found[&there]).unwrap().name.clone();
            let own = Process::of(std::process::id()).unwrap().name;
            assert_eq!(name, Some(own));

            let asking = UdpSocket::bind((there.ip(), 0)).unwrap();
            asking.connect(there).unwrap();
            let found = programs.openers_to(Protocol::Udp, &wanted);
            assert_eq!(found.keys().collect::<Vec<_>>(), [&there]);
        }
    }
}
