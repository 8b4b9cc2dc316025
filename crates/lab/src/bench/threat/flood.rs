//! Datagrams from arbitrary source addresses, as in a flood.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::lists::scattered;
use crate::bench::traffic::{Sink, number, settled};

const BODY: usize = 18;
const LENGTH: usize = 20 + 8 + BODY;

/// Sends from the network of the creating thread.
pub(super) struct Flood {
    socket: UdpSocket,
    to: SocketAddrV4,
    template: [u8; LENGTH],
    number: Cell<u32>,
}

impl Flood {
    pub(super) fn open(to: SocketAddrV4) -> Result<Self> {
        let socket = raw_socket().context("could not open a raw socket")?;
        let mut template = [0; LENGTH];
        // Version and length, lifetime, protocol; the kernel fills in the rest.
        (template[0], template[8], template[9]) = (0x45, 64, 17);
        template[16..20].copy_from_slice(&to.ip().octets());
        template[20..22].copy_from_slice(&40_000u16.to_be_bytes());
        template[22..24].copy_from_slice(&to.port().to_be_bytes());
        template[24..26].copy_from_slice(&[0, 8 + BODY as u8]);
        Ok(Self { socket, to, template, number: Cell::new(0) })
    }

    /// Returns whether the packet was sent.
    pub(super) fn send(&self, from: Ipv4Addr) -> bool {
        let mut packet = self.template;
        packet[12..16].copy_from_slice(&from.octets());
        self.socket.send_to(&packet, self.to).is_ok()
    }

    /// An address of 10.128.0.0/9, which is in no list; rarely the same.
    pub(super) fn any_address(&self) -> Ipv4Addr {
        self.number.set(self.number.get().wrapping_add(1));
        Ipv4Addr::from(scattered(self.number.get()) >> 9 | 0x0a80_0000)
    }

    /// Sends for `slice`, each packet from another address; returns the number that arrived per second.
    pub(super) fn rate(&self, to: &Sink, slice: Duration) -> Result<f64> {
        let before = to.arrived()?;
        let begin = Instant::now();
        let mut sent = 0;
        while begin.elapsed() < slice {
            for _ in 0..16 {
                // A full queue shows in the number of arrivals.
                self.send(self.any_address());
                sent += 1;
            }
        }
        let time = begin.elapsed();
        Ok(number(settled(to, before, sent)?) / time.as_secs_f64())
    }
}

#[allow(unsafe_code, reason = "std has no raw sockets")]
fn raw_socket() -> std::io::Result<UdpSocket> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: a call with numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, libc::IPPROTO_RAW) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened, and nobody else has it. Sending is the same for datagrams.
    Ok(UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}
