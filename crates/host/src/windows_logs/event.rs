//! The meaning of an event.

use std::net::{IpAddr, Ipv6Addr};

use xshield_policy::Direction;
use xshield_policy::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};

use super::ends::{Detail, Ends, OwnAddresses};
use super::fields::Fields;

/// An event of the Security log about a flow, socket or filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A flow was permitted or dropped (5156, 5157, 5152).
    Flow(FlowEvent),
    /// A program listens on a port (5154).
    Listening(Socket),
    /// A program has bound a port (5158).
    Bound(Socket),
    /// A filter was added or deleted (5447), or existed when the filter engine started (5441).
    Filter(FilterEvent),
}

/// The verdict on a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowOutcome {
    /// Let through (5156).
    Permitted,
    /// Its first packet was dropped at connection authorization (5157).
    ConnectionBlocked,
    /// A packet was dropped (5152).
    PacketDropped,
}

/// An event about a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowEvent {
    /// The verdict.
    pub outcome: FlowOutcome,
    /// The direction of the flow; of a dropped packet, the packet's direction.
    pub direction: Direction,
    /// Its endpoints.
    pub ends: Ends,
    /// The IP protocol.
    pub protocol: u8,
    /// The executable, as an NT device path.
    pub application: Option<String>,
    /// The process.
    pub process: Option<u32>,
    /// The filter that decided; `None` if the event does not contain it.
    pub filter: Option<u64>,
    /// The time, in milliseconds since 1970.
    pub time: Option<i64>,
}

/// A local socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Its address; unspecified if it listens on all.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The IP protocol.
    pub protocol: u8,
    /// The executable, as an NT device path.
    pub application: Option<String>,
    /// The process.
    pub process: Option<u32>,
}

/// The change of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FilterChange {
    /// It was added.
    Added,
    /// It was deleted.
    Deleted,
    /// It existed when the filter engine started.
    Present,
}

/// A changed filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterEvent {
    /// The change.
    pub change: FilterChange,
    /// The id by which flow events refer to it.
    pub id: u64,
    /// Its key.
    pub key: String,
    /// Its name; for our filters, the rule.
    pub name: String,
    /// The user who changed it.
    pub user: Option<String>,
}

/// Why an event was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event} has {what}; it is ignored")]
pub struct EventError {
    /// The event id.
    pub event: u32,
    what: String,
}

/// The first dynamic port of Windows.
const DYNAMIC_PORTS: u16 = 49_152;
/// Server ports whose late answers look like attempts to reach a closed port.
const ANSWERED_FROM: [u16; 2] = [53, 123];

impl FlowEvent {
    /// The ports, or ICMP type and code; `Detail::None` if the flow's ends are unknown or both are this host.
    #[must_use]
    pub fn detail(&self) -> Detail {
        let Ends::Peer { local, remote } = self.ends else { return Detail::None };
        match self.protocol {
            ICMP | ICMPV6 => Detail::Icmp { kind: local.1, code: remote.1 },
            TCP | UDP | SCTP => Detail::Ports { local: local.1, remote: remote.1 },
            _ => Detail::None,
        }
    }

    /// Whether it is an answer of a name or time server that arrived after the client had closed its socket,
    /// and not an attempt to reach a service of this host.
    #[must_use]
    pub fn is_late_answer(&self) -> bool {
        let is_denied = self.outcome != FlowOutcome::Permitted;
        is_denied && is_late_answer(self.direction, self.protocol, self.detail())
    }
}

/// The same of a packet that was dropped.
pub(super) fn is_late_answer(direction: Direction, protocol: u8, detail: Detail) -> bool {
    let Detail::Ports { local, remote } = detail else { return false };
    (direction, protocol) == (Direction::Inbound, UDP)
        && local >= DYNAMIC_PORTS
        && ANSWERED_FROM.contains(&remote)
}

impl Event {
    /// Interprets the fields; `None` for other events.
    ///
    /// # Errors
    /// When a needed field has an invalid value.
    pub fn read(fields: &Fields<'_>, own: &OwnAddresses) -> Result<Option<Self>, EventError> {
        let reader = Reader { fields };
        Ok(Some(match fields.event_id {
            5152 => Self::Flow(reader.flow(FlowOutcome::PacketDropped, own)?),
            5156 => Self::Flow(reader.flow(FlowOutcome::Permitted, own)?),
            5157 => Self::Flow(reader.flow(FlowOutcome::ConnectionBlocked, own)?),
            5154 => Self::Listening(reader.socket()?),
            5158 => Self::Bound(reader.socket()?),
            5441 => Self::Filter(reader.filter(FilterChange::Present)?),
            5447 => Self::Filter(match fields.change.as_deref() {
                Some("%%16384") => reader.filter(FilterChange::Added)?,
                Some("%%16385") => reader.filter(FilterChange::Deleted)?,
                other => return Err(reader.wrong("change", other)),
            }),
            _ => return Ok(None),
        }))
    }
}

