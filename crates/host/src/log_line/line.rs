//! A line that one of our rules wrote to the kernel's log.

use std::collections::BTreeMap;
use std::net::IpAddr;

use xshield_policy::{Direction, Protocol};
use xshield_wire::message::{EventSource, FirewallEvent, UnixSeconds};
use xshield_wire::threat::ThreatAction;

use super::heading::Heading;

/// A packet that one of our rules logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Which part logged it, and what happened to it.
    pub heading: Heading,
    /// The interface: the incoming one for inbound, the outgoing one for outbound packets.
    pub interface: Option<String>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Source port; 0 if there is none.
    pub source_port: u16,
    /// Destination port; the type for ICMP; 0 if there is none.
    pub port: u16,
    /// Bytes of the packet.
    pub length: u32,
}

impl LogLine {
    /// Parses a message: a [`Heading`], then the kernel's own fields (nf_log_syslog.c). `None` for anything
    /// else.
    #[must_use]
    pub fn parse(message: &str) -> Option<Self> {
        let (heading, text) = Heading::split(message)?;
        let fields = fields(text);
        let field = |key: &str| fields.get(key).copied();
        let number = |key: &str| field(key).and_then(|value| value.parse().ok());
        let protocol = protocol(field("PROTO")?)?;
        let port = match protocol {
            Protocol::Icmp => number("TYPE"),
            _ => number("DPT"),
        };
        let interface = field(if heading.direction() == Direction::Inbound { "IN" } else { "OUT" });
        Some(Self {
            heading,
            interface: interface.filter(|name| !name.is_empty()).map(str::to_owned),
            source: field("SRC")?.parse().ok()?,
            destination: field("DST")?.parse().ok()?,
            protocol,
            source_port: number("SPT").unwrap_or(0),
            port: port.unwrap_or(0),
            length: field("LEN").and_then(|value| value.parse().ok()).unwrap_or(0),
        })
    }
}

/// Packets of one flow that were logged with one heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedFlow {
    /// Which part logged them, and what happened to them.
    pub heading: Heading,
    /// Source address of the logged packets.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; the type for ICMP; 0 if there is none.
    pub port: u16,
    /// The number of packets.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
    /// When the first was logged.
    pub first_seen: UnixSeconds,
    /// When the last was logged.
    pub last_seen: UnixSeconds,
}

/// Packets of one flow whose peer is on the threat list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedThreat {
    /// What happened to them.
    pub action: ThreatAction,
    /// Who opened the flow.
    pub direction: Direction,
    /// Source address of the logged packets; on the list for inbound flows.
    pub source: IpAddr,
    /// Destination address; on the list for outbound flows.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; the type for ICMP; 0 if there is none.
    pub port: u16,
    /// The number of packets.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
    /// When the first was logged.
    pub first_seen: UnixSeconds,
    /// When the last was logged.
    pub last_seen: UnixSeconds,
}

impl LoggedFlow {
    /// As an event of the policy; `None` for the threat list.
    #[must_use]
    pub fn event(&self, from: EventSource) -> Option<FirewallEvent> {
        let Heading::Policy { kind, direction, rule } = &self.heading else { return None };
        Some(FirewallEvent {
            kind: *kind,
            direction: *direction,
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            port: self.port,
            rule: rule.clone(),
            packets: self.packets,
            bytes: self.bytes,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            from,
            process: None,
        })
    }

    /// As a match of the threat list; `None` for the policy.
    #[must_use]
    pub fn threat(&self) -> Option<LoggedThreat> {
        let Heading::Threat { action, direction } = self.heading else { return None };
        Some(LoggedThreat {
            action,
            direction,
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            port: self.port,
            packets: self.packets,
            bytes: self.bytes,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
        })
    }
}

/// Lines with their times, aggregated by flow and heading. `now` replaces times that the source doesn't
/// contain.
#[must_use]
pub fn flows(
    lines: impl IntoIterator<Item = (Option<UnixSeconds>, LogLine)>,
    now: UnixSeconds,
) -> Vec<LoggedFlow> {
    let mut flows = BTreeMap::new();
    for (seen, line) in lines {
        let seen = seen.unwrap_or(now);
        let key = (line.heading.clone(), line.source, line.destination, line.protocol, line.port);
        let flow = flows.entry(key).or_insert_with(|| LoggedFlow {
            heading: line.heading,
            source: line.source,
            destination: line.destination,
            protocol: line.protocol,
            port: line.port,
            packets: 0,
            bytes: 0,
            first_seen: seen,
            last_seen: seen,
        });
        flow.packets += 1;
        flow.bytes += u64::from(line.length);
        flow.first_seen = flow.first_seen.min(seen);
        flow.last_seen = flow.last_seen.max(seen);
    }
    flows.into_values().collect()
}

