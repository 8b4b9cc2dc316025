//! Services: the protocols, ports and ICMP types that a rule matches.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::protocol::{self, IpProtocol};

/// Why a service was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a service: {reason}{}", self.hint())]
pub struct ServiceError {
    text: String,
    reason: String,
    meant: Option<Service>,
}

impl ServiceError {
    fn hint(&self) -> String {
        match self.meant {
            Some(service) => format!("; did you mean {service}?"),
            None => {
                " (examples: tcp/443, udp/5000-5010, sctp, icmp/echo-request, gre, proto/112, any)"
                    .to_owned()
            }
        }
    }
}

/// A transport protocol in rules, with its IANA number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol, 6.
    Tcp,
    /// User Datagram Protocol, 17.
    Udp,
    /// ICMP for IPv4 (protocol 1) and for IPv6 (protocol 58), by the family of the packet.
    Icmp,
    /// Any other protocol, by number; SCTP is one of them.
    #[serde(untagged)]
    Other(u8),
}

impl Protocol {
    /// Whether it has ports.
    #[must_use]
    pub fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Other(protocol::SCTP))
    }
}

/// By its IANA number, as packets and logs have it.
impl From<u8> for Protocol {
    fn from(number: u8) -> Self {
        match number {
            protocol::TCP => Self::Tcp,
            protocol::UDP => Self::Udp,
            protocol::ICMP | protocol::ICMPV6 => Self::Icmp,
            other => Self::Other(other),
        }
    }
}

/// Its name, or its number if it has no name in rules.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Other(number) => match protocol::keyword(*number) {
                Some(keyword) => f.write_str(keyword),
                None => write!(f, "{number}"),
            },
        }
    }
}

/// Ports `first..=last`; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// All ports.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// One port.
    #[must_use]
    pub const fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// `first..=last`; `None` if it would be empty.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The lowest port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port, itself included.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` is in the range.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for PortRange {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let port = |digits: &str| {
            digits.parse::<u16>().map_err(|_| ServiceError {
                text: text.to_owned(),
                reason: format!("{digits:?} is not a port from 0 to 65535"),
                meant: None,
            })
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        Self::new(first, last).ok_or_else(|| ServiceError {
            text: text.to_owned(),
            reason: format!("the range ends ({last}) before it begins ({first})"),
            meant: None,
        })
    }
}

impl TryFrom<String> for PortRange {
    type Error = ServiceError;

    fn try_from(text: String) -> Result<Self, ServiceError> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> String {
        range.to_string()
    }
}

/// The ports of a service. "All" is an explicit value; there is no empty list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ports {
    /// Every port.
    Any,
    /// These ports.
    #[serde(untagged)]
    Range(PortRange),
}

impl Ports {
    /// The ports as a range.
    #[must_use]
    pub fn range(self) -> PortRange {
        match self {
            Self::Any => PortRange::ALL,
            Self::Range(range) => range,
        }
    }
}

/// An ICMP message type, by its number in each family (a name covers both; a number is taken as is).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IcmpType {
    /// Every type.
    Any,
    /// Echo request: type 8 (RFC 792), type 128 (RFC 4443).
    EchoRequest,
    /// The same number in the header of either family.
    #[serde(untagged)]
    Number(u8),
}

impl IcmpType {
    /// The type's number in an ICMPv4 header; `None` for every type.
    #[must_use]
    pub fn v4(self) -> Option<u8> {
        match self {
            Self::Any => None,
            Self::EchoRequest => Some(8),
            Self::Number(number) => Some(number),
        }
    }

    /// The type's number in an ICMPv6 header; `None` for every type.
    #[must_use]
    pub fn v6(self) -> Option<u8> {
        match self {
            Self::Any => None,
            Self::EchoRequest => Some(128),
            Self::Number(number) => Some(number),
        }
    }
}

/// One service that a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Service {
    /// Every protocol.
    Any,
    /// TCP to these ports.
    Tcp(Ports),
    /// UDP to these ports.
    Udp(Ports),
    /// SCTP to these ports.
    Sctp(Ports),
    /// ICMP or ICMPv6 messages of this type.
    Icmp(IcmpType),
    /// All traffic of another protocol.
    Protocol(IpProtocol),
}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        read(text).map_err(|reason| ServiceError {
            text: text.to_owned(),
            reason,
            meant: read(&respelled(text)).ok(),
        })
    }
}

