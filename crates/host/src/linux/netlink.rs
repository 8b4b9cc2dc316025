//! A netlink socket with timeouts, and the encoding of netlink messages: the common part of NFLOG, conntrack
//! and nftables notifications.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// `NLMSG_ERROR`, linux/netlink.h.
pub(super) const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NLM_F_ACK`.
const ACKNOWLEDGE: u16 = 4;
/// `NLM_F_ROOT | NLM_F_MATCH`.
const DUMP: u16 = 0x300;
/// `NLM_F_DUMP_INTR`: the list changed while it was read.
const DUMP_INTERRUPTED: u16 = 0x10;
/// The buffer for one datagram. The kernel sends at most 32 KiB in dumps, and NFLOG as much as configured.
pub(super) const RECEIVE_BYTES: usize = 128 << 10;
/// How long the kernel may take to answer. It answers at once.
const ANSWER: Duration = Duration::from_secs(5);

/// The result of one attempt to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReceiveResult {
    /// A datagram of this many bytes.
    Datagram(usize),
    /// Nothing within the timeout.
    Nothing,
    /// The socket's buffer was full, and the kernel dropped messages (`ENOBUFS`).
    Overrun,
}

/// Whether a dump is consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dump {
    /// It is.
    Whole,
    /// Objects were added or removed while it was read; all others are in it.
    Changed,
}

/// A socket to a part of the kernel, in the network namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    sequence: u32,
}

impl Link {
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        // Then only the kernel can send to the socket.
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Subscribes to a group of `enum nfnetlink_groups`.
    pub(super) fn join(&mut self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    /// Sets the size of the receive buffer; without the privilege, up to the system's limit.
    pub(super) fn set_receive_buffer(&self, bytes: usize) {
        use rustix::net::sockopt::{
            set_socket_recv_buffer_size, set_socket_recv_buffer_size_force,
        };
        if set_socket_recv_buffer_size_force(&self.socket, bytes).is_err() {
            let _ = set_socket_recv_buffer_size(&self.socket, bytes);
        }
    }

    /// Sends one request and waits for its acknowledgement.
    pub(super) fn request(
        &mut self,
        kind: u16,
        family: u8,
        resource: u16,
        attributes: &[(u16, &[u8])],
    ) -> io::Result<()> {
        let sequence = self.send(kind, ACKNOWLEDGE, &netfilter(family, resource, attributes)?)?;
        let mut buffer = vec![0; RECEIVE_BYTES];
        let deadline = Instant::now() + ANSWER;
        loop {
            let size = match self.receive(&mut buffer, left(deadline))? {
                ReceiveResult::Datagram(size) => size,
                ReceiveResult::Overrun => continue,
                ReceiveResult::Nothing => return Err(io::ErrorKind::TimedOut.into()),
            };
            for message in Messages(&buffer[..size]) {
                if message.sequence == sequence && message.kind == ERROR {
                    return message.outcome();
                }
            }
        }
    }

    /// Requests one object; `read` finds it in the answer.
    pub(super) fn ask<T>(
        &mut self,
        kind: u16,
        payload: &[u8],
        buffer: &mut [u8],
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> io::Result<T> {
        let sequence = self.send(kind, 0, payload)?;
        let deadline = Instant::now() + ANSWER;
        loop {
            let size = match self.receive(buffer, left(deadline))? {
                ReceiveResult::Datagram(size) => size,
                ReceiveResult::Overrun => continue,
                ReceiveResult::Nothing => return Err(io::ErrorKind::TimedOut.into()),
            };
            for message in Messages(&buffer[..size]) {
                if message.sequence != sequence {
                    continue;
                }
                if message.kind == ERROR {
                    message.outcome()?;
                } else {
                    return read(&message).ok_or_else(|| io::ErrorKind::InvalidData.into());
                }
            }
        }
    }

    /// Requests a list; `each` gets every answer's kind and payload.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        payload: &[u8],
        buffer: &mut [u8],
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<Dump> {
        let sequence = self.send(kind, DUMP, payload)?;
        let mut state = Dump::Whole;
        loop {
            let size = match self.receive(buffer, ANSWER)? {
                ReceiveResult::Datagram(size) => size,
                ReceiveResult::Overrun => {
                    state = Dump::Changed;
                    continue;
                }
                ReceiveResult::Nothing => return Err(io::ErrorKind::TimedOut.into()),
            };
            for message in Messages(&buffer[..size]) {
                if message.sequence != sequence {
                    continue;
                }
                if message.flags & DUMP_INTERRUPTED != 0 {
                    state = Dump::Changed;
                }
                match message.kind {
                    DONE => return Ok(state),
                    ERROR => return message.outcome().map(|()| state),
                    _ => each(&message),
                }
            }
        }
    }

    /// Sends one request; returns its number, which the answers carry.
    pub(super) fn send(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let length = u32::try_from(payload.len() + 16)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut bytes = Vec::with_capacity(payload.len() + 16);
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((REQUEST | flags).to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend_from_slice(payload);
        self.socket.send(&bytes, 0)?;
        Ok(self.sequence)
    }

    /// The number of messages that the kernel has dropped since the socket was opened because its buffer was
    /// full. `None` on kernels before 4.12.
    #[allow(unsafe_code, reason = "getsockopt(2) of SO_MEMINFO has no safe form")]
    pub(super) fn dropped(&self) -> Option<u32> {
        // linux/sock_diag.h: SK_MEMINFO_DROPS is the ninth number.
        let mut numbers = [0_u32; 9];
        let wanted = size_of_val(&numbers);
        let mut length = libc::socklen_t::try_from(wanted).ok()?;
        // SAFETY: the kernel writes at most `length` bytes to `numbers`, which are that long.
        let status = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                numbers.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        (status == 0 && length as usize == wanted).then_some(numbers[8])
    }

    /// Waits at most `timeout` for one datagram.
    pub(super) fn receive(
        &self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> io::Result<ReceiveResult> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.socket.recv(&mut &mut *buffer, libc::MSG_DONTWAIT) {
                Ok(size) => return Ok(ReceiveResult::Datagram(size.min(buffer.len()))),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => {}
                    Some(libc::EINTR) => continue,
                    Some(libc::ENOBUFS) => return Ok(ReceiveResult::Overrun),
                    _ => return Err(error),
                },
            }
            let left = left(deadline);
            if left.is_zero() {
                return Ok(ReceiveResult::Nothing);
            }
            let socket = self.socket.as_fd();
            let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            match poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// `struct nfgenmsg` and attributes.
pub(super) fn netfilter(
    family: u8,
    resource: u16,
    attributes: &[(u16, &[u8])],
) -> io::Result<Vec<u8>> {
    let [high, low] = resource.to_be_bytes();
    let mut bytes = vec![family, 0, high, low];
    for (kind, value) in attributes {
        let length = u16::try_from(value.len() + 4)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    Ok(bytes)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// A received message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Family and resource of `struct nfgenmsg`, and the attributes after it.
    pub(super) fn netfilter(&self) -> Option<(u8, u16, Attributes<'a>)> {
        let (&head, rest) = self.payload.split_first_chunk::<4>()?;
        Some((head[0], u16::from_be_bytes([head[2], head[3]]), Attributes(rest)))
    }

    /// The error of an error message; zero is an acknowledgement.
    pub(super) fn outcome(&self) -> io::Result<()> {
        match self.payload.first_chunk().map(|number| i32::from_ne_bytes(*number)) {
            Some(0) => Ok(()),
            Some(number) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The messages of one datagram, up to the first truncated one.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let head = self.0.first_chunk::<16>()?;
        let half = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = usize::try_from(word(0)).ok()?;
        let payload = self.0.get(16..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind: half(4), flags: half(6), sequence: word(8), payload })
    }
}

/// A sequence of attributes, without the flags of their types, up to the first truncated one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let head = self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([head[2], head[3]]) & 0x3fff, value))
    }
}

impl<'a> Attributes<'a> {
    pub(super) fn get(self, kind: u16) -> Option<&'a [u8]> {
        let mut all = self;
        all.find_map(|(found, value)| (found == kind).then_some(value))
    }
}

/// A number in network byte order that fills the attribute.
pub(super) fn be16(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

/// As [`be16`].
pub(super) fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// As [`be16`].
pub(super) fn be64(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// Text up to its first NUL.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.split(|&byte| byte == 0).next()?).ok()
}
