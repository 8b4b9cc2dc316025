//! Connections from the kernel, each with its program, aggregated into paths.

use std::io;
use std::mem;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use xshield_wire::message::UnixSeconds;

use super::super::netlink::{Link, RECEIVE_BYTES, ReceiveResult, netfilter};
use super::message::{Connection, Event, GET, Phase};
use super::paths::{Drained, Limits};
use super::watched::{Known, Watched};
use super::{Accounting, events};

/// `NFNLGRP_CONNTRACK_NEW` and `NFNLGRP_CONNTRACK_DESTROY`, linux/netfilter/nfnetlink.h. Other changes are
/// not subscribed to: they would triple the messages.
const GROUPS: [u32; 2] = [1, 3];
/// The size of the socket's buffer: some 15,000 messages.
const WAITING_BYTES: usize = 16 << 20;
/// The most messages that one call processes, so that it returns even in a flood.
const MOST_MESSAGES: usize = 20_000;

/// How many calls' worth of messages are processed before a connection missing in the list counts as ended.
const MOST_ROUNDS: usize = 8;

/// Limits of a [`Monitor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Limits of the memory.
    pub limits: Limits,
    /// Sockets looked up per second, two system calls each; connections beyond that have no program.
    pub lookups_per_second: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { limits: Limits::default(), lookups_per_second: 5_000 }
    }
}

/// Why connections can't be watched.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// Subscribing failed.
    #[error(
        "could not subscribe to connection events; run as root or with CAP_NET_ADMIN, on a kernel \
         with nf_conntrack_netlink"
    )]
    Subscribe(#[source] io::Error),
    /// Listing failed.
    #[error("could not list connections; the kernel needs nf_conntrack_netlink")]
    List(#[source] io::Error),
    /// Reading failed.
    #[error("could not read connection events; open the monitor again")]
    Read(#[source] io::Error),
}

/// The result of one [`Monitor::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Connections that began.
    pub began: u64,
    /// Connections that ended.
    pub ended: u64,
    /// TCP connections that ended while open: another program removed them (`conntrack -F`), or they were
    /// idle for very long. Known since Linux 5.9.
    pub cut_off: u64,
    /// Messages that the kernel dropped.
    pub lost: u64,
}

/// The result of [`Monitor::drain`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Paths, and what exceeded the limits.
    pub drained: Drained,
    /// Messages that the kernel dropped, each the begin or end of a connection.
    pub lost_events: u64,
    /// Connections whose end was missed: their last bytes are not counted.
    pub missed_ends: u64,
    /// Connections without a program because too many began in a second.
    pub unasked: u64,
    /// Whether packets and bytes are counted.
    pub accounting: Accounting,
}

/// Watches the connections of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Monitor {
    events: Link,
    list: Link,
    buffer: Vec<u8>,
    watched: Watched,
    lost_events: u64,
    missed_ends: u64,
    /// The number of dropped messages when it was last read.
    dropped: u32,
    state: State,
}

/// Whether the known connections match the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Current,
    /// Messages were lost.
    Doubtful,
}

impl Monitor {
    /// Subscribes in the network namespace of the calling thread, and lists the open connections.
    ///
    /// # Errors
    /// Without the privilege or the kernel's support.
    pub fn open(settings: Settings, now: UnixSeconds) -> Result<Self, ConntrackError> {
        let subscribe = || -> io::Result<Link> {
            let mut events = Link::open(NETLINK_NETFILTER)?;
            events.set_receive_buffer(WAITING_BYTES);
            GROUPS.into_iter().try_for_each(|group| events.join(group))?;
            Ok(events)
        };
        let mut monitor = Self {
            events: subscribe().map_err(ConntrackError::Subscribe)?,
            list: Link::open(NETLINK_NETFILTER).map_err(ConntrackError::List)?,
            buffer: vec![0; RECEIVE_BYTES],
            watched: Watched::new(settings),
            lost_events: 0,
            missed_ends: 0,
            dropped: 0,
            state: State::Current,
        };
        monitor.read_list(Known::Before, now)?;
        Ok(monitor)
    }