/// Parses a service in its exact syntax; the error is a reason.
fn read(text: &str) -> Result<Service, String> {
    let (protocol, detail) = match text.split_once('/') {
        Some((protocol, detail)) => (protocol, Some(detail)),
        None => (text, None),
    };
    let ports = || match detail {
        None => Ok(Ports::Any),
        Some(range) => range.parse::<PortRange>().map(Ports::Range).map_err(|error| error.reason),
    };
    match protocol {
        "any" if detail.is_none() => Ok(Service::Any),
        "any" => Err("'any' takes no ports".to_owned()),
        "tcp" => ports().map(Service::Tcp),
        "udp" => ports().map(Service::Udp),
        "sctp" => ports().map(Service::Sctp),
        "icmp" => match detail {
            None => Ok(Service::Icmp(IcmpType::Any)),
            Some("echo-request") => Ok(Service::Icmp(IcmpType::EchoRequest)),
            Some(number) => number
                .parse::<u8>()
                .map(|number| Service::Icmp(IcmpType::Number(number)))
                .map_err(|_| format!("{number:?} is not an ICMP type")),
        },
        "proto" => {
            let number = detail.and_then(|number| number.parse::<u8>().ok());
            number
                .ok_or_else(|| "expected a number from 0 to 255 after proto/".to_owned())
                .and_then(of_number)
        }
        name => match (protocol::number(name), detail) {
            (Some(number), None) => of_number(number),
            (Some(_), Some(_)) => Err(format!("{name} takes no ports")),
            (None, _) => Err(format!("unknown protocol {name:?}")),
        },
    }
}

/// All traffic of a protocol.
fn of_number(number: u8) -> Result<Service, String> {
    match number {
        protocol::TCP => Ok(Service::Tcp(Ports::Any)),
        protocol::UDP => Ok(Service::Udp(Ports::Any)),
        protocol::SCTP => Ok(Service::Sctp(Ports::Any)),
        other => {
            IpProtocol::try_from(other).map(Service::Protocol).map_err(|error| error.to_string())
        }
    }
}

/// Common other ways to write a service: `443/tcp`, `TCP/443`, `tcp:443`, `tcp 443`, `icmpv6`, `ping`, `all`.
fn respelled(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    let (first, second) = match text.split_once(['/', ':', ' ']) {
        Some((first, second)) => (first.trim(), Some(second.trim())),
        None => (text.as_str(), None),
    };
    let is_ports = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    let (protocol, detail) = match second {
        Some(second) if is_ports(first) && !is_ports(second) => (second, Some(first)),
        None if is_ports(first) => ("tcp", Some(first)),
        _ => (first, second),
    };
    let protocol = match protocol {
        "icmpv6" | "icmp6" | "ipv6-icmp" => "icmp",
        "ping" => "icmp/echo-request",
        "all" | "*" => "any",
        "protocol" => "proto",
        other => other,
    };
    match (protocol, detail) {
        ("proto", Some("1" | "58")) => "icmp".to_owned(),
        (protocol, Some(detail)) => format!("{protocol}/{detail}"),
        (protocol, None) => protocol.to_owned(),
    }
}

/// A port where only a port is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortNumber(pub u16);

/// Why a text is no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a port from 0 to 65535{}", .meant.map(|port| format!("; did you mean {port}?")).unwrap_or_default())]
pub struct PortNumberError {
    text: String,
    meant: Option<u16>,
}

impl FromStr for PortNumber {
    type Err = PortNumberError;

    fn from_str(text: &str) -> Result<Self, PortNumberError> {
        text.parse().map(Self).map_err(|_| PortNumberError {
            text: text.to_owned(),
            meant: named_port(text).map(|(_, port)| port),
        })
    }
}

/// The protocol and the only port of a service, in any spelling.
pub(crate) fn named_port(text: &str) -> Option<(Protocol, u16)> {
    let (protocol, ports) = match read(&respelled(text)).ok()? {
        Service::Tcp(ports) => (Protocol::Tcp, ports),
        Service::Udp(ports) => (Protocol::Udp, ports),
        Service::Sctp(ports) => (Protocol::Other(protocol::SCTP), ports),
        _ => return None,
    };
    let range = ports.range();
    (range.first() == range.last()).then_some((protocol, range.first()))
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Tcp(Ports::Any) => f.write_str("tcp"),
            Self::Tcp(Ports::Range(range)) => write!(f, "tcp/{range}"),
            Self::Udp(Ports::Any) => f.write_str("udp"),
            Self::Udp(Ports::Range(range)) => write!(f, "udp/{range}"),
            Self::Sctp(Ports::Any) => f.write_str("sctp"),
            Self::Sctp(Ports::Range(range)) => write!(f, "sctp/{range}"),
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Icmp(IcmpType::Any) => f.write_str("icmp"),
            Self::Icmp(IcmpType::EchoRequest) => f.write_str("icmp/echo-request"),
            Self::Icmp(IcmpType::Number(number)) => write!(f, "icmp/{number}"),
        }
    }
}

