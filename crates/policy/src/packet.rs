//! One packet as policy judges it, and its text form: `in tcp 10.0.0.5:40000 -> :22`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::bind::Owner;
use crate::level::Direction;
use crate::protocol;
use crate::service::named_port;

/// The transport of a packet, as far as rules match it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP with source and destination port.
    Tcp(u16, u16),
    /// UDP with source and destination port.
    Udp(u16, u16),
    /// SCTP with source and destination port.
    Sctp(u16, u16),
    /// ICMP or ICMPv6 (by the address family) with its type.
    Icmp(u8),
    /// Any other protocol, by number.
    Other(u8),
}

impl Transport {
    /// Source and destination port, if it has any.
    #[must_use]
    pub fn ports(self) -> Option<(u16, u16)> {
        match self {
            Self::Tcp(source, destination)
            | Self::Udp(source, destination)
            | Self::Sctp(source, destination) => Some((source, destination)),
            Self::Icmp(_) | Self::Other(_) => None,
        }
    }
}

/// The first packet of a flow, as seen by the asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The direction of the flow.
    pub direction: Direction,
    /// The other end.
    pub peer: IpAddr,
    /// The address of this end; `None` if unknown.
    pub local: Option<IpAddr>,
    /// Protocol, ports.
    pub transport: Transport,
    /// Whether both ends are this host: the interface is the loopback, or the packet was translated to an
    /// address of this host on its way out.
    pub loopback: bool,
    /// The user and the cgroups by which the kernel identifies the local program of an outbound packet; empty
    /// if unknown.
    pub owners: Vec<Owner>,
}

impl Packet {
    /// The first packet of the flow to which this one would be an answer; `None` for protocols without ports.
    #[must_use]
    pub fn answered(&self) -> Option<Self> {
        let transport = match self.transport {
            Transport::Tcp(source, destination) => Transport::Tcp(destination, source),
            Transport::Udp(source, destination) => Transport::Udp(destination, source),
            Transport::Sctp(source, destination) => Transport::Sctp(destination, source),
            Transport::Icmp(_) | Transport::Other(_) => return None,
        };
        let direction = match self.direction {
            Direction::Inbound => Direction::Outbound,
            Direction::Outbound => Direction::Inbound,
        };
        Some(Self { direction, transport, owners: Vec::new(), ..self.clone() })
    }
}

/// Why a packet's text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a packet: {reason}{}", self.hint())]
pub struct PacketError {
    pub(crate) text: String,
    pub(crate) reason: String,
    pub(crate) meant: Option<String>,
}

impl PacketError {
    fn hint(&self) -> String {
        match &self.meant {
            Some(meant) => format!("; did you mean '{meant}'?"),
            None => " (examples: 'in tcp 10.0.0.5:40000 -> :22', 'out udp -> [2001:db8::1]:53', \
                     'in icmp 10.0.0.5 type 8', 'in proto gre 10.0.0.5')"
                .to_owned(),
        }
    }
}

impl FromStr for Packet {
    type Err = PacketError;

    /// Parses `in tcp PEER:PORT -> :PORT`, `out tcp [:PORT] -> PEER:PORT`, the same with `udp` and `sctp`,
    /// `in|out icmp PEER type N`, `in|out proto N PEER`, where `N` is a number or a name; and the form of
    /// lists of events: `inbound tcp PEER -> LOCAL:PORT`, `icmp/N PEER -> LOCAL`, `gre PEER -> LOCAL`. IPv6
    /// addresses with ports are in brackets. A packet with a loopback address as its peer is loopback
    /// traffic.
    fn from_str(text: &str) -> Result<Self, PacketError> {
        Self::read(text, |_| false)
    }
}

impl Packet {
    /// The same; if the text does not start with a direction, it is derived from the end for which `own`
    /// returns true, an address of this host.
    ///
    /// # Errors
    /// See [`PacketError`].
    pub fn read(text: &str, own: impl Fn(IpAddr) -> bool) -> Result<Self, PacketError> {
        Self::read_strictly(text, &own).map_err(|error| {
            let meant = respelled(text);
            let is_packet = Self::read_strictly(&meant, &own).is_ok();
            PacketError { meant: is_packet.then_some(meant), ..error }
        })
    }

