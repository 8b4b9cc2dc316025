//! Connections from the kernel, each with its program, folded into paths.

use std::io;
use std::mem;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use xshield_wire::message::UnixSeconds;

use super::super::netlink::{Arrival, Link, RECEIVE_BYTES, netfilter};
use super::message::{Connection, Event, GET, Phase};
use super::paths::{Drained, Limits};
use super::watched::{Known, Watched};
use super::{Accounting, events};

/// `NFNLGRP_CONNTRACK_NEW` and `NFNLGRP_CONNTRACK_DESTROY`, linux/netfilter/nfnetlink.h. Changes in
/// between are not asked for: they would triple the messages.
const GROUPS: [u32; 2] = [1, 3];
/// What may wait in the kernel: some 15,000 messages.
const WAITING_BYTES: usize = 16 << 20;
/// Messages that one call takes, so that a flood can't keep it from returning.
const MOST_MESSAGES: usize = 20_000;

/// Calls' worth of messages that are taken in before what is not in the list counts as ended.
const MOST_ROUNDS: usize = 8;

/// Bounds of a [`Monitor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Of what is kept in memory.
    pub limits: Limits,
    /// Sockets that are asked for in a second, two system calls each; connections beyond that have no
    /// program.
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
    /// The subscription.
    #[error(
        "could not subscribe to connection events; run as root or with CAP_NET_ADMIN, on a kernel \
         with nf_conntrack_netlink"
    )]
    Subscribe(#[source] io::Error),
    /// The list.
    #[error("could not list connections; the kernel needs nf_conntrack_netlink")]
    List(#[source] io::Error),
    /// Reading broke.
    #[error("could not read connection events; open the monitor again")]
    Read(#[source] io::Error),
}

/// What one [`Monitor::read`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Connections that began.
    pub began: u64,
    /// Connections that ended.
    pub ended: u64,
    /// TCP connections among them that were open: somebody removed them (`conntrack -F`), or nothing was
    /// said on them for very long. The kernel says so since Linux 5.9.
    pub cut_off: u64,
    /// Messages that the kernel threw away.
    pub lost: u64,
}

/// What [`Monitor::drain`] takes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Paths, and what found no room.
    pub drained: Drained,
    /// Messages that the kernel threw away, each the begin or the end of a connection.
    pub lost_events: u64,
    /// Connections whose end was missed: what they moved last is not counted.
    pub missed_ends: u64,
    /// Connections without a program because too many came in a second.
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
    /// What the kernel has thrown away, when it was last asked.
    dropped: u32,
    state: State,
}

/// Whether what is known is what the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Current,
    /// Messages were lost.
    Doubtful,
}

impl Monitor {
    /// Subscribes in the network namespace of the calling thread, and learns what is open already.
    ///
    /// # Errors
    /// Without the privilege or without kernel support.
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

    /// Waits at most `timeout` for connections to begin or end, and takes in all that did. A caller
    /// that pauses some 50 ms between calls saves most of the cost of a busy host's messages, and
    /// still finds the sockets of connections that live that long.
    ///
    /// # Errors
    /// When a socket breaks.
    pub fn read(
        &mut self,
        timeout: Duration,
        now: UnixSeconds,
    ) -> Result<Activity, ConntrackError> {
        let mut activity = self.read_events(timeout, now)?;
        if self.state == State::Doubtful {
            self.read_list(Known::Since, now)?;
            self.state = State::Current;
            // Ends that were told meanwhile are no missed ones.
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

    /// Takes out what happened since the last drain, counters of open connections included. Connections
    /// of the last seconds whose program is still being looked for come with the next one.
    ///
    /// # Errors
    /// When the kernel's list can't be read; nothing is taken out then.
    pub fn drain(&mut self, now: UnixSeconds) -> Result<Report, ConntrackError> {
        self.watched.settle_when_due();
        let accounting = Accounting::read();
        if accounting == Accounting::On {
            self.read_list(Known::Since, now)?;
        }
        Ok(self.report(accounting))
    }

    /// The last [`Monitor::drain`], with everything.
    ///
    /// # Errors
    /// When a socket breaks.
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

    /// How many connections are known that are not over.
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
            let arrival = self.events.receive(&mut self.buffer, timeout);
            match arrival.map_err(ConntrackError::Read)? {
                Arrival::Datagram(size) => {
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
                Arrival::Overrun => activity.lost += self.count_losses(),
                Arrival::Nothing => break,
            }
            timeout = Duration::ZERO;
        }
        Ok(activity)
    }

    /// How many messages were lost since this was last asked.
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
