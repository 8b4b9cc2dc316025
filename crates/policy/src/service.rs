//! Protocols, ports and ICMP types: what a rule opens or closes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a service was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a service: {reason} (examples: tcp/443, udp/5000-5010, tcp, icmp/echo-request, any)"
)]
pub struct ServiceError {
    text: String,
    reason: String,
}

/// A transport protocol that rules speak of, with its IANA number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol, 6.
    Tcp,
    /// User Datagram Protocol, 17.
    Udp,
    /// ICMP for IPv4 (protocol 1) and for IPv6 (protocol 58), by the family of the packet.
    Icmp,
    /// Any other protocol, by number. Rules can't name it; `any` covers it.
    #[serde(untagged)]
    Other(u8),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Other(number) => write!(f, "{number}"),
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

    /// `first..=last`; `None` when it would be empty.
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
            })
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        Self::new(first, last).ok_or_else(|| ServiceError {
            text: text.to_owned(),
            reason: format!("the range ends ({last}) before it begins ({first})"),
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

/// Ports of one service. "All" is a word of its own; there is no empty list.
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

/// One thing a rule opens or closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Service {
    /// Every protocol, also those that rules can't name.
    Any,
    /// TCP to these ports.
    Tcp(Ports),
    /// UDP to these ports.
    Udp(Ports),
    /// ICMP or ICMPv6 messages of this type.
    Icmp(IcmpType),
}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let refuse = |reason: String| ServiceError { text: text.to_owned(), reason };
        let (protocol, detail) = match text.split_once('/') {
            Some((protocol, detail)) => (protocol, Some(detail)),
            None => (text, None),
        };
        let ports = || match detail {
            None => Ok(Ports::Any),
            Some(range) => {
                range.parse::<PortRange>().map(Ports::Range).map_err(|error| refuse(error.reason))
            }
        };
        match protocol {
            "any" if detail.is_none() => Ok(Self::Any),
            "any" => Err(refuse("'any' takes no ports".to_owned())),
            "tcp" => ports().map(Self::Tcp),
            "udp" => ports().map(Self::Udp),
            "icmp" => match detail {
                None => Ok(Self::Icmp(IcmpType::Any)),
                Some("echo-request") => Ok(Self::Icmp(IcmpType::EchoRequest)),
                Some(number) => number
                    .parse::<u8>()
                    .map(|number| Self::Icmp(IcmpType::Number(number)))
                    .map_err(|_| refuse(format!("{number:?} is not an ICMP type"))),
            },
            other => {
                Err(refuse(format!("unknown protocol {other:?}, expected tcp, udp, icmp or any")))
            }
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Tcp(Ports::Any) => f.write_str("tcp"),
            Self::Tcp(Ports::Range(range)) => write!(f, "tcp/{range}"),
            Self::Udp(Ports::Any) => f.write_str("udp"),
            Self::Udp(Ports::Range(range)) => write!(f, "udp/{range}"),
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