    /// Parses a packet in its exact syntax.
    fn read_strictly(text: &str, own: &impl Fn(IpAddr) -> bool) -> Result<Self, PacketError> {
        let refuse = |reason: &str| PacketError {
            text: text.to_owned(),
            reason: reason.to_owned(),
            meant: None,
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (direction, rest) = match words.split_first() {
            Some((&("in" | "inbound"), rest)) => (Some(Direction::Inbound), rest),
            Some((&("out" | "outbound"), rest)) => (Some(Direction::Outbound), rest),
            _ => (None, &words[..]),
        };
        let (named, ends) = transport_of(rest).map_err(refuse)?;
        let (source, destination) = match (ends, direction) {
            ([peer], Some(Direction::Inbound)) => (end(peer), End::UNKNOWN.into()),
            ([peer], Some(Direction::Outbound)) => (End::UNKNOWN.into(), end(peer)),
            (["->", destination], _) => (End::UNKNOWN.into(), end(destination)),
            ([source, "->", destination], _) => (end(source), end(destination)),
            _ => (None, None),
        };
        let (Some(source), Some(destination)) = (source, destination) else {
            return Err(refuse(match (direction, named) {
                (None, _) => "expected 'in' or 'out' first",
                (_, Named::Ports(_)) => {
                    "expected 'PEER:PORT -> :PORT' inbound, '-> PEER:PORT' outbound"
                }
                _ => "expected an address",
            }));
        };
        let is_own = |end: End| end.address.is_some_and(own);
        let direction = match direction {
            Some(direction) => direction,
            None if is_own(destination) => Direction::Inbound,
            None if is_own(source) => Direction::Outbound,
            None => {
                return Err(refuse(
                    "neither end is an address of this host: begin with 'in' or 'out'",
                ));
            }
        };
        let (peer, local) = match direction {
            Direction::Inbound => (source, destination),
            Direction::Outbound => (destination, source),
        };
        let peer = peer.address.ok_or_else(|| refuse("expected the peer's address"))?;
        let transport = named.transport(source, destination, peer).map_err(refuse)?;
        let loopback = peer.is_loopback();
        let local = local.address.filter(|address| !address.is_unspecified());
        Ok(Self { direction, peer, local, transport, loopback, owners: Vec::new() })
    }
}

/// Common other ways to write a packet: `=>`, `IN TCP`, `tcp/443 PEER`, `443/tcp PEER`, a port without a
/// colon.
fn respelled(text: &str) -> String {
    let mut words: Vec<String> = text.split_whitespace().map(str::to_ascii_lowercase).collect();
    for word in &mut words {
        if ["=>", "-->", "→", ">"].contains(&word.as_str()) {
            *word = "->".to_owned();
        }
    }
    let at = words.iter().position(|word| word.contains('/') && named_port(word).is_some());
    let port = at.and_then(|at| {
        let (protocol, port) = named_port(&words[at])?;
        words[at] = protocol.to_string();
        Some(port)
    });
    let arrow = words.iter().position(|word| word == "->");
    let (count, is_inbound) =
        (words.len(), words.first().is_some_and(|word| word.starts_with("in")));
    match (port, arrow, words.last_mut()) {
        (None, Some(arrow), Some(last)) if arrow + 2 == count && last.parse::<u16>().is_ok() => {
            last.insert(0, ':');
        }
        (Some(port), None, Some(peer)) if is_inbound => {
            peer.push_str(&format!(" -> :{port}"));
        }
        (Some(port), None, Some(peer)) => *peer = format!("-> {}", with_port(peer, port)),
        (Some(port), Some(_), Some(last)) if end(last).is_some_and(|end| end.port.is_none()) => {
            *last = with_port(last, port);
        }
        _ => (),
    }
    words.join(" ")
}

/// An address with a port.
fn with_port(address: &str, port: u16) -> String {
    match address.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port).to_string(),
        Err(_) => format!("{address}:{port}"),
    }
}

/// The transport that a text names.
#[derive(Debug, Clone, Copy)]
enum Named {
    /// The ports follow with the addresses.
    Ports(fn(u16, u16) -> Transport),
    IcmpType(u8),
    Protocol(u8),
}

impl Named {
    fn transport(
        self,
        source: End,
        destination: End,
        peer: IpAddr,
    ) -> Result<Transport, &'static str> {
        match (self, peer) {
            (Self::Ports(transport), _) => {
                let port = destination.port.ok_or("expected the destination's port")?;
                Ok(transport(source.port.unwrap_or_default(), port))
            }
            (Self::IcmpType(_) | Self::Protocol(_), _)
                if source.port.is_some() || destination.port.is_some() =>
            {
                Err(EXPECTED)
            }
            (Self::IcmpType(number), _) => Ok(Transport::Icmp(number)),
            (Self::Protocol(protocol::TCP | protocol::UDP | protocol::SCTP), _) => {
                Err("tcp, udp and sctp have ports: 'in tcp PEER:PORT -> :PORT'")
            }
            (Self::Protocol(protocol::ICMP), IpAddr::V4(_))
            | (Self::Protocol(protocol::ICMPV6), IpAddr::V6(_)) => {
                Err("ICMP has a type: 'in icmp PEER type N'")
            }
            (Self::Protocol(number), _) => Ok(Transport::Other(number)),
        }
    }
}