/// The policy's lines, as one event for each flow and verdict; for the threat list's, see [`threats`].
#[must_use]
pub fn events(
    lines: impl IntoIterator<Item = (Option<UnixSeconds>, LogLine)>,
    now: UnixSeconds,
) -> Vec<FirewallEvent> {
    flows(lines, now).iter().filter_map(|flow| flow.event(EventSource::KernelLog)).collect()
}

/// The threat list's lines, as one match for each flow and action.
#[must_use]
pub fn threats(
    lines: impl IntoIterator<Item = (Option<UnixSeconds>, LogLine)>,
    now: UnixSeconds,
) -> Vec<LoggedThreat> {
    flows(lines, now).iter().filter_map(LoggedFlow::threat).collect()
}

/// The kernel's `KEY=value` words, the first of each key. ICMP errors contain the packet that caused them in
/// brackets; its fields are ignored.
fn fields(text: &str) -> BTreeMap<&str, &str> {
    let own = text.split('[').next().unwrap_or_default();
    let mut fields = BTreeMap::new();
    for (key, value) in own.split_whitespace().filter_map(|word| word.split_once('=')) {
        fields.entry(key).or_insert(value);
    }
    fields
}

/// Names as the kernel writes them, numbers otherwise.
fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "ICMP" | "ICMPv6" => Some(Protocol::Icmp),
        "ESP" => Some(Protocol::Other(50)),
        "AH" => Some(Protocol::Other(51)),
        "SCTP" => Some(Protocol::Other(132)),
        "UDPLITE" => Some(Protocol::Other(136)),
        number => number.parse().ok().map(|number: u8| Protocol::from(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use xshield_wire::message::EventKind;

    const TCP: &str = "xshield: DENY in rule=web/https IN=eth0 OUT= MAC=52:54:00:12:34:56:52:54:00:65:43:21:08:00 SRC=10.0.0.5 DST=10.0.0.9 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=1 DF PROTO=TCP SPT=40000 DPT=22 WINDOW=64240 RES=0x00 SYN URGP=0";

    #[test]
    fn a_denied_connection() {
        let line = LogLine::parse(TCP).unwrap();
        let rule = Some("web/https".parse().unwrap());
        let (kind, direction) = (EventKind::Denied, Direction::Inbound);
        let expected = LogLine {
            heading: Heading::Policy { kind, direction, rule },
            interface: Some("eth0".to_owned()),
            source: "10.0.0.5".parse().unwrap(),
            destination: "10.0.0.9".parse().unwrap(),
            protocol: Protocol::Tcp,
            source_port: 40000,
            port: 22,
            length: 60,
        };
        assert_eq!(line, expected);
    }

    #[test]
    fn other_packets() {
        let summary = |message: &str| {
            let line = LogLine::parse(message)?;
            let LogLine { heading, source, destination, protocol, port, .. } = line;
            let heading = match heading {
                Heading::Policy { kind, direction, rule } => {
                    let rule = rule.map_or("-".to_owned(), |rule| rule.to_string());
                    format!("{kind:?} {direction:?} {rule}")
                }
                Heading::Threat { action, direction } => format!("{action:?} {direction:?}"),
            };
            Some(format!("{heading} {source} {destination} {protocol} {port}"))
        };
        #[rustfmt::skip]
        let table = [
            ("xshield: WOULD out rule=none IN= OUT=eth0 SRC=2001:db8::1 DST=2001:db8::2 LEN=80 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=UDP SPT=5353 DPT=53 LEN=40",
             Some("WouldDeny Outbound - 2001:db8::1 2001:db8::2 udp 53")),
            ("xshield: DENY in rule=none IN=eth0 OUT= MAC= SRC=10.0.0.5 DST=10.0.0.9 LEN=84 PROTO=ICMP TYPE=8 CODE=0 ID=3 SEQ=1",
             Some("Denied Inbound - 10.0.0.5 10.0.0.9 icmp 8")),
            ("xshield: DENY in rule=none IN=eth0 OUT= MAC= SRC=10.0.0.5 DST=10.0.0.9 LEN=88 PROTO=ICMP TYPE=3 CODE=3 [SRC=10.0.0.9 DST=1.1.1.1 LEN=60 PROTO=TCP SPT=1 DPT=2 ] ",
             Some("Denied Inbound - 10.0.0.5 10.0.0.9 icmp 3")),
            ("xshield: ACCEPT in rule=a/b IN=eth0 OUT= SRC=10.0.0.5 DST=10.0.0.9 LEN=60 PROTO=47",
             Some("Accepted Inbound a/b 10.0.0.5 10.0.0.9 gre 0")),
            ("xshield: DENY in rule=none IN=eth0 OUT= SRC=10.0.0.5 DST=10.0.0.9 LEN=60 FRAG:185 PROTO=TCP",
             Some("Denied Inbound - 10.0.0.5 10.0.0.9 tcp 0")),
            ("xshield: DENY in rule=cut/offIN=eth0 OUT= SRC=10.0.0.5 DST=10.0.0.9 LEN=60 PROTO=TCP SPT=1 DPT=2",
             Some("Denied Inbound cut/off 10.0.0.5 10.0.0.9 tcp 2")),
            ("xshield: DENY in rule=none IN=eth0 OUT= SRC=10.0.0.5 DST=10.0.0", None),
            ("xshield: THREAT in action=DROP IN=eth0 OUT= MAC= SRC=198.51.100.7 DST=10.0.0.9 LEN=60 PROTO=TCP SPT=1 DPT=22",
             Some("Blocked Inbound 198.51.100.7 10.0.0.9 tcp 22")),
            ("xshield: THREAT out action=PASS IN= OUT=eth0 SRC=10.0.0.9 DST=198.51.100.7 LEN=60 PROTO=UDP SPT=1 DPT=53",
             Some("Recorded Outbound 10.0.0.9 198.51.100.7 udp 53")),
            ("xshield: THREAT in action=EAT IN=eth0 OUT= SRC=198.51.100.7 DST=10.0.0.9 LEN=60 PROTO=TCP", None),
            ("xshield: MAYBE in rule=none IN=eth0 OUT= SRC=10.0.0.5 DST=10.0.0.9 LEN=60 PROTO=TCP", None),
            ("xshield: DENY in rule=bad//id IN=eth0 OUT= SRC=10.0.0.5 DST=10.0.0.9 LEN=60 PROTO=TCP", None),
            ("other: xshield: DENY in rule=none IN=eth0 OUT= SRC=10.0.0.5 DST=10.0.0.9 LEN=60 PROTO=TCP", None),
            ("", None),
        ];
        for (message, expected) in table {
            assert_eq!(summary(message).as_deref(), expected, "{message}");
        }
    }

    #[test]
    fn lines_of_one_flow_are_one_event() {
        let first = LogLine::parse(TCP).unwrap();
        let retry = LogLine { source_port: 40001, ..first.clone() };
        let other = LogLine { port: 23, ..first.clone() };
        let lines = [(Some(50), first), (None, other), (Some(40), retry)];
        let events = events(lines, 99);
        let counted: Vec<_> = events
            .iter()
            .map(|event| {
                (event.port, event.packets, event.bytes, event.first_seen, event.last_seen)
            })
            .collect();
        assert_eq!(counted, [(22, 2, 120, 40, 50), (23, 1, 60, 99, 99)]);
    }

    #[test]
    fn threat_matches_and_denials_are_distinguished() {
        let threat = TCP.replace("DENY in rule=web/https", "THREAT in action=DROP");
        let passed = TCP.replace("DENY in rule=web/https", "THREAT in action=PASS");
        let lines: Vec<_> = [TCP, &threat, &threat, &passed]
            .into_iter()
            .enumerate()
            .map(|(at, text)| (Some(at as u64), LogLine::parse(text).unwrap()))
            .collect();
        let events = events(lines.clone(), 9);
        assert_eq!(events.iter().map(|event| event.packets).sum::<u64>(), 1, "{events:?}");
        let threats: Vec<_> = threats(lines, 9)
            .into_iter()
            .map(|found| (found.action, found.packets, found.bytes, found.last_seen))
            .collect();
        assert_eq!(
            threats,
            [(ThreatAction::Blocked, 2, 120, 2), (ThreatAction::Recorded, 1, 60, 3)]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC*") {
            let _ = LogLine::parse(&text);
            let _ = LogLine::parse(&format!("{}{text}", super::super::PREFIX));
        }

        #[test]
        fn a_truncated_line_is_parsed(end in 0..TCP.len()) {
            let _ = LogLine::parse(&TCP[..end]);
        }

        #[test]
        fn addresses_and_ports_round_trip(
            source: std::net::Ipv6Addr, destination: std::net::Ipv4Addr,
            source_port: u16, port: u16, length: u32,
        ) {
            let text = format!(
                "xshield: DENY out rule=t/r IN= OUT=e SRC={source} DST={destination} LEN={length} PROTO=UDP SPT={source_port} DPT={port} LEN=1"
            );
            let line = LogLine::parse(&text).unwrap();
            prop_assert_eq!(line.source, IpAddr::from(source));
            prop_assert_eq!(line.destination, IpAddr::from(destination));
            prop_assert_eq!((line.source_port, line.port, line.length), (source_port, port, length));
        }
    }
}
