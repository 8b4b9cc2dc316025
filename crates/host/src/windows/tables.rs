//! The tables of sockets that iphlpapi keeps.

use std::io;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use windows_sys::Win32::Foundation::ERROR_INSUFFICIENT_BUFFER;
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, GetExtendedUdpTable, MIB_TCP_STATE_LISTEN, MIB_TCP6ROW_OWNER_MODULE,
    MIB_TCP6TABLE_OWNER_MODULE, MIB_TCPROW_OWNER_MODULE, MIB_TCPTABLE_OWNER_MODULE,
    MIB_UDP6ROW_OWNER_MODULE, MIB_UDP6TABLE_OWNER_MODULE, MIB_UDPROW_OWNER_MODULE,
    MIB_UDPTABLE_OWNER_MODULE, TCP_TABLE_OWNER_MODULE_ALL, UDP_TABLE_OWNER_MODULE,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};
use xshield_policy::Protocol;

use super::wide::{Filled, checked, grown};

/// A socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) protocol: Protocol,
    /// Where it is bound. Addresses stand without their scope.
    pub(super) local: SocketAddr,
    pub(super) role: Role,
    /// The process that made it.
    pub(super) process: u32,
    /// When it was bound, in units of 100 ns since 1601; 0 when that isn't known.
    pub(super) since: u64,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It takes what comes: TCP in LISTEN; UDP, of which Windows knows no peers.
    Waits,
    /// It is connected with a peer, or was.
    Connected(SocketAddr),
}

/// All sockets of this host.
pub(super) fn sockets() -> io::Result<Vec<Socket>> {
    let mut found = tcp4()?;
    found.extend(tcp6()?);
    found.extend(udp4()?);
    found.extend(udp6()?);
    Ok(found)
}

/// Which table.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Tcp,
    Udp,
}

#[allow(unsafe_code, reason = "the tables have no safe form in windows-sys")]
fn table(kind: Kind, family: u16) -> io::Result<Vec<u64>> {
    let tcp = TCP_TABLE_OWNER_MODULE_ALL;
    let udp = UDP_TABLE_OWNER_MODULE;
    grown(4_096, |buffer: &mut [u64]| {
        let (mut size, family) = (size_of_val(buffer) as u32, u32::from(family));
        let start = buffer.as_mut_ptr().cast();
        // SAFETY: the buffer is as long as it is said to be.
        let code = unsafe {
            match kind {
                Kind::Tcp => GetExtendedTcpTable(start, &raw mut size, 0, family, tcp, 0),
                Kind::Udp => GetExtendedUdpTable(start, &raw mut size, 0, family, udp, 0),
            }
        };
        match code {
            ERROR_INSUFFICIENT_BUFFER => Ok(Filled::TooSmall((size as usize).div_ceil(8))),
            code => checked(code).map(|()| Filled::Whole(buffer.len())),
        }
    })
}

/// The rows of a table: their number, and the rows at `offset`.
///
/// # Safety
/// The buffer must be filled with a table of such rows.
#[allow(unsafe_code, reason = "the tables have no safe form in windows-sys")]
unsafe fn rows<R: Copy>(table: &[u64], offset: usize) -> Vec<R> {
    let bytes = size_of_val(table);
    // SAFETY: tables begin with the number of their rows, and no table is shorter than a word.
    let count = unsafe { table.as_ptr().cast::<u32>().read() } as usize;
    let room = bytes.saturating_sub(offset) / size_of::<R>();
    let start = table.as_ptr().cast::<u8>();
    (0..count.min(room))
        // SAFETY: the row lies in the buffer, and any bytes are a row.
        .map(|row| unsafe { start.add(offset + row * size_of::<R>()).cast::<R>().read_unaligned() })
        .collect()
}

/// Ports stand in the order of the network, in the lower half of a word.
fn port(word: u32) -> u16 {
    u16::from_be((word & 0xffff) as u16)
}

fn v4(address: u32, port_word: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(u32::from_be(address))), port(port_word))
}

