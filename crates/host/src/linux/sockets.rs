//! The ports on which programs listen: sock_diag(7), or `/proc/net` if the kernel lacks it.
//!
//! Finding the program of a socket means reading every process's descriptors: the costly part. [`Holders`]
//! remembers which descriptor of which process held a socket; one `readlink` shows whether it still does, and
//! only new sockets require a search.

mod listing;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use xshield_policy::Protocol;
use xshield_policy::facts::Listener;
use xshield_wire::message::ListeningPort;

use listing::{Families, Listening, by_proc_net, by_sock_diag};

use super::instance::{Instance, Reader};
use super::processes::{self, ProcessDirectory};
use crate::socket_holders::{Holder, Holders};

/// systemd or another init.
const FIRST_PROCESS: u32 = 1;

/// Why the listening ports are not known.
#[derive(Debug, thiserror::Error)]
#[error("could not list the listening sockets, neither by sock_diag ({diag}) nor from /proc/net")]
pub struct SocketsError {
    diag: io::Error,
    #[source]
    source: io::Error,
}

/// The most runs between two full searches: an hour, with a run every five minutes.
const THOROUGH_EVERY: u8 = 12;

/// All listening sockets of this network namespace except loopback-only ones: TCP in LISTEN, UDP bound and
/// not connected.
///
/// # Errors
/// When the kernel supports neither way.
pub fn listening_sockets(holders: &mut Holders) -> Result<Vec<ListeningSocket>, SocketsError> {
    let sockets = by_sock_diag()
        .or_else(|diag| by_proc_net().map_err(|source| SocketsError { diag, source }))?;
    let sockets: Vec<Listening> =
        sockets.into_iter().filter(|socket| !socket.address.is_loopback()).collect();
    holders.refresh(&sockets.iter().map(|socket| socket.inode).collect());
    let mut owners = Owners { holders, reader: Reader::new(), read: BTreeMap::new() };
    Ok(sockets.iter().map(|socket| owners.socket(socket)).collect())
}

/// A listening socket that other hosts can reach, and its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListeningSocket {
    /// As reported: one row for IPv6, and one for IPv4 if it serves both.
    rows: Vec<ListeningPort>,
    /// TCP or UDP.
    protocol: Protocol,
    /// Its port.
    port: u16,
    /// The user that created it.
    pub(crate) uid: u32,
    /// The process that holds it; `None` if it was not found.
    pub(crate) holder: Option<Arc<Instance>>,
}

impl ListeningSocket {
    /// The port, as rules open it.
    pub(crate) fn listener(&self) -> Listener {
        Listener { protocol: self.protocol, port: self.port }
    }
}

/// The rows of these sockets as they are reported, sorted.
#[must_use]
pub fn ports(sockets: &[ListeningSocket]) -> Vec<ListeningPort> {
    let mut ports: Vec<ListeningPort> =
        sockets.iter().flat_map(|socket| &socket.rows).cloned().collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Reads the processes that hold sockets, each once.
struct Owners<'a> {
    holders: &'a Holders,
    reader: Reader,
    read: BTreeMap<u32, Option<Arc<Instance>>>,
}

impl Owners<'_> {
    fn socket(&mut self, socket: &Listening) -> ListeningSocket {
        let holder = self
            .holders
            .held
            .get(&socket.inode)
            .and_then(|&holder| self.holder(holder, socket.inode));
        let row = ListeningPort {
            protocol: socket.protocol,
            address: socket.address,
            port: socket.port,
            process: holder.as_ref().map(|holder| holder.name.to_string()),
            path: holder.as_ref().and_then(|holder| holder.path()),
            uid: Some(socket.uid),
            service: None,
        };
        let mut rows = vec![row];
        if socket.families == Families::Both {
            let row = ListeningPort { address: Ipv4Addr::UNSPECIFIED.into(), ..rows[0].clone() };
            rows.push(row);
        }
        let (protocol, port, uid) = (socket.protocol, socket.port, socket.uid);
        ListeningSocket { rows, protocol, port, uid, holder }
    }

    /// The process, if it still holds the socket: its id may have been reused.
    fn holder(&mut self, holder: Holder, inode: u32) -> Option<Arc<Instance>> {
        let process = ProcessDirectory::open(holder.pid)?;
        let reader = &mut self.reader;
        let read = self.read.entry(holder.pid);
        let read = read.or_insert_with(|| reader.read_from(holder.pid, &process).map(Arc::new));
        let holds = process.link(&format!("fd/{}", holder.fd)).and_then(|to| socket_inode(&to));
        read.clone().filter(|_| holds == Some(inode))
    }
}

impl Holders {
    /// Keeps holders that are still valid, and searches the others.
    fn refresh(&mut self, inodes: &BTreeSet<u32>) {
        self.held.retain(|inode, holder| inodes.contains(inode) && holder.holds(*inode));
        let with_service =
            |inode: &u32| self.held.get(inode).is_some_and(|holder| holder.pid != FIRST_PROCESS);
        let missing: BTreeSet<u32> =
            inodes.iter().copied().filter(|inode| !with_service(inode)).collect();
        if missing.is_empty() {
            self.unfound = missing;
            return;
        }
        let running: BTreeSet<u32> = processes::pids().into_iter().collect();
        if self.age >= THOROUGH_EVERY || !missing.is_subset(&self.unfound) {
            self.unfound = self.search(missing, &running);
            self.age = 0;
        } else {
            let new: BTreeSet<u32> = running.difference(&self.searched).copied().collect();
            self.unfound = self.search(missing, &new);
            self.age += 1;
        }
        self.searched = running;
    }

    /// Reads the descriptors of these processes until every socket is found; returns those not found, and
    /// those that only the first process holds. If there are several holders, the one with the lowest pid is
    /// used.
    fn search(&mut self, mut missing: BTreeSet<u32>, pids: &BTreeSet<u32>) -> BTreeSet<u32> {
        for &pid in pids.iter().filter(|&&pid| pid != FIRST_PROCESS) {
            if missing.is_empty() {
                return missing;
            }
            for (inode, holder) in sockets_of(pid) {
                if missing.remove(&inode) {
                    self.held.insert(inode, holder);
                }
            }
        }
        if pids.contains(&FIRST_PROCESS) && !missing.is_empty() {
            let first = sockets_of(FIRST_PROCESS);
            self.held.extend(first.into_iter().filter(|(inode, _)| missing.contains(inode)));
        }
        missing
    }
}

/// The sockets among a process's descriptors. Kernel threads have none; those of other users may not be
/// readable.
fn sockets_of(pid: u32) -> Vec<(u32, Holder)> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    descriptors
        .filter_map(|descriptor| {
            let fd = descriptor.ok()?.file_name().to_str()?.parse().ok()?;
            let holder = Holder { pid, fd };
            Some((holder.inode()?, holder))
        })
        .collect()
}

/// The inodes of the sockets that a process holds.
pub(super) fn inodes_of(pid: u32) -> impl Iterator<Item = u32> {
    sockets_of(pid).into_iter().map(|(inode, _)| inode)
}

impl Holder {
    fn inode(self) -> Option<u32> {
        socket_inode(&fs::read_link(format!("/proc/{}/fd/{}", self.pid, self.fd)).ok()?)
    }

    fn holds(self, inode: u32) -> bool {
        self.inode() == Some(inode)
    }
}

/// The inode of a socket from a descriptor's link, proc_pid_fd(5).
fn socket_inode(target: &Path) -> Option<u32> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests;
