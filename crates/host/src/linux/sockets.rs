//! Which ports programs listen on: sock_diag(7), with `/proc/net` where the kernel lacks it.
//!
//! Looking for the program behind a socket means reading every process's descriptors: the costly part.
//! [`Holders`] remembers which descriptor of which process held a socket; one `readlink` proves that it
//! still does, and only new sockets cause a search.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use serde::{Deserialize, Serialize};
use xshield_policy::facts::Listener;
use xshield_policy::{ProcessMatch, Protocol};
use xshield_wire::message::ListeningPort;

use super::processes::{self, Process};

/// A dump message is at most 32 KiB (`NLMSG_GOODSIZE` limits of netlink_dump in the kernel).
const RECEIVE_BYTES: usize = 64 << 10;
/// The loopback interface has this index in every network namespace.
const LOOPBACK_INDEX: u32 = 1;
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

/// Which process holds which socket, as last seen. Kept between runs to save the search.
///
/// Some sockets have no holder to be seen (the kernel's own, those of other pid namespaces), others are
/// held by the first process for a service that it has yet to start. Looking for them anew at every run
/// would cost the full search every time: they are looked for in new processes only, and everywhere at
/// every [`THOROUGH_EVERY`]th run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Holders {
    held: BTreeMap<u32, Holder>,
    /// Searched for, and found nowhere but perhaps with the first process.
    unfound: BTreeSet<u32>,
    /// The processes that were searched.
    searched: BTreeSet<u32>,
    /// Runs since the last full search.
    age: u8,
}

/// Full searches are at most so many runs apart: an hour, at a run every five minutes.
const THOROUGH_EVERY: u8 = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    fd: u32,
}

/// A socket that waits for peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listening {
    protocol: Protocol,
    address: IpAddr,
    port: u16,
    uid: u32,
    inode: u32,
    families: Families,
}

/// Which peers a socket serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Families {
    Own,
    /// An IPv6 wildcard socket that takes IPv4, too.
    Both,
}

/// Every port of this network namespace that a program listens on, sorted, loopback-only ones left
/// out: TCP in LISTEN, UDP bound and not connected. A socket that serves IPv6 and IPv4 is listed for
/// both.
///
/// # Errors
/// When the kernel answers neither way.
pub fn listening_ports(holders: &mut Holders) -> Result<Vec<ListeningPort>, SocketsError> {
    let sockets = by_sock_diag()
        .or_else(|diag| by_proc_net().map_err(|source| SocketsError { diag, source }))?;
    let sockets: Vec<Listening> =
        sockets.into_iter().filter(|socket| !socket.address.is_loopback()).collect();
    holders.refresh(&sockets.iter().map(|socket| socket.inode).collect());
    let mut ports: Vec<ListeningPort> =
        sockets.iter().flat_map(|socket| rows(socket, holders)).collect();
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

/// The ports of each process of an inbound rule. A process that listens on nothing has no entry, which
/// opens nothing.
#[must_use]
pub fn listeners<'a>(
    ports: &[ListeningPort],
    wanted: impl IntoIterator<Item = &'a ProcessMatch>,
) -> BTreeMap<ProcessMatch, Vec<Listener>> {
    let mut found = BTreeMap::new();
    for process in wanted {
        let of_process: BTreeSet<Listener> = ports
            .iter()
            .filter(|port| {
                processes::matches(process, port.process.as_deref(), port.path.as_deref())
            })
            .map(|port| Listener { protocol: port.protocol, port: port.port })
            .collect();
        if !of_process.is_empty() {
            found.insert(process.clone(), of_process.into_iter().collect());
        }
    }
    found
}

fn rows(socket: &Listening, holders: &Holders) -> impl Iterator<Item = ListeningPort> {
    let process = holders.held.get(&socket.inode).and_then(|holder| Process::of(holder.pid));
    let (name, path) = process.map_or((None, None), |process| (Some(process.name), process.path));
    let row = ListeningPort {
        protocol: socket.protocol,
        address: socket.address,
        port: socket.port,
        process: name,
        path,
        uid: socket.uid,
    };
    let both = socket.families == Families::Both;
    let other =
        both.then(|| ListeningPort { address: Ipv4Addr::UNSPECIFIED.into(), ..row.clone() });
    [Some(row), other].into_iter().flatten()
}