    /// Waits at most `timeout` for connections to begin or end, and processes all that did. Calls some 50 ms
    /// apart save most of the cost on a busy host, and still find the sockets of connections that live that
    /// long.
    ///
    /// # Errors
    /// When a socket fails.
    pub fn read(
        &mut self,
        timeout: Duration,
        now: UnixSeconds,
    ) -> Result<Activity, ConntrackError> {
        let mut activity = self.read_events(timeout, now)?;
        if self.state == State::Doubtful {
            self.read_list(Known::Since, now)?;
            self.state = State::Current;
            // Ends reported meanwhile are not missed ones.
            for _ in 0..MOST_ROUNDS {
                let meanwhile = self.read_events(Duration::ZERO, now)?;
                if meanwhile == Activity::default() {
                    break;
                }
                activity.began += meanwhile.began;
                activity.ended += meanwhile.ended;
                activity.cut_off += meanwhile.cut_off;
                activity.lost += meanwhile.lost;
            }
            self.missed_ends += self.watched.end_list();
        }
        self.watched.settle_when_due();
        Ok(activity)
    }

    /// Returns what happened since the last drain, including counters of open connections. Connections of the
    /// last seconds whose program is still being searched come with the next drain.
    ///
    /// # Errors
    /// When the kernel's list can't be read; nothing is drained then.
    pub fn drain(&mut self, now: UnixSeconds) -> Result<Report, ConntrackError> {
        self.watched.settle_when_due();
        let accounting = Accounting::read();
        if accounting == Accounting::On {
            self.read_list(Known::Since, now)?;
        }
        Ok(self.report(accounting))
    }

    /// The last [`Monitor::drain`], including connections whose program is not known yet.
    ///
    /// # Errors
    /// When a socket fails.
    pub fn finish(mut self, now: UnixSeconds) -> Result<Report, ConntrackError> {
        self.read(Duration::ZERO, now)?;
        self.watched.settle();
        self.drain(now)
    }

    fn report(&mut self, accounting: Accounting) -> Report {
        Report {
            drained: self.watched.drain(),
            lost_events: mem::take(&mut self.lost_events),
            missed_ends: mem::take(&mut self.missed_ends),
            unasked: self.watched.take_unasked(),
            accounting,
        }
    }

    /// The number of known connections that have not ended.
    #[must_use]
    pub fn live(&self) -> usize {
        self.watched.live()
    }

    fn read_events(
        &mut self,
        mut timeout: Duration,
        now: UnixSeconds,
    ) -> Result<Activity, ConntrackError> {
        let mut activity = Activity::default();
        for _ in 0..MOST_MESSAGES {
            let result = self.events.receive(&mut self.buffer, timeout);
            match result.map_err(ConntrackError::Read)? {
                ReceiveResult::Datagram(size) => {
                    for event in events(&self.buffer[..size]) {
                        activity.began += u64::from(matches!(event, Event::New(_)));
                        activity.ended += u64::from(matches!(event, Event::Ended(_)));
                        activity.cut_off += u64::from(matches!(
                            event,
                            Event::Ended(Connection { phase: Phase::Established, .. })
                        ));
                        self.watched.take(event, now);
                    }
                }
                ReceiveResult::Overrun => activity.lost += self.count_losses(),
                ReceiveResult::Nothing => break,
            }
            timeout = Duration::ZERO;
        }
        Ok(activity)
    }

    /// The number of messages lost since the last call.
    fn count_losses(&mut self) -> u64 {
        let dropped = self.events.dropped();
        let lost = dropped.map_or(1, |dropped| dropped.wrapping_sub(self.dropped).into());
        self.lost_events += lost;
        self.dropped = dropped.unwrap_or(self.dropped);
        self.state = State::Doubtful;
        lost
    }

    fn read_list(&mut self, known: Known, now: UnixSeconds) -> Result<(), ConntrackError> {
        self.watched.begin_list();
        let request = netfilter(0, 0, &[]).map_err(ConntrackError::List)?;
        let watched = &mut self.watched;
        let dump = self.list.dump(GET, &request, &mut self.buffer, |message| {
            if let Some(Event::Seen(connection)) = Event::read(message) {
                watched.list(connection, known, now);
            }
        });
        dump.map(drop).map_err(ConntrackError::List)
    }
}
