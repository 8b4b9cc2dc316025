//! The kernel's queue of packets that wait for a verdict of this program (NFQUEUE), over netlink.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// `NFNL_SUBSYS_QUEUE << 8`, linux/netfilter/nfnetlink_queue.h; the message types follow.
const PACKET: u16 = 3 << 8;
const VERDICT: u16 = PACKET | 1;
const CONFIG: u16 = PACKET | 2;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLMSG_ERROR`, linux/netlink.h.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const ERROR: u16 = 2;
/// `NFQA_CFG_CMD`, `NFQA_CFG_PARAMS`.
const COMMAND: u16 = 1;
const PARAMETERS: u16 = 2;
/// `NFQNL_CFG_CMD_BIND`, `NFQNL_COPY_PACKET`.
const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
/// `NFQA_PACKET_HDR`, `NFQA_VERDICT_HDR`, `NFQA_PAYLOAD`.
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const PAYLOAD: u16 = 10;
/// `NF_INET_LOCAL_IN`, `NF_INET_LOCAL_OUT`.
const LOCAL_IN: u8 = 1;
const LOCAL_OUT: u8 = 3;
/// Bytes of each packet that are copied: headers with some options.
const COPIED: u32 = 256;

/// Where a packet is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// To a socket of this host.
    In,
    /// From one.
    Out,
}

/// A packet that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    id: u32,
    pub(super) hook: Hook,
    /// From its IP header on.
    pub(super) bytes: Vec<u8>,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Drop = 0,
    Accept = 1,
}

/// The queue of the network in which it was opened.
#[derive(Debug)]
pub(super) struct Queue {
    socket: Socket,
    number: u16,
    buffer: Vec<u8>,
}

impl Queue {
    /// Takes the queue of this number in the calling thread's network.
    pub(super) fn open(number: u16) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let queue = Self { socket, number, buffer: vec![0; 64 << 10] };
        let [a, b, c, d] = COPIED.to_be_bytes();
        queue.configure(COMMAND, &[BIND, 0, 0, 0])?;
        queue.configure(PARAMETERS, &[a, b, c, d, COPY_PACKET])?;
        Ok(queue)
    }

    fn configure(&self, attribute: u16, value: &[u8]) -> io::Result<()> {
        self.send(CONFIG, REQUEST | ACKNOWLEDGE, attribute, value)?;
        let mut buffer = [0; 4096];
        let size = self.socket.recv(&mut &mut buffer[..], 0)?;
        let answer = buffer.get(..size).and_then(|bytes| Messages(bytes).next());
        match answer.and_then(|(kind, body)| Some((kind, body.first_chunk::<4>()?))) {
            Some((ERROR, code)) => match i32::from_ne_bytes(*code) {
                0 => Ok(()),
                code => Err(io::Error::from_raw_os_error(-code)),
            },
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn send(&self, kind: u16, flags: u16, attribute: u16, value: &[u8]) -> io::Result<()> {
        let [high, low] = self.number.to_be_bytes();
        let mut body = vec![0, 0, high, low];
        let length = u16::try_from(value.len() + 4).map_err(io::Error::other)?;
        body.extend(length.to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
        let length = u32::try_from(body.len() + 16).map_err(io::Error::other)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        self.socket.send(&message, 0).map(drop)
    }

    /// The packets that arrive within `limit`; none if none does.
    pub(super) fn wait(&mut self, limit: Duration) -> io::Result<Vec<Waiting>> {
        let socket = self.socket.as_fd();
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&limit))? == 0 {
            return Ok(Vec::new());
        }
        let size = self.socket.recv(&mut &mut self.buffer[..], 0)?;
        let messages = Messages(self.buffer.get(..size).unwrap_or_default());
        let packets = messages.filter(|(kind, _)| *kind == PACKET);
        packets.map(|(_, body)| waiting(body).ok_or(io::ErrorKind::InvalidData.into())).collect()
    }

    /// Lets a packet go on, or drops it.
    pub(super) fn decide(&self, packet: &Waiting, fate: Fate) -> io::Result<()> {
        let value = [(fate as u32).to_be_bytes(), packet.id.to_be_bytes()].concat();
        self.send(VERDICT, REQUEST, VERDICT_HEADER, &value)
    }
}

/// A packet's message, after its header.
fn waiting(body: &[u8]) -> Option<Waiting> {
    let attributes = body.get(4..)?;
    let find = |wanted| {
        let mut all = Attributes(attributes);
        all.find_map(|(kind, value)| (kind == wanted).then_some(value))
    };
    let header = find(PACKET_HEADER)?;
    let hook = match *header.get(6)? {
        LOCAL_IN => Hook::In,
        LOCAL_OUT => Hook::Out,
        _ => return None,
    };
    let id = u32::from_be_bytes(*header.first_chunk()?);
    Some(Waiting { id, hook, bytes: find(PAYLOAD)?.to_vec() })
}

/// The messages of a datagram: type, and what follows the header.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.first_chunk::<16>()?;
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
        let length = usize::try_from(length).ok()?;
        let body = self.0.get(16..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([head[4], head[5]]), body))
    }
}

/// Attributes: type without flags, and value.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([head[2], head[3]]) & 0x3fff, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_as_the_kernel_sends_it() {
        let attribute = |kind: u16, value: &[u8]| {
            let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let body = |hook| {
            [
                vec![2, 0, 0, 7],
                attribute(PACKET_HEADER, &[0, 0, 1, 2, 8, 0, hook]),
                attribute(5, &[0, 0, 0, 3]),
                attribute(PAYLOAD, b"\x45\x00\x00"),
            ]
            .concat()
        };
        let read = |hook| Some(Waiting { id: 258, hook, bytes: b"\x45\x00\x00".to_vec() });
        for (number, wanted) in
            [(LOCAL_IN, read(Hook::In)), (LOCAL_OUT, read(Hook::Out)), (2, None)]
        {
            assert_eq!(waiting(&body(number)), wanted, "hook {number}");
        }
        assert_eq!(waiting(&body(LOCAL_IN)[..10]), None, "cut");
    }
}
