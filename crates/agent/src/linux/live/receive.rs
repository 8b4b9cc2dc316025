//! The thread that receives packets and aggregates them into flows.

use std::time::{Duration, Instant};

use xshield_enforce::problems::chain;
use xshield_enforce::resident::host::nflog::{Aggregate, Drained, Listener};
use xshield_enforce::{LiveCounters, LiveGroup};

use super::counts::GroupCounts;
use super::outbox::{Batch, MOST_FLOWS, Outbox};
use crate::agent::Agent;
use crate::cycles::Wake;
use crate::live::ListenerStatus;

/// The delay after a first packet before it is passed on.
const FIRST: Duration = Duration::from_millis(100);
/// The interval while more packets arrive.
const STEP: Duration = Duration::from_millis(400);
/// The interval while very many flows arrive: the platform stores each.
const LONG_STEP: Duration = Duration::from_secs(1);
/// The number of flows at a time that counts as very many.
const MANY_FLOWS: usize = MOST_FLOWS / 2;
/// The longest wait for a packet.
const QUIET: Duration = Duration::from_secs(2);
/// How often the kernel's counter is read while no packets arrive: they may all be lost.
const LOOK: Duration = Duration::from_secs(10);
/// The pause before a failed attempt is repeated.
const AGAIN: Duration = Duration::from_secs(60);
/// How soon the thread notices that live events are switched on.
const NOTICE: Duration = Duration::from_secs(2);
/// The most reads to empty the socket; in a flood it may never be empty.
const MOST_READINGS: usize = 64;

/// Receives packets until the agent stops.
pub(crate) fn run(agent: &Agent, outbox: &Outbox) {
    while !agent.is_stopping() {
        let Some(group) = agent.settings().live else {
            stand(agent, ListenerStatus::Off);
            agent.rest(NOTICE);
            continue;
        };
        if let Err(reason) = hold(agent, outbox, group) {
            agent.log.warn(&format!("live events are not reported: {reason}"));
            stand(agent, ListenerStatus::Failed { reason });
            rest_unless_configured(agent);
        }
    }
}

/// Waits before the next attempt; a changed configuration is tried at once.
fn rest_unless_configured(agent: &Agent) {
    let (configured, began) = (agent.configured(), Instant::now());
    let same = || agent.configured() == configured && !agent.is_stopping();
    while same() && began.elapsed() < AGAIN {
        agent.rest(NOTICE);
    }
}

/// Sets the status. The rules follow in a cycle; the first one is about to start anyway.
fn stand(agent: &Agent, standing: ListenerStatus) {
    if agent.live.stand(standing) && agent.has_begun() {
        agent.wake(Wake::Reconfigured);
    }
}

/// Holds the log group until another one or none is configured.
fn hold(agent: &Agent, outbox: &Outbox, group: LiveGroup) -> Result<(), String> {
    // In this order: a packet in between is counted as lost rather than not at all.
    let mut counters = LiveCounters::open().map_err(|error| chain(&error))?;
    let mut counts = GroupCounts::default();
    let open = || Listener::open(&[group.number()]).map_err(|error| chain(&error));
    let mut listener = Some(open()?);
    loop {
        let standing = match listener {
            Some(_) => ListenerStatus::Listening { group },
            None => ListenerStatus::Resting { group },
        };
        stand(agent, standing);
        let (counters, counts) = (&mut counters, &mut counts);
        let receiver = LiveReceiver { agent, outbox, group, counters, counts };
        match &mut listener {
            Some(listener) => receiver.listen(listener)?,
            None => receiver.rest(),
        }
        if agent.is_stopping() || agent.settings().live != Some(group) {
            return Ok(());
        }
        listener = match agent.is_throttled() {
            true => None,
            false => Some(listener.map_or_else(open, Ok)?),
        };
    }
}

struct LiveReceiver<'a> {
    agent: &'a Agent,
    outbox: &'a Outbox,
    group: LiveGroup,
    counters: &'a mut LiveCounters,
    counts: &'a mut GroupCounts,
}

impl LiveReceiver<'_> {
    fn goes_on(&self) -> bool {
        !self.agent.is_stopping() && self.agent.settings().live == Some(self.group)
    }

    /// Receives and passes on packets until the configuration or budget changes.
    fn listen(mut self, listener: &mut Listener) -> Result<(), String> {
        let mut aggregate = Aggregate::new(MOST_FLOWS);
        let mut due = Instant::now() + STEP;
        let mut looked = Instant::now();
        loop {
            let busy = !aggregate.is_empty() || !self.counts.is_settled();
            let wait = if busy { due.saturating_duration_since(Instant::now()) } else { QUIET };
            let clock = || self.agent.environment.now();
            let read = listener.read(&mut aggregate, wait, clock).map_err(|error| chain(&error))?;
            if !busy && read.packets > 0 {
                due = due.max(Instant::now() + FIRST);
                continue;
            }
            if (busy && Instant::now() >= due) || looked.elapsed() >= LOOK {
                let told = self.step(listener, &mut aggregate)?;
                looked = Instant::now();
                due = looked + if told >= MANY_FLOWS { LONG_STEP } else { STEP };
            }
            if !self.goes_on() || self.agent.is_throttled() {
                return self.step(listener, &mut aggregate).map(drop);
            }
        }
    }

    /// Passes on what was received since the last step; returns the number of flows.
    fn step(
        &mut self,
        listener: &mut Listener,
        aggregate: &mut Aggregate,
    ) -> Result<usize, String> {
        let clock = || self.agent.environment.now();
        let mut emptied = false;
        for _ in 0..MOST_READINGS {
            let read = listener.read(aggregate, Duration::ZERO, clock);
            let read = read.map_err(|error| chain(&error))?;
            if read.packets == 0 && read.overruns == 0 {
                emptied = true;
                break;
            }
        }
        let room = self.outbox.has_room();
        let Drained { flows, overflow, .. } = match room {
            true => aggregate.drain(),
            false => Drained::default(),
        };
        let overflow: u64 = overflow.iter().map(|(_, count)| count.packets).sum();
        let received = flows.iter().map(|live| live.flow.packets).sum::<u64>() + overflow;
        self.counts.add_received(received);
        // What is still in the socket or in this thread is not lost.
        let missed = if emptied && room { self.missed() } else { 0 };
        self.read_counters();
        let told = flows.len();
        let batch = Batch { flows, lost: overflow + missed };
        if told > 0 || batch.lost > 0 {
            self.outbox.put(batch);
        }
        Ok(told)
    }

    /// Over the budget: packets are only counted.
    fn rest(mut self) {
        while self.goes_on() && self.agent.is_throttled() {
            self.read_counters();
            self.agent.rest(QUIET);
            let lost = self.missed();
            if lost > 0 {
                self.outbox.put(Batch { flows: Vec::new(), lost });
            }
        }
    }

    fn missed(&mut self) -> u64 {
        self.counts.newly_lost(Instant::now())
    }

    fn read_counters(&mut self) {
        match self.counters.read() {
            Ok(total) => self.counts.offer(total, Instant::now()),
            Err(error) => self.agent.log.debug(&chain(&error)),
        }
    }
}
