//! Aggregates packets into flows. Pure; memory is limited, but everything is counted.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;

use xshield_policy::{Direction, Protocol};
use xshield_wire::message::UnixSeconds;

use super::packet::{Ends, Packet};
use crate::log_line::{Heading, LoggedFlow};

/// The most headings that are remembered. A ruleset has one for each rule that blocks.
const MOST_HEADINGS: usize = 4096;

/// A flow, with the details of its last packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFlow {
    /// Heading, endpoints, counts and times.
    pub flow: LoggedFlow,
    /// The last packet's source port; 0 if there is none.
    pub source_port: u16,
    /// The user of the local socket that sent it; `None` for received packets.
    pub uid: Option<u32>,
    /// Index of the interface: the incoming one for inbound, the outgoing one for outbound flows.
    pub interface: Option<u32>,
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
}

/// What was seen since the last [`Aggregate::drain`]. Every packet is in exactly one of the three.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drained {
    /// The flows, in no particular order.
    pub flows: Vec<LiveFlow>,
    /// Packets of further flows that exceeded the limit, by heading.
    pub overflow: Vec<(Heading, Count)>,
    /// Packets that are not ours (another heading) or can't be parsed.
    pub foreign: u64,
}

impl Drained {
    /// The number of packets in it.
    #[must_use]
    pub fn packets(&self) -> u64 {
        let flows: u64 = self.flows.iter().map(|live| live.flow.packets).sum();
        let overflow: u64 = self.overflow.iter().map(|(_, count)| count.packets).sum();
        flows + overflow + self.foreign
    }
}

/// Aggregates packets by heading and endpoints. A packet of a known flow costs a look-up and no allocation.
#[derive(Debug)]
pub struct Aggregate {
    most_flows: usize,
    /// By the rule's prefix; `None` if it is not ours.
    numbers: HashMap<Box<[u8]>, Option<(usize, Seen)>>,
    headings: Vec<(Heading, Count)>,
    flows: HashMap<Key, Tally>,
    foreign: u64,
}

/// Which side sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The side that opened the flow.
    Opening,
    /// The other side. Either way the flow's opener is its source.
    Answering,
}

/// The word after the heading of an answer.
const ANSWER: &str = " answer";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    heading: usize,
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    port: u16,
}

#[derive(Debug, Clone, Copy)]
struct Tally {
    count: Count,
    first_seen: UnixSeconds,
    last_seen: UnixSeconds,
    source_port: u16,
    uid: Option<u32>,
    interface: Option<u32>,
}

impl Aggregate {
    /// Keeps at most `most_flows` flows between two drains, about 150 bytes each.
    #[must_use]
    pub fn new(most_flows: usize) -> Self {
        Self {
            most_flows,
            numbers: HashMap::new(),
            headings: Vec::new(),
            flows: HashMap::new(),
            foreign: 0,
        }
    }

    /// Counts a packet seen at `now`.
    pub fn add(&mut self, packet: &Packet<'_>, now: UnixSeconds) {
        let (Some((heading, seen)), Some(ends)) = (self.heading(packet.prefix), packet.ends())
        else {
            self.foreign += 1;
            return;
        };
        let Ends { source, destination, protocol, source_port, port, length } = match seen {
            Seen::Opening => ends,
            Seen::Answering => ends.turned(),
        };
        let key = Key { heading, source, destination, protocol, port };
        let direction = self.headings[heading].0.direction();
        let room = self.flows.len() < self.most_flows;
        let tally = match self.flows.get_mut(&key) {
            Some(tally) => tally,
            None if room => self.flows.entry(key).or_insert(Tally {
                count: Count::default(),
                first_seen: now,
                last_seen: now,
                source_port,
                uid: None,
                interface: None,
            }),
            None => return self.headings[heading].1.add(length),
        };
        tally.count.add(length);
        tally.first_seen = tally.first_seen.min(now);
        tally.last_seen = tally.last_seen.max(now);
        tally.source_port = source_port;
        tally.uid = packet.uid.or(tally.uid);
        tally.interface = match direction {
            Direction::Inbound => packet.in_interface,
            Direction::Outbound => packet.out_interface,
        };
    }

    /// The number of flows that wait to be drained.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether nothing was counted since the last drain.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let overflowed = || self.headings.iter().any(|(_, count)| count.packets > 0);
        self.flows.is_empty() && self.foreign == 0 && !overflowed()
    }

    /// Returns everything; counting restarts at zero.
    #[must_use]
    pub fn drain(&mut self) -> Drained {
        let headings = &self.headings;
        let flows = self.flows.drain().map(|(key, tally)| LiveFlow {
            flow: LoggedFlow {
                heading: headings[key.heading].0.clone(),
                source: key.source,
                destination: key.destination,
                protocol: key.protocol,
                port: key.port,
                packets: tally.count.packets,
                bytes: tally.count.bytes,
                first_seen: tally.first_seen,
                last_seen: tally.last_seen,
            },
            source_port: tally.source_port,
            uid: tally.uid,
            interface: tally.interface,
        });
        let flows = flows.collect();
        let overflow = self
            .headings
            .iter_mut()
            .filter(|(_, count)| count.packets > 0)
            .map(|(heading, count)| (heading.clone(), mem::take(count)));
        let overflow = overflow.collect();
        if self.numbers.len() >= MOST_HEADINGS {
            // Rules change; no key refers to a heading now.
            self.numbers.clear();
            self.headings.clear();
        }
        Drained { flows, overflow, foreign: mem::take(&mut self.foreign) }
    }

    fn heading(&mut self, prefix: &[u8]) -> Option<(usize, Seen)> {
        if let Some(number) = self.numbers.get(prefix) {
            return *number;
        }
        if self.numbers.len() >= MOST_HEADINGS {
            return None;
        }
        let text = std::str::from_utf8(prefix).ok();
        let (text, seen) = match text.and_then(|text| text.trim_end().strip_suffix(ANSWER)) {
            Some(heading) => (Some(heading), Seen::Answering),
            None => (text, Seen::Opening),
        };
        let number = text.and_then(Heading::parse).map(|heading| {
            self.headings.push((heading, Count::default()));
            (self.headings.len() - 1, seen)
        });
        self.numbers.insert(prefix.into(), number);
        number
    }
}