/// What a text may name.
const EXPECTED: &str = "expected tcp, udp, sctp, 'icmp PEER type N' or 'proto N PEER'";

/// The transport of a text without its direction, and the words with the addresses.
fn transport_of<'w>(words: &'w [&'w str]) -> Result<(Named, &'w [&'w str]), &'static str> {
    let icmp = |text: &str| text.parse().map_err(|_| "expected an ICMP type, 0 to 255");
    match words {
        ["tcp", ends @ ..] => Ok((Named::Ports(Transport::Tcp), ends)),
        ["udp", ends @ ..] => Ok((Named::Ports(Transport::Udp), ends)),
        ["sctp", ends @ ..] => Ok((Named::Ports(Transport::Sctp), ends)),
        ["icmp", ends @ .., "type", number] => Ok((Named::IcmpType(icmp(number)?), ends)),
        ["proto" | "protocol", named, ends @ ..] => {
            let number = protocol::number(named).or_else(|| named.parse().ok());
            let number = number.ok_or("expected a protocol's name or number, 0 to 255")?;
            Ok((Named::Protocol(number), ends))
        }
        [word, ends @ ..] => match (word.strip_prefix("icmp/"), protocol::number(word)) {
            (Some(number), _) => Ok((Named::IcmpType(icmp(number)?), ends)),
            (None, Some(number)) => Ok((Named::Protocol(number), ends)),
            (None, None) => Err(EXPECTED),
        },
        [] => Err("expected 'in' or 'out' first"),
    }
}

/// One end of a flow, as far as a text names it.
#[derive(Debug, Clone, Copy)]
struct End {
    address: Option<IpAddr>,
    port: Option<u16>,
}

impl End {
    const UNKNOWN: Self = Self { address: None, port: None };
}

/// `ADDRESS`, `[ADDRESS]`, `ADDRESS:PORT`, `:PORT`.
fn end(text: &str) -> Option<End> {
    if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
        return Some(End { address: None, port: Some(port) });
    }
    if let Ok(both) = text.parse::<SocketAddr>() {
        return Some(End { address: Some(both.ip()), port: Some(both.port()) });
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    Some(End { address: Some(bare.parse().ok()?), port: None })
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, peer, .. } = *self;
        let way = if direction == Direction::Inbound { "in" } else { "out" };
        let ends = |f: &mut fmt::Formatter<'_>, word: &str, source: u16, destination: u16| {
            let end = |port: u16| SocketAddr::new(peer, port);
            let here = |port: u16| match self.local {
                Some(local) => SocketAddr::new(local, port).to_string(),
                None => format!(":{port}"),
            };
            match direction {
                Direction::Inbound => {
                    write!(f, "in {word} {} -> {}", end(source), here(destination))
                }
                Direction::Outbound => {
                    write!(f, "out {word} {} -> {}", here(source), end(destination))
                }
            }
        };
        match self.transport {
            Transport::Tcp(source, destination) => ends(f, "tcp", source, destination),
            Transport::Udp(source, destination) => ends(f, "udp", source, destination),
            Transport::Sctp(source, destination) => ends(f, "sctp", source, destination),
            Transport::Icmp(number) => write!(f, "{way} icmp {peer} type {number}"),
            Transport::Other(number) => match protocol::keyword(number) {
                Some(keyword) => write!(f, "{way} proto {keyword} {peer}"),
                None => write!(f, "{way} proto {number} {peer}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in [
            "in tcp 10.0.0.5:40000 -> :22",
            "in tcp 10.0.0.5:40000 -> 10.0.0.9:22",
            "out udp [2001:db8::5]:40000 -> [2001:db8::9]:53",
            "in udp [2001:db8::5]:40000 -> :53",
            "out tcp :4000 -> 10.0.0.9:443",
            "out udp :0 -> [2001:db8::9]:53",
            "in icmp 10.0.0.5 type 8",
            "in sctp 10.0.0.5:40000 -> :36412",
            "out sctp :4000 -> [2001:db8::9]:36412",
            "out proto gre 10.0.0.5",
            "in proto igmp 10.0.0.5",
            "in proto 253 2001:db8::5",
        ] {
            assert_eq!(text.parse::<Packet>().unwrap().to_string(), text);
        }
        let short: Packet = "out tcp -> 10.0.0.9:443".parse().unwrap();
        assert_eq!(short.to_string(), "out tcp :0 -> 10.0.0.9:443");
        assert_eq!("in proto 47 10.0.0.5".parse(), "in proto gre 10.0.0.5".parse::<Packet>());
    }

    #[test]
    fn flows_of_events_are_parsed_from_this_hosts_side() {
        let own: IpAddr = "10.0.0.9".parse().unwrap();
        let own_v6: IpAddr = "2001:db8::9".parse().unwrap();
        for (text, same) in [
            ("tcp 10.0.0.5 -> 10.0.0.9:22", "in tcp 10.0.0.5:0 -> 10.0.0.9:22"),
            ("inbound tcp 10.0.0.5 -> 10.0.0.9:22", "in tcp 10.0.0.5:0 -> 10.0.0.9:22"),
            ("sctp 10.0.0.9 -> 10.0.0.5:22", "out sctp 10.0.0.9:0 -> 10.0.0.5:22"),
            ("outbound udp 10.0.0.5 -> 192.0.2.1:53", "out udp 10.0.0.5:0 -> 192.0.2.1:53"),
            ("udp 2001:db8::5 -> [2001:db8::9]:53", "in udp [2001:db8::5]:0 -> [2001:db8::9]:53"),
            ("icmp/8 10.0.0.5 -> 10.0.0.9", "in icmp 10.0.0.5 type 8"),
            ("gre 10.0.0.9 -> 10.0.0.5", "out proto gre 10.0.0.5"),
            ("protocol 253 10.0.0.5 -> 10.0.0.9", "in proto 253 10.0.0.5"),
        ] {
            let packet = Packet::read(text, |address| address == own || address == own_v6);
            assert_eq!(packet.unwrap().to_string(), same, "{text}");
        }
    }

    #[test]
    fn a_loopback_address_is_this_host() {
        for (text, loopback) in [
            ("out tcp -> 127.0.0.9:443", true),
            ("out udp -> [::1]:53", true),
            ("out udp -> 10.0.0.9:53", false),
        ] {
            assert_eq!(text.parse::<Packet>().unwrap().loopback, loopback, "{text}");
        }
    }

    #[test]
    fn the_intended_form_is_suggested() {
        for (text, meant) in [
            ("in tcp 10.0.0.5:1 => :22", "in tcp 10.0.0.5:1 -> :22"),
            ("in TCP 10.0.0.5:1 -> :22", "in tcp 10.0.0.5:1 -> :22"),
            ("in tcp 10.0.0.5:1 -> 22", "in tcp 10.0.0.5:1 -> :22"),
            ("in tcp/22 10.0.0.5", "in tcp 10.0.0.5 -> :22"),
            ("in 22/tcp 10.0.0.5:1", "in tcp 10.0.0.5:1 -> :22"),
            ("in 22/tcp 10.0.0.5:1 -> :22", "in tcp 10.0.0.5:1 -> :22"),
            ("in 22/tcp 10.0.0.5 -> 10.0.0.9", "in tcp 10.0.0.5 -> 10.0.0.9:22"),
            ("out udp/53 2001:db8::1", "out udp -> [2001:db8::1]:53"),
            ("out 443/tcp -> 10.0.0.5", "out tcp -> 10.0.0.5:443"),
        ] {
            let error = text.parse::<Packet>().unwrap_err().to_string();
            assert!(error.ends_with(&format!("; did you mean '{meant}'?")), "{text}: {error}");
        }
        for text in ["", "in", "=>", "tcp/443", "in tcp/1-5 10.0.0.5", "out 443/tcp ->", "in ping"]
        {
            let error = text.parse::<Packet>().unwrap_err().to_string();
            assert!(error.contains("examples: "), "{text}: {error}");
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (text, reason) in [
            ("", "'in' or 'out'"),
            ("in tcp", "PEER:PORT"),
            ("in tcp 10.0.0.5", "the destination's port"),
            ("in tcp 10.0.0.5:1 :22", "PEER:PORT"),
            ("in tcp -> :22", "the peer's address"),
            ("tcp 10.0.0.5 -> 10.0.0.9:22", "neither end is an address of this host"),
            ("in icmp 10.0.0.5 type 300", "0 to 255"),
            ("in dccp 10.0.0.5:1 -> :2", "expected tcp"),
            ("in proto 6 10.0.0.5", "have ports"),
            ("in proto sctp 10.0.0.5", "have ports"),
            ("in proto icmp 10.0.0.5", "has a type"),
            ("in proto 58 2001:db8::5", "has a type"),
            ("in proto 256 10.0.0.5", "name or number"),
        ] {
            let error = text.parse::<Packet>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