fn v6(address: [u8; 16], port_word: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)), port(port_word))
}

fn tcp_role(state: u32, remote: SocketAddr) -> Role {
    if state == MIB_TCP_STATE_LISTEN.cast_unsigned() {
        Role::Waits
    } else {
        Role::Connected(remote)
    }
}

#[allow(unsafe_code, reason = "the tables have no safe form in windows-sys")]
fn tcp4() -> io::Result<Vec<Socket>> {
    let table = table(Kind::Tcp, AF_INET)?;
    let offset = offset_of!(MIB_TCPTABLE_OWNER_MODULE, table);
    // SAFETY: Windows filled the buffer with this table.
    let rows: Vec<MIB_TCPROW_OWNER_MODULE> = unsafe { rows(&table, offset) };
    let socket = |row: MIB_TCPROW_OWNER_MODULE| Socket {
        protocol: Protocol::Tcp,
        local: v4(row.dwLocalAddr, row.dwLocalPort),
        role: tcp_role(row.dwState, v4(row.dwRemoteAddr, row.dwRemotePort)),
        process: row.dwOwningPid,
        since: row.liCreateTimestamp.cast_unsigned(),
    };
    Ok(rows.into_iter().map(socket).collect())
}

#[allow(unsafe_code, reason = "the tables have no safe form in windows-sys")]
fn tcp6() -> io::Result<Vec<Socket>> {
    let table = table(Kind::Tcp, AF_INET6)?;
    let offset = offset_of!(MIB_TCP6TABLE_OWNER_MODULE, table);
    // SAFETY: Windows filled the buffer with this table.
    let rows: Vec<MIB_TCP6ROW_OWNER_MODULE> = unsafe { rows(&table, offset) };
    let socket = |row: MIB_TCP6ROW_OWNER_MODULE| Socket {
        protocol: Protocol::Tcp,
        local: v6(row.ucLocalAddr, row.dwLocalPort),
        role: tcp_role(row.dwState, v6(row.ucRemoteAddr, row.dwRemotePort)),
        process: row.dwOwningPid,
        since: row.liCreateTimestamp.cast_unsigned(),
    };
    Ok(rows.into_iter().map(socket).collect())
}

#[allow(unsafe_code, reason = "the tables have no safe form in windows-sys")]
fn udp4() -> io::Result<Vec<Socket>> {
    let table = table(Kind::Udp, AF_INET)?;
    let offset = offset_of!(MIB_UDPTABLE_OWNER_MODULE, table);
    // SAFETY: Windows filled the buffer with this table.
    let rows: Vec<MIB_UDPROW_OWNER_MODULE> = unsafe { rows(&table, offset) };
    let socket = |row: MIB_UDPROW_OWNER_MODULE| Socket {
        protocol: Protocol::Udp,
        local: v4(row.dwLocalAddr, row.dwLocalPort),
        role: Role::Waits,
        process: row.dwOwningPid,
        since: row.liCreateTimestamp.cast_unsigned(),
    };
    Ok(rows.into_iter().map(socket).collect())
}

#[allow(unsafe_code, reason = "the tables have no safe form in windows-sys")]
fn udp6() -> io::Result<Vec<Socket>> {
    let table = table(Kind::Udp, AF_INET6)?;
    let offset = offset_of!(MIB_UDP6TABLE_OWNER_MODULE, table);
    // SAFETY: Windows filled the buffer with this table.
    let rows: Vec<MIB_UDP6ROW_OWNER_MODULE> = unsafe { rows(&table, offset) };
    let socket = |row: MIB_UDP6ROW_OWNER_MODULE| Socket {
        protocol: Protocol::Udp,
        local: v6(row.ucLocalAddr, row.dwLocalPort),
        role: Role::Waits,
        process: row.dwOwningPid,
        since: row.liCreateTimestamp.cast_unsigned(),
    };
    Ok(rows.into_iter().map(socket).collect())
}
