//! Live events: packets that our rules log to an NFLOG group (`log group N`), seconds before any other source
//! has them.
//!
//! The kernel numbers a group's packets and sends them in batches. A missing number is a lost packet, so
//! losses are known exactly, with one delay: those after the last received packet are detected when the next
//! one arrives.

mod aggregate;
mod packet;

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fs, io};

use netlink_sys::protocols::NETLINK_NETFILTER;
use xshield_wire::message::UnixSeconds;

use super::netlink::{Link, Messages, RECEIVE_BYTES, ReceiveResult};
use super::processes;

pub use aggregate::{Aggregate, Count, Drained, LiveFlow};
pub use packet::{Ends, Packet};

/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG`, linux/netfilter/nfnetlink_log.h.
const CONFIG: u16 = 4 << 8 | 1;
/// `enum nfulnl_attr_config`.
mod config {
    pub(super) const COMMAND: u16 = 1;
    pub(super) const MODE: u16 = 2;
    pub(super) const BUFFER_SIZE: u16 = 3;
    pub(super) const TIMEOUT: u16 = 4;
    pub(super) const THRESHOLD: u16 = 5;
    pub(super) const FLAGS: u16 = 6;
}
/// `NFULNL_CFG_CMD_BIND`.
const BIND: u8 = 1;
/// `NFULNL_COPY_PACKET`.
const COPY_PACKET: u8 = 2;
/// `NFULNL_CFG_F_SEQ`.
const NUMBERED: u16 = 1;

/// Bytes of each packet that are copied: enough for an IPv4 header with all options and the ports, or an IPv6
/// header with some extension headers.
const COPIED_BYTES: u32 = 128;
/// The kernel collects packets for at most this long, in hundredths of a second.
const COLLECT_CENTISECONDS: u32 = 10;
/// The kernel collects at most this many packets.
const COLLECT_PACKETS: u32 = 500;
/// The kernel's buffer for collected packets. It is one allocation, which often fails for more than 32 KiB;
/// then the kernel sends packets one by one.
const COLLECT_BYTES: u32 = 32 << 10;
/// The size of the socket's buffer: about a third of a second at 100,000 packets a second.
const WAITING_BYTES: usize = 16 << 20;
/// The most batches that one call processes, so that it returns even in a flood.
const MOST_PORTIONS: usize = 256;

/// Why live packets can't be received.
#[derive(Debug, thiserror::Error)]
pub enum NflogError {
    /// The socket can't be opened.
    #[error(
        "could not open a netlink socket for live events; run as root or with CAP_NET_ADMIN, on a \
         kernel with nfnetlink_log"
    )]
    Open(#[source] io::Error),
    /// The group already has another listener.
    #[error(
        "could not bind log group {group}: another program holds it; stop that program or choose \
         another group"
    )]
    Busy {
        /// The group.
        group: u16,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// A group can't be set up.
    #[error(
        "could not set up log group {group}; it needs CAP_NET_ADMIN and the kernel's nfnetlink_log"
    )]
    Bind {
        /// The group.
        group: u16,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// Reading failed.
    #[error("could not read logged packets; open the log groups again")]
    Read(#[source] io::Error),
}

/// Receives the packets of some groups. The kernel allows one listener per group.
#[derive(Debug)]
pub struct Listener {
    link: Link,
    buffer: Vec<u8>,
    numbers: Numbers,
}

/// The result of one [`Listener::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Read {
    /// Packets that were added to the aggregate.
    pub packets: u64,
    /// Packets lost before these, exactly.
    pub lost: u64,
    /// How often the buffer was full: packets were lost, which a later `lost` will count.
    pub overruns: u64,
}

impl Listener {
    /// Binds `groups` in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Without the privilege or the kernel's support, or when another program listens to a group.
    pub fn open(groups: &[u16]) -> Result<Self, NflogError> {
        let mut link = Link::open(NETLINK_NETFILTER).map_err(NflogError::Open)?;
        link.set_receive_buffer(WAITING_BYTES);
        for &group in groups {
            bind(&mut link, group).map_err(|source| {
                if is_held(group) {
                    NflogError::Busy { group, source }
                } else {
                    NflogError::Bind { group, source }
                }
            })?;
        }
        Ok(Self { link, buffer: vec![0; RECEIVE_BYTES], numbers: Numbers::default() })
    }