impl Holders {
    /// Keeps what is still true, searches for the rest.
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

    /// Reads the descriptors of these processes until every socket is found; returns what was not, and
    /// what only the first process holds. Of several holders the one with the lowest pid is taken.
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

/// The sockets among a process's descriptors. Kernel threads have none; processes of others may not be
/// read.
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
        let target = fs::read_link(format!("/proc/{}/fd/{}", self.pid, self.fd)).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    }

    fn holds(self, inode: u32) -> bool {
        self.inode() == Some(inode)
    }
}

fn by_sock_diag() -> io::Result<Vec<Listening>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut found = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for family in [AF_INET, AF_INET6] {
            match dump(&socket, family, protocol, &mut found) {
                // A kernel without IPv6 has no such family.
                Err(error) if family == AF_INET6 && error.raw_os_error() == Some(libc::ENOENT) => {}
                other => other?,
            }
        }
    }
    Ok(found)
}

fn dump(
    socket: &Socket,
    family: u8,
    protocol: Protocol,
    found: &mut Vec<Listening>,
) -> io::Result<()> {
    socket.send(&request(family, protocol), 0)?;
    let mut buffer = vec![0_u8; RECEIVE_BYTES];
    loop {
        let size = socket.recv(&mut &mut buffer[..], 0)?;
        let mut rest = &buffer[..size];
        while !rest.is_empty() {
            let message = <NetlinkMessage<SockDiagMessage>>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            // Messages are padded to four bytes.
            let length = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    found.extend(listening(protocol, &response));
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

fn request(family: u8, protocol: Protocol) -> Vec<u8> {
    // A UDP socket that is bound and not connected is "closed" to the kernel.
    let (number, states) = match protocol {
        Protocol::Tcp => (IPPROTO_TCP, StateFlags::LISTEN),
        _ => (IPPROTO_UDP, StateFlags::CLOSE),
    };
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let extensions = ExtensionFlags::empty();
    let request = InetRequest { family, protocol: number, extensions, states, socket_id };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn listening(protocol: Protocol, response: &InetResponse) -> Option<Listening> {
    let header = &response.header;
    let id = &header.socket_id;
    if id.interface_id == LOOPBACK_INDEX {
        return None;
    }
    // Kernels before 4.3 don't say; there, as by default, a wildcard serves both.
    let v6_only = response.nlas.iter().any(|nla| matches!(nla, Nla::SkV6Only(true)));
    let families = if id.source_address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !v6_only {
        Families::Both
    } else {
        Families::Own
    };
    Some(Listening {
        protocol,
        address: id.source_address.to_canonical(),
        port: id.source_port,
        uid: header.uid,
        inode: header.inode,
        families,
    })
}

fn by_proc_net() -> io::Result<Vec<Listening>> {
    let directory = processes::own_proc().join("net");
    let mut found = Vec::new();
    for (file, protocol) in [
        ("tcp", Protocol::Tcp),
        ("tcp6", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("udp6", Protocol::Udp),
    ] {
        match fs::read_to_string(directory.join(file)) {
            Ok(text) => found.extend(text.lines().skip(1).filter_map(|l| proc_line(protocol, l))),
            // A kernel without IPv6.
            Err(error) if file.ends_with('6') && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// One line of `/proc/net/{tcp,udp}{,6}`, proc_net(5): `sl local remote st tx:rx tr:when retrnsmt uid
/// timeout inode …`.
fn proc_line(protocol: Protocol, line: &str) -> Option<Listening> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, state) = (words.get(1)?, words.get(3)?);
    let wanted = if protocol == Protocol::Tcp { "0A" } else { "07" };
    if *state != wanted {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let address = proc_address(address)?;
    let both = address == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    Some(Listening {
        protocol,
        address: address.to_canonical(),
        port: u16::from_str_radix(port, 16).ok()?,
        uid: words.get(7)?.parse().ok()?,
        inode: words.get(9)?.parse().ok()?,
        families: if both { Families::Both } else { Families::Own },
    })
}

/// Words of 32 bits in hexadecimal, each in the machine's byte order.
fn proc_address(text: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let word = text.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index)?);
            }
            Some(IpAddr::from(bytes))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "sockets_tests.rs"]
mod tests;
