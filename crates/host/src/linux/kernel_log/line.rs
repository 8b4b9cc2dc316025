//! One line of the kernel's log that our rules wrote.

use std::collections::BTreeMap;
use std::net::IpAddr;

use xshield_policy::{Direction, Protocol, RuleId};
use xshield_wire::message::{EventKind, EventSource, FirewallEvent, UnixSeconds};

/// What our lines begin with.
pub const PREFIX: &str = "xshield: ";
/// The rule's place when no rule decided.
const NO_RULE: &str = "none";

/// A packet that a rule of ours logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// What happened to it.
    pub kind: EventKind,
    /// Who opened the flow.
    pub direction: Direction,
    /// The rule that decided; `None`: the level.
    pub rule: Option<RuleId>,
    /// The interface, in for inbound and out for outbound packets.
    pub interface: Option<String>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Source port; 0 where there is none.
    pub source_port: u16,
    /// Destination port; the type for ICMP; 0 where there is none.
    pub port: u16,
    /// Bytes of the packet.
    pub length: u32,
}

impl LogLine {
    /// Reads a message: [`PREFIX`], what happened, the direction, `rule=…`, then the kernel's own
    /// fields (nf_log_syslog.c). `None` for anything else.
    #[must_use]
    pub fn parse(message: &str) -> Option<Self> {
        let text = message.strip_prefix(PREFIX)?;
        let (word, text) = text.split_once(' ')?;
        let (way, text) = text.split_once(' ')?;
        let text = text.strip_prefix("rule=")?;
        // A prefix of 127 bytes is cut off by the kernel, its last space included.
        let end = text.find(" IN=").or_else(|| text.find("IN="))?;
        let (rule, text) = text.split_at(end);
        let fields = fields(text);
        let field = |key: &str| fields.get(key).copied();
        let number = |key: &str| field(key).and_then(|value| value.parse().ok());
        let direction = match way {
            "in" => Direction::Inbound,
            "out" => Direction::Outbound,
            _ => return None,
        };
        let protocol = protocol(field("PROTO")?)?;
        let port = match protocol {
            Protocol::Icmp => number("TYPE"),
            _ => number("DPT"),
        };
        let interface = field(if direction == Direction::Inbound { "IN" } else { "OUT" });
        Some(Self {
            kind: kind(word)?,
            direction,
            rule: match rule.trim() {
                NO_RULE => None,
                rule => Some(RuleId::try_from(rule.to_owned()).ok()?),
            },
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

/// Lines and when they were written, as one event for each flow and verdict. `now` stands in for times
/// that the source doesn't tell.
#[must_use]
pub fn events(
    lines: impl IntoIterator<Item = (Option<UnixSeconds>, LogLine)>,
    now: UnixSeconds,
) -> Vec<FirewallEvent> {
    let mut flows = BTreeMap::new();
    for (seen, line) in lines {
        let seen = seen.unwrap_or(now);
        let key = (
            line.kind,
            line.direction,
            line.source,
            line.destination,
            line.protocol,
            line.port,
            line.rule.clone(),
        );
        let event = flows.entry(key).or_insert_with(|| FirewallEvent {
            kind: line.kind,
            direction: line.direction,
            source: line.source,
            destination: line.destination,
            protocol: line.protocol,
            port: line.port,
            rule: line.rule,
            packets: 0,
            bytes: 0,
            first_seen: seen,
            last_seen: seen,
            from: EventSource::KernelLog,
            process: None,
        });
        event.packets += 1;
        event.bytes += u64::from(line.length);
        event.first_seen = event.first_seen.min(seen);
        event.last_seen = event.last_seen.max(seen);
    }
    flows.into_values().collect()
}

fn kind(word: &str) -> Option<EventKind> {
    match word {
        "DENY" => Some(EventKind::Denied),
        "WOULD" => Some(EventKind::WouldDeny),
        "ACCEPT" => Some(EventKind::Accepted),
        _ => None,
    }
}

/// The kernel's `KEY=value` words, the first of each key. ICMP errors quote the packet they are about
/// in brackets; that is another packet.
fn fields(text: &str) -> BTreeMap<&str, &str> {
    let own = text.split('[').next().unwrap_or_default();
    let mut fields = BTreeMap::new();
    for (key, value) in own.split_whitespace().filter_map(|word| word.split_once('=')) {
        fields.entry(key).or_insert(value);
    }
    fields
}

/// Names as the kernel writes them, numbers for the rest.
fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "ICMP" | "ICMPv6" => Some(Protocol::Icmp),
        "ESP" => Some(Protocol::Other(50)),
        "AH" => Some(Protocol::Other(51)),
        "SCTP" => Some(Protocol::Other(132)),
        "UDPLITE" => Some(Protocol::Other(136)),
        number => number.parse().ok().map(|number| match number {
            1 | 58 => Protocol::Icmp,
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            other => Protocol::Other(other),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TCP: &str = "xshield: DENY in rule=web/https IN=eth0 OUT= MAC=52:54:00:12:34:56:52:54:00:65:43:21:08:00 SRC=10.0.0.5 DST=10.0.0.9 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=1 DF PROTO=TCP SPT=40000 DPT=22 WINDOW=64240 RES=0x00 SYN URGP=0";

    #[test]
    fn a_denied_connection() {
        let line = LogLine::parse(TCP).unwrap();
        let expected = LogLine {
            kind: EventKind::Denied,
            direction: Direction::Inbound,
            rule: Some("web/https".parse().unwrap()),
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
            let rule = line.rule.map_or("-".to_owned(), |rule| rule.to_string());
            let LogLine { kind, direction, source, destination, protocol, port, .. } = line;
            Some(format!("{kind:?} {direction:?} {rule} {source} {destination} {protocol} {port}"))
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
             Some("Accepted Inbound a/b 10.0.0.5 10.0.0.9 47 0")),
            ("xshield: DENY in rule=none IN=eth0 OUT= SRC=10.0.0.5 DST=10.0.0.9 LEN=60 FRAG:185 PROTO=TCP",
             Some("Denied Inbound - 10.0.0.5 10.0.0.9 tcp 0")),
            ("xshield: DENY in rule=cut/offIN=eth0 OUT= SRC=10.0.0.5 DST=10.0.0.9 LEN=60 PROTO=TCP SPT=1 DPT=2",
             Some("Denied Inbound cut/off 10.0.0.5 10.0.0.9 tcp 2")),
            ("xshield: DENY in rule=none IN=eth0 OUT= SRC=10.0.0.5 DST=10.0.0", None),
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

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC*") {
            let _ = LogLine::parse(&text);
            let _ = LogLine::parse(&format!("{PREFIX}{text}"));
        }

        #[test]
        fn any_cut_is_read(end in 0..TCP.len()) {
            let _ = LogLine::parse(&TCP[..end]);
        }

        #[test]
        fn addresses_and_ports_come_back(
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