struct Reader<'r, 'a> {
    fields: &'r Fields<'a>,
}

impl Reader<'_, '_> {
    fn wrong(&self, name: &str, value: Option<&str>) -> EventError {
        let what = match value {
            Some(value) => format!("the {name} {value:?}"),
            None => format!("no {name}"),
        };
        EventError { event: self.fields.event_id, what }
    }

    fn number<N: std::str::FromStr>(
        &self,
        name: &str,
        text: Option<&str>,
    ) -> Result<N, EventError> {
        text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| self.wrong(name, text))
    }

    fn address(&self, name: &str, text: Option<&str>) -> Result<IpAddr, EventError> {
        text.and_then(address).ok_or_else(|| self.wrong(name, text))
    }

    fn process(&self) -> Option<u32> {
        self.fields.process.as_deref().and_then(number_or_hex).filter(|&process| process != 0)
    }

    fn application(&self) -> Option<String> {
        let application = self.fields.application.as_deref().map(str::trim)?;
        (!matches!(application, "" | "-")).then(|| application.to_owned())
    }

    fn flow(&self, outcome: FlowOutcome, own: &OwnAddresses) -> Result<FlowEvent, EventError> {
        let fields = self.fields;
        let direction = match fields.direction.as_deref() {
            Some("%%14592") => Direction::Inbound,
            Some("%%14593") => Direction::Outbound,
            other => return Err(self.wrong("direction", other)),
        };
        let source = (
            self.address("source address", fields.source_address.as_deref())?,
            self.number("source port", fields.source_port.as_deref())?,
        );
        let destination = (
            self.address("destination address", fields.destination_address.as_deref())?,
            self.number("destination port", fields.destination_port.as_deref())?,
        );
        let filter: u64 = self.number("filter", fields.filter.as_deref())?;
        Ok(FlowEvent {
            outcome,
            direction,
            ends: Ends::of(source, destination, direction, own),
            protocol: self.number("protocol", fields.protocol.as_deref())?,
            application: self.application(),
            process: self.process(),
            filter: Some(filter).filter(|&filter| filter != 0),
            time: fields.time.as_deref().and_then(milliseconds),
        })
    }

    fn socket(&self) -> Result<Socket, EventError> {
        let fields = self.fields;
        Ok(Socket {
            address: self.address("address", fields.source_address.as_deref())?,
            port: self.number("port", fields.source_port.as_deref())?,
            protocol: self.number("protocol", fields.protocol.as_deref())?,
            application: self.application(),
            process: self.process(),
        })
    }

    fn filter(&self, change: FilterChange) -> Result<FilterEvent, EventError> {
        let fields = self.fields;
        let text = |text: &Option<_>| text.as_deref().map(str::trim).map(str::to_owned);
        Ok(FilterEvent {
            change,
            id: self.number("filter", fields.filter.as_deref())?,
            key: text(&fields.filter_key).ok_or_else(|| self.wrong("filter key", None))?,
            name: text(&fields.filter_name).unwrap_or_default(),
            user: text(&fields.user),
        })
    }
}

/// Parses an address; the scope of a link-local one is dropped.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    match text.split_once('%') {
        Some((bare, _)) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

fn number_or_hex(text: &str) -> Option<u32> {
    match text.trim().strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.trim().parse().ok(),
    }
}

/// Parses `2020-06-10T02:50:57.553Z`, with any number of fractional digits, as milliseconds since 1970.
fn milliseconds(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let fits = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !fits {
        return None;
    }
    // Years start in March, so that the leap day is the last day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    const UNTIL_1970: i64 = 719_468;
    let seconds = (days - UNTIL_1970) * 86_400 + hour * 3_600 + minute * 60 + second;
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(seconds * 1_000 + digits.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2020-02-29T12:00:00.5Z", Some(1_582_977_600_500)),
            ("2020-06-10T02:50:57.553123400Z", Some(1_591_757_457_553)),
            ("2026-12-31T23:59:60.999Z", Some(1_798_761_600_999)),
            ("2020-06-10 02:50:57", None),
            ("2020-13-10T02:50:57Z", None),
            ("2020-06-10T02:50:57.-5Z", None),
            ("", None),
        ] {
            assert_eq!(milliseconds(text), wanted, "{text}");
        }
    }
}
