//! The counts of the kernel's flow recorder.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::{Direction, Protocol};

/// The verdict on a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKind {
    /// Its packets were dropped.
    Denied,
    /// Its packets would have been dropped in enforce mode.
    WouldDeny,
    /// It was let through; counted once per flow, not per packet.
    Accepted,
}

impl FlowKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Denied, Self::WouldDeny, Self::Accepted];
}

/// Whether a flow is the host's own or forwarded.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Traffic {
    /// One of its ends is this host.
    #[default]
    Own,
    /// This host forwards it between others.
    Forwarded,
}

impl Traffic {
    /// Both kinds.
    pub const BOTH: [Self; 2] = [Self::Own, Self::Forwarded];

    /// For serde: entries written before forwarded traffic was recorded are own traffic.
    fn is_own(&self) -> bool {
        *self == Self::Own
    }
}

/// One element of the recorder. Its counts only increase until it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCount {
    /// The verdict.
    pub kind: FlowKind,
    /// Whether it is own or forwarded. Addresses and port of a forwarded flow are those that its opener used,
    /// before any translation.
    #[serde(default, skip_serializing_if = "Traffic::is_own")]
    pub traffic: Traffic,
    /// The direction; of a forwarded flow, the side from which it was opened.
    pub direction: Direction,
    /// The opener's address.
    pub source: IpAddr,
    /// The other end's address.
    pub destination: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port of TCP, UDP and SCTP; the type for ICMP; 0 for other protocols.
    pub port: u16,
    /// Packets counted: all of a denied flow, the first of an accepted one.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long the element lives if no packet arrives, in milliseconds.
    pub expires_in_ms: u64,
    /// How long ago the last packet was counted, in milliseconds, without the time that the machine slept.
    pub idle_ms: u64,
}

/// Packets that were not counted because a set of the recorder was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Losses {
    /// Identifies the recorder, as in [`FlowDump::epoch`].
    pub epoch: u64,
    /// The number since the table was created.
    pub packets: u64,
}

impl From<(u64, u64)> for Losses {
    fn from((epoch, packets): (u64, u64)) -> Self {
        Self { epoch, packets }
    }
}

impl From<Losses> for (u64, u64) {
    fn from(Losses { epoch, packets }: Losses) -> Self {
        (epoch, packets)
    }
}

impl Losses {
    /// The number lost since `last`, which becomes this reading.
    pub fn since(self, last: &mut Self) -> u64 {
        let before = std::mem::replace(last, self);
        if before.epoch == self.epoch {
            self.packets.saturating_sub(before.packets)
        } else {
            self.packets
        }
    }
}

/// The content of the recorder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FlowDump {
    /// Identifies the recorder: another number means that the table was created anew and all counts
    /// restarted.
    pub epoch: u64,
    /// The flows, in no order.
    pub flows: Vec<FlowCount>,
}

/// Identifies a flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Flow {
    kind: FlowKind,
    #[serde(default, skip_serializing_if = "Traffic::is_own")]
    traffic: Traffic,
    direction: Direction,
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    port: u16,
}

impl From<&FlowCount> for Flow {
    fn from(count: &FlowCount) -> Self {
        let &FlowCount { kind, traffic, direction, source, destination, protocol, port, .. } =
            count;
        Self { kind, traffic, direction, source, destination, protocol, port }
    }
}

/// The values of one flow at the last reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Last {
    packets: u64,
    bytes: u64,
    /// Until when the element certainly exists, on the caller's clock.
    lives_until_ms: u64,
}

/// The counts of a flow since the last reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// The flow with its counts since the last reading.
    pub flow: FlowCount,
    /// `false`: the element had been idle for so long that it may have expired and been created again since
    /// the last reading. Then all of its counts are given, which may repeat some that were given before.
    pub exact: bool,
}

/// Computes differences of cumulative counts. The kernel's counts are not reset, so no packet is lost between
/// reading and resetting; the last values are kept here, and saved by the caller from run to run.
///
/// No packet is omitted as long as the time between readings is shorter than the recorder's timeout; counts
/// that may be repeated are marked, see [`Delta::exact`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Differ {
    epoch: u64,
    read_at_ms: u64,
    last: Vec<(Flow, Last)>,
}