    /// Waits at most `timeout` for packets and adds those that arrived to `aggregate`, with the time of
    /// `clock` after the wait. In a flood it returns with a part of them.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn read(
        &mut self,
        aggregate: &mut Aggregate,
        timeout: Duration,
        clock: impl Fn() -> UnixSeconds,
    ) -> Result<Read, NflogError> {
        let mut total = Read::default();
        let mut timeout = timeout;
        for _ in 0..MOST_PORTIONS {
            match self.link.receive(&mut self.buffer, timeout).map_err(NflogError::Read)? {
                ReceiveResult::Datagram(size) => {
                    let read = self.numbers.fold(&self.buffer[..size], aggregate, clock());
                    total.packets += read.packets;
                    total.lost += read.lost;
                }
                ReceiveResult::Overrun => total.overruns += 1,
                ReceiveResult::Nothing => break,
            }
            timeout = Duration::ZERO;
        }
        Ok(total)
    }
}

fn bind(link: &mut Link, group: u16) -> io::Result<()> {
    let [a, b, c, d] = COPIED_BYTES.to_be_bytes();
    // In this order: a bound group may log at once, and its numbers begin with the flag. All is in one
    // message.
    link.request(
        CONFIG,
        0,
        group,
        &[
            (config::COMMAND, &[BIND]),
            (config::MODE, &[a, b, c, d, COPY_PACKET, 0]),
            (config::BUFFER_SIZE, &COLLECT_BYTES.to_be_bytes()),
            (config::TIMEOUT, &COLLECT_CENTISECONDS.to_be_bytes()),
            (config::THRESHOLD, &COLLECT_PACKETS.to_be_bytes()),
            (config::FLAGS, &NUMBERED.to_be_bytes()),
        ],
    )
}

/// Whether another program listens to the group: the kernel answers `EPERM` then, as it does without the
/// privilege.
fn is_held(group: u16) -> bool {
    let list = processes::own_proc().join("net/netfilter/nfnetlink_log");
    let list = fs::read_to_string(list).unwrap_or_default();
    let mut groups = list.lines().filter_map(|line| line.split_whitespace().next());
    groups.any(|number| number.parse() == Ok(group))
}

/// The next expected number, by group. Numbers begin with zero when the group is bound.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    expected: BTreeMap<u16, u32>,
}

impl Numbers {
    /// Adds the packets of one datagram of the kernel.
    pub fn fold(&mut self, datagram: &[u8], aggregate: &mut Aggregate, now: UnixSeconds) -> Read {
        let mut read = Read::default();
        for packet in Messages(datagram).filter_map(|message| Packet::read(&message)) {
            read.packets += 1;
            read.lost += packet.sequence.map_or(0, |number| self.lost_before(packet.group, number));
            aggregate.add(&packet, now);
        }
        read
    }

    /// The number of packets missing before this one. Numbers wrap around.
    fn lost_before(&mut self, group: u16, number: u32) -> u64 {
        let expected = self.expected.entry(group).or_insert(0);
        let lost = number.wrapping_sub(*expected);
        *expected = number.wrapping_add(1);
        lost.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gaps_in_sequence_numbers_are_lost_packets() {
        let mut numbers = Numbers::default();
        let mut lost = |group, number| numbers.lost_before(group, number);
        assert_eq!((lost(1, 0), lost(1, 1), lost(1, 5)), (0, 0, 3));
        assert_eq!((lost(2, 2), lost(1, 6)), (2, 0), "each group has its own");
        let mut numbers = Numbers { expected: [(1, u32::MAX)].into() };
        assert_eq!((numbers.lost_before(1, u32::MAX), numbers.lost_before(1, 2)), (0, 2));
    }

    proptest! {
        #[test]
        fn any_datagram_is_read(bytes: Vec<u8>, kind in prop::sample::select(vec![1024_u16, 3, 0])) {
            let mut aggregate = Aggregate::new(4);
            let mut message = u32::try_from(bytes.len() + 16).unwrap().to_ne_bytes().to_vec();
            message.extend(kind.to_ne_bytes());
            message.extend([0; 10]);
            message.extend(&bytes);
            for datagram in [&bytes, &message] {
                let read = Numbers::default().fold(datagram, &mut aggregate, 1);
                prop_assert_eq!(aggregate.drain().packets(), read.packets);
            }
        }
    }
}
