//! The listening sockets as the kernel lists them.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

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
use xshield_policy::Protocol;

use crate::linux::processes;

/// A dump message is at most 32 KiB (`NLMSG_GOODSIZE` limits of netlink_dump in the kernel).
const RECEIVE_BYTES: usize = 64 << 10;
/// The loopback interface has this index in every network namespace.
const LOOPBACK_INDEX: u32 = 1;

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) protocol: Protocol,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) uid: u32,
    pub(super) inode: u32,
    pub(super) families: Families,
}

/// Which address families a socket serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Families {
    Own,
    /// An IPv6 wildcard socket that also accepts IPv4.
    Both,
}

pub(super) fn by_sock_diag() -> io::Result<Vec<Listening>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut found = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for family in [AF_INET, AF_INET6] {
            match dump(&socket, family, protocol, &mut found) {
                // A kernel without IPv6 does not know the address family.
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
    // A bound, unconnected UDP socket is "closed" to the kernel.
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
    // Kernels before 4.3 don't report it; there, as by default, a wildcard serves both.
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

pub(super) fn by_proc_net() -> io::Result<Vec<Listening>> {
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
pub(super) fn proc_line(protocol: Protocol, line: &str) -> Option<Listening> {
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