impl Count {
    fn add(&mut self, bytes: u32) {
        self.packets += 1;
        self.bytes += u64::from(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use xshield_wire::message::EventKind;

    fn packet<'a>(prefix: &'a [u8], payload: &'a [u8]) -> Packet<'a> {
        Packet {
            group: 1,
            sequence: None,
            prefix,
            in_interface: Some(2),
            out_interface: None,
            uid: None,
            payload,
        }
    }

    fn tcp(source: u8, source_port: u8, port: u8) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 60, 0, 1, 0, 0, 64, 6, 0, 0];
        bytes.extend([10, 0, 0, source, 10, 0, 0, 9, 0, source_port, 0, port]);
        bytes
    }

    const DENY: &[u8] = b"xshield: DENY in rule=none ";
    const THREAT: &[u8] = b"xshield: THREAT in action=DROP ";

    #[test]
    fn packets_become_flows() {
        let mut aggregate = Aggregate::new(10);
        assert!(aggregate.is_empty());
        for (prefix, source_port, now) in [(DENY, 1, 7), (THREAT, 1, 8), (DENY, 3, 5)] {
            aggregate.add(&packet(prefix, &tcp(1, source_port, 22)), now);
        }
        let mut drained = aggregate.drain();
        drained.flows.sort_by(|a, b| a.flow.heading.cmp(&b.flow.heading));
        let [denied, threat] = &drained.flows[..] else { panic!("{drained:?}") };
        assert_eq!((denied.flow.packets, denied.flow.bytes), (2, 120));
        assert_eq!((denied.flow.first_seen, denied.flow.last_seen), (5, 7));
        assert_eq!((denied.source_port, denied.interface), (3, Some(2)));
        assert!(threat.flow.threat().is_some() && denied.flow.threat().is_none());
        let heading =
            Heading::Policy { kind: EventKind::Denied, direction: Direction::Inbound, rule: None };
        assert_eq!(denied.flow.heading, heading);
        assert!(aggregate.is_empty());
        assert_eq!(aggregate.drain(), Drained::default());
    }

    #[test]
    fn answers_belong_to_their_flow() {
        let mut aggregate = Aggregate::new(10);
        let answer = b"xshield: THREAT out action=DROP answer ";
        aggregate.add(&packet(answer, &tcp(1, 22, 200)), 1);
        let drained = aggregate.drain();
        let [live] = &drained.flows[..] else { panic!("{drained:?}") };
        let ends = (live.flow.source.to_string(), live.source_port);
        assert_eq!(ends, ("10.0.0.9".to_owned(), 200));
        assert_eq!((live.flow.destination.to_string(), live.flow.port), ("10.0.0.1".into(), 22));
        assert_eq!(live.flow.heading.direction(), Direction::Outbound);
    }

    #[test]
    fn overflow_is_counted_by_heading() {
        let mut aggregate = Aggregate::new(2);
        for source in 0..100 {
            aggregate.add(&packet(DENY, &tcp(source, 1, 22)), 1);
        }
        aggregate.add(&packet(THREAT, &tcp(1, 1, 22)), 1);
        aggregate.add(&packet(b"other: ", &tcp(1, 1, 22)), 1);
        aggregate.add(&packet(DENY, b"no packet"), 1);
        let drained = aggregate.drain();
        assert_eq!(drained.flows.len(), 2);
        let overflow: Vec<u64> = drained.overflow.iter().map(|(_, count)| count.packets).collect();
        assert_eq!((overflow, drained.foreign), (vec![98, 1], 2));
        assert_eq!(drained.packets(), 103);
    }

    #[test]
    fn endless_new_headings_are_bounded_and_counted() {
        let mut aggregate = Aggregate::new(10);
        let count = MOST_HEADINGS as u64 + 500;
        for number in 0..count {
            let prefix = format!("xshield: DENY in rule=a/b{number} ");
            aggregate.add(&packet(prefix.as_bytes(), &tcp(1, 1, 22)), 1);
        }
        assert!(aggregate.headings.len() <= MOST_HEADINGS);
        assert_eq!(aggregate.drain().packets(), count);
        aggregate.add(&packet(DENY, &tcp(1, 1, 22)), 1);
        assert_eq!(aggregate.drain().flows.len(), 1, "there is room for new headings again");
    }

    proptest! {
        /// For any packets and drains, each packet is counted once.
        #[test]
        fn every_packet_is_counted_once(
            steps in prop::collection::vec((0_u8..4, 0_u8..6, 0_u8..3, any::<bool>()), 0..200),
            most in 0_usize..8,
        ) {
            let prefixes = [DENY, THREAT, b"xshield: WOULD out rule=a/b ".as_slice(), b"?".as_slice()];
            let mut aggregate = Aggregate::new(most);
            let mut counted = 0;
            for (prefix, source, port, drain) in &steps {
                let bytes = tcp(*source, 1, *port);
                aggregate.add(&packet(prefixes[usize::from(*prefix)], &bytes), 1);
                prop_assert!(aggregate.len() <= most);
                if *drain {
                    counted += aggregate.drain().packets();
                }
            }
            counted += aggregate.drain().packets();
            prop_assert_eq!(counted, steps.len() as u64);
        }
    }
}
