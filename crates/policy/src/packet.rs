//! One packet as policy sees it, and its text form: `in tcp 10.0.0.5:40000 -> :22`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::bind::Owner;
use crate::level::Direction;
use crate::protocol;

/// The transport of a packet, with what rules look at.
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
    /// Source and destination port, where there are any.
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
    /// Who opened the flow.
    pub direction: Direction,
    /// The other end.
    pub peer: IpAddr,
    /// The address of this end; `None` when nobody says.
    pub local: Option<IpAddr>,
    /// Protocol, ports.
    pub transport: Transport,
    /// Both ends are this host: the interface is the loopback, or the packet was translated to an
    /// address of this host on its way out.
    pub loopback: bool,
    /// How the kernel sees the local program of an outbound packet; `None` when nobody says.
    pub owner: Option<Owner>,
}

impl Packet {
    /// The first packet of the flow that this one would be an answer of; `None` for protocols without
    /// ports.
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
        Some(Self { direction, transport, owner: None, ..self.clone() })
    }
}

/// Why a packet's text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a packet: {reason} (examples: 'in tcp 10.0.0.5:40000 -> :22', \
     'out udp -> [2001:db8::1]:53', 'in icmp 10.0.0.5 type 8', 'in proto gre 10.0.0.5')"
)]
pub struct PacketError {
    text: String,
    reason: String,
}

impl FromStr for Packet {
    type Err = PacketError;

    /// `in tcp PEER:PORT -> :PORT`, `out tcp [:PORT] -> PEER:PORT`, the same with `udp` and `sctp`,
    /// `in|out icmp PEER type N`, `in|out proto N PEER`, where `N` is a number or a name. Addresses of
    /// IPv6 with ports stand in brackets. What has a loopback address as its peer is loopback.
    fn from_str(text: &str) -> Result<Self, PacketError> {
        let refuse =
            |reason: &str| PacketError { text: text.to_owned(), reason: reason.to_owned() };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (direction, rest) = match words.split_first() {
            Some((&"in", rest)) => (Direction::Inbound, rest),
            Some((&"out", rest)) => (Direction::Outbound, rest),
            _ => return Err(refuse("expected 'in' or 'out' first")),
        };
        let (peer, local, transport) = match rest {
            [protocol @ ("tcp" | "udp" | "sctp"), ends @ ..] => {
                let (source, destination) = ends_of(direction, ends).ok_or_else(|| {
                    refuse("expected 'PEER:PORT -> :PORT' inbound, '-> PEER:PORT' outbound")
                })?;
                let ports = (source.port(), destination.port());
                let (peer, local) = match direction {
                    Direction::Inbound => (source.ip(), destination.ip()),
                    Direction::Outbound => (destination.ip(), source.ip()),
                };
                let local = Some(local).filter(|local| !local.is_unspecified());
                let transport = match *protocol {
                    "tcp" => Transport::Tcp(ports.0, ports.1),
                    "sctp" => Transport::Sctp(ports.0, ports.1),
                    _ => Transport::Udp(ports.0, ports.1),
                };
                (peer, local, transport)
            }
            ["icmp", peer, "type", number] => {
                let number =
                    number.parse().map_err(|_| refuse("expected an ICMP type, 0 to 255"))?;
                (
                    address(peer).ok_or_else(|| refuse("expected an address"))?,
                    None,
                    Transport::Icmp(number),
                )
            }
            ["proto", protocol, peer] => {
                let number = protocol::number(protocol)
                    .or_else(|| protocol.parse().ok())
                    .ok_or_else(|| refuse("expected a protocol's name or number, 0 to 255"))?;
                let peer = address(peer).ok_or_else(|| refuse("expected an address"))?;
                match (number, peer) {
                    (protocol::TCP | protocol::UDP | protocol::SCTP, _) => {
                        return Err(refuse(
                            "tcp, udp and sctp have ports: 'in tcp PEER:PORT -> :PORT'",
                        ));
                    }
                    (protocol::ICMP, IpAddr::V4(_)) | (protocol::ICMPV6, IpAddr::V6(_)) => {
                        return Err(refuse("ICMP has a type: 'in icmp PEER type N'"));
                    }
                    (other, peer) => (peer, None, Transport::Other(other)),
                }
            }
            _ => {
                return Err(refuse(
                    "expected tcp, udp, sctp, 'icmp PEER type N' or 'proto N PEER'",
                ));
            }
        };
        Ok(Self { direction, peer, local, transport, loopback: peer.is_loopback(), owner: None })
    }
}

fn address(text: &str) -> Option<IpAddr> {
    text.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Source and destination; the local end may be given as `:PORT`, or left out when it is the source.
fn ends_of(direction: Direction, words: &[&str]) -> Option<(SocketAddr, SocketAddr)> {
    let local = |text: &str| {
        let port = text.strip_prefix(':')?.parse().ok()?;
        Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
    };
    match (direction, words) {
        (Direction::Inbound, [source, "->", destination]) => {
            Some((source.parse().ok()?, local(destination).or_else(|| destination.parse().ok())?))
        }
        (Direction::Outbound, ["->", destination]) => {
            Some((local(":0")?, destination.parse().ok()?))
        }
        (Direction::Outbound, [source, "->", destination]) => {
            Some((local(source).or_else(|| source.parse().ok())?, destination.parse().ok()?))
        }
        _ => None,
    }
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
    fn what_is_wrong_is_named() {
        for (text, reason) in [
            ("", "'in' or 'out'"),
            ("in tcp", "PEER:PORT"),
            ("in tcp 10.0.0.5 -> :22", "PEER:PORT"),
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