impl TryFrom<String> for Service {
    type Error = ServiceError;

    fn try_from(text: String) -> Result<Self, ServiceError> {
        text.parse()
    }
}

impl From<Service> for String {
    fn from(service: Service) -> String {
        service.to_string()
    }
}

/// The services of a rule: the union of the listed ones. An empty list matches nothing.
pub type Services = Vec<Service>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_one_canonical_form() {
        for (text, written) in [
            ("any", "any"),
            ("tcp", "tcp"),
            ("tcp/443", "tcp/443"),
            ("udp/5000-5010", "udp/5000-5010"),
            ("sctp", "sctp"),
            ("sctp/36412", "sctp/36412"),
            ("sctp/1-10", "sctp/1-10"),
            ("icmp/13", "icmp/13"),
            ("gre", "gre"),
            ("vrrp", "vrrp"),
            ("proto/112", "vrrp"),
            ("proto/253", "proto/253"),
            ("proto/6", "tcp"),
            ("proto/17", "udp"),
            ("proto/132", "sctp"),
        ] {
            let service: Service = text.parse().unwrap();
            assert_eq!(service.to_string(), written, "{text}");
            assert_eq!(written.parse(), Ok(service), "{text}");
        }
    }

    #[test]
    fn a_bare_port_suggests_a_service() {
        assert_eq!("443".parse(), Ok(PortNumber(443)));
        for (text, says) in [
            ("tcp/443", "\"tcp/443\" is not a port from 0 to 65535; did you mean 443?"),
            ("443/TCP", "did you mean 443?"),
            ("sctp/5", "did you mean 5?"),
            ("tcp/1-5", "\"tcp/1-5\" is not a port from 0 to 65535"),
            ("https", "\"https\" is not a port from 0 to 65535"),
            ("70000", "\"70000\" is not a port from 0 to 65535"),
        ] {
            let error = text.parse::<PortNumber>().unwrap_err().to_string();
            assert!(error.ends_with(says), "{text}: {error}");
        }
    }

    #[test]
    fn errors_are_named_with_a_suggestion() {
        for (text, says) in [
            ("443/tcp", "did you mean tcp/443?"),
            ("TCP/443", "did you mean tcp/443?"),
            ("443", "did you mean tcp/443?"),
            ("8000-8010", "did you mean tcp/8000-8010?"),
            ("tcp:443", "did you mean tcp/443?"),
            ("udp 53", "did you mean udp/53?"),
            ("8000-8010/tcp", "did you mean tcp/8000-8010?"),
            ("GRE", "did you mean gre?"),
            ("ping", "did you mean icmp/echo-request?"),
            ("icmpv6", "did you mean icmp?"),
            ("ICMPv6/13", "did you mean icmp/13?"),
            ("proto/1", "write icmp, which is ICMPv6 for IPv6 peers; did you mean icmp?"),
            ("proto/58", "did you mean icmp?"),
            ("all", "did you mean any?"),
            ("proto/44", "extension header"),
            ("proto/256", "a number from 0 to 255"),
            ("proto", "a number from 0 to 255"),
            ("gre/5", "gre takes no ports"),
            ("any/5", "takes no ports"),
            ("tcp/70000", "not a port from 0 to 65535"),
            ("tcp/9-1", "ends (1) before it begins (9)"),
            ("https", "unknown protocol \"https\" (examples: tcp/443,"),
            ("", "unknown protocol"),
        ] {
            let error = text.parse::<Service>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn protocols_are_shown_by_name() {
        for (protocol, told) in [
            (Protocol::Tcp, "tcp"),
            (Protocol::Other(protocol::SCTP), "sctp"),
            (Protocol::Other(47), "gre"),
            (Protocol::Other(253), "253"),
        ] {
            assert_eq!(protocol.to_string(), told);
        }
    }
}