impl Differ {
    /// Processes a reading made at `now_ms`, milliseconds since boot including sleep, and returns what
    /// changed since the previous one. If the clock went back, the host was rebooted, and all counts
    /// restarted.
    pub fn advance(&mut self, dump: &FlowDump, now_ms: u64) -> Vec<Delta> {
        let restarted = dump.epoch != self.epoch || now_ms < self.read_at_ms;
        let before: HashMap<Flow, Last> =
            if restarted { HashMap::new() } else { self.last.drain(..).collect() };
        let mut deltas = Vec::new();
        let mut last = BTreeMap::new();
        for count in &dump.flows {
            let flow = Flow::from(count);
            let (packets, bytes, exact) = match before.get(&flow) {
                Some(old) if count.packets < old.packets => (count.packets, count.bytes, true),
                Some(old) if now_ms < old.lives_until_ms => {
                    (count.packets - old.packets, count.bytes.saturating_sub(old.bytes), true)
                }
                Some(_) => (count.packets, count.bytes, false),
                None => (count.packets, count.bytes, true),
            };
            if packets > 0 {
                deltas.push(Delta { flow: FlowCount { packets, bytes, ..count.clone() }, exact });
            }
            let lives_until_ms = now_ms.saturating_add(count.expires_in_ms);
            last.insert(flow, Last { packets: count.packets, bytes: count.bytes, lives_until_ms });
        }
        *self = Self { epoch: dump.epoch, read_at_ms: now_ms, last: last.into_iter().collect() };
        deltas
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMEOUT: u64 = 1000;

    #[test]
    fn losses_count_once_and_restart_with_a_new_table() {
        let mut last = Losses::default();
        let mut since = |epoch, packets| Losses { epoch, packets }.since(&mut last);
        assert_eq!(
            [since(7, 5), since(7, 5), since(7, 8), since(9, 2), since(9, 2)],
            [5, 0, 3, 2, 0]
        );
        // As host programs have always written it to disk.
        assert_eq!(serde_json::to_string(&last).unwrap(), "[9,2]");
        assert_eq!(serde_json::from_str::<Losses>("[9,2]").unwrap(), last);
    }

    fn count(port: u16, packets: u64, expires_in_ms: u64) -> FlowCount {
        FlowCount {
            kind: FlowKind::Denied,
            traffic: Traffic::Own,
            direction: Direction::Inbound,
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            protocol: Protocol::Tcp,
            port,
            packets,
            bytes: packets * 60,
            expires_in_ms,
            idle_ms: 0,
        }
    }

    /// A kernel's set: per port the packets and the expiry of the element.
    #[derive(Default)]
    struct Kernel(BTreeMap<u16, (u64, u64)>);

    impl Kernel {
        fn packet(&mut self, port: u16, now: u64) {
            self.0.retain(|_, (_, expires)| *expires > now);
            let element = self.0.entry(port).or_default();
            *element = (element.0 + 1, now + TIMEOUT);
        }

        fn dump(&mut self, now: u64) -> FlowDump {
            self.0.retain(|_, (_, expires)| *expires > now);
            let flows = self.0.iter().map(|(&port, &(n, expires))| count(port, n, expires - now));
            FlowDump { epoch: 1, flows: flows.collect() }
        }
    }

    proptest! {
        #[test]
        fn every_packet_is_counted(
            steps in proptest::collection::vec((0u64..400, 0u16..3, any::<bool>()), 0..200),
        ) {
            let (mut kernel, mut differ) = (Kernel::default(), Differ::default());
            let (mut now, mut sent, mut seen, mut read_at, mut exact) = (0, 0, 0, 0, true);
            for (wait, port, read) in steps {
                // Read at least once per timeout, and otherwise at random.
                if now + wait >= read_at + TIMEOUT || read {
                    let deltas = differ.advance(&kernel.dump(now), now);
                    exact &= deltas.iter().all(|delta| delta.exact);
                    seen += deltas.iter().map(|delta| delta.flow.packets).sum::<u64>();
                    read_at = now;
                }
                now += wait;
                kernel.packet(port, now);
                sent += 1;
                let text = serde_json::to_string(&differ).unwrap();
                differ = serde_json::from_str(&text).unwrap();
            }
            let deltas = differ.advance(&kernel.dump(now), now);
            exact &= deltas.iter().all(|delta| delta.exact);
            seen += deltas.iter().map(|delta| delta.flow.packets).sum::<u64>();
            prop_assert!(seen == sent || (seen > sent && !exact), "{seen} of {sent}, {exact}");
        }
    }

    #[test]
    fn possible_counter_resets_are_reported_and_lose_nothing() {
        let dump = |packets| FlowDump { epoch: 1, flows: vec![count(80, packets, TIMEOUT)] };
        let mut differ = Differ::default();
        differ.advance(&dump(5), 0);
        let late = differ.advance(&dump(5), 2 * TIMEOUT);
        assert_eq!((late[0].flow.packets, late[0].exact), (5, false));
        // A new table, a reboot.
        let anew = differ.advance(&FlowDump { epoch: 2, ..dump(6) }, 2 * TIMEOUT + 1);
        assert_eq!((anew[0].flow.packets, anew[0].exact), (6, true));
        let rebooted = differ.advance(&FlowDump { epoch: 2, ..dump(7) }, 3);
        assert_eq!(rebooted[0].flow.packets, 7);
    }
}
