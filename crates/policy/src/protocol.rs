//! IP protocols by number, and the names of those that rules can name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// ICMP for IPv4.
pub const ICMP: u8 = 1;
/// Internet Group Management Protocol, by which a host joins IPv4 multicast groups.
pub const IGMP: u8 = 2;
/// Transmission Control Protocol.
pub const TCP: u8 = 6;
/// User Datagram Protocol.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// Stream Control Transmission Protocol.
pub const SCTP: u8 = 132;

/// Names of protocols, as in IANA's list of assigned protocol numbers, except `ipv4` and `ipv6` (4 and 41),
/// which denote encapsulation there but read like an address family.
const KEYWORDS: [(&str, u8); 22] = [
    ("icmp", ICMP),
    ("igmp", IGMP),
    ("tcp", TCP),
    ("egp", 8),
    ("udp", UDP),
    ("dccp", 33),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", ICMPV6),
    ("eigrp", 88),
    ("ospf", 89),
    ("etherip", 97),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", SCTP),
    ("udplite", 136),
    ("mpls-in-ip", 137),
    ("hip", 139),
];

/// The name of a protocol; `None` if it is only known by its number.
#[must_use]
pub fn keyword(number: u8) -> Option<&'static str> {
    KEYWORDS.iter().find(|(_, known)| *known == number).map(|(keyword, _)| *keyword)
}

/// The number of a protocol by its lower-case name.
#[must_use]
pub fn number(keyword: &str) -> Option<u8> {
    KEYWORDS.iter().find(|(known, _)| *known == keyword).map(|(_, number)| *number)
}

/// IPv6 extension headers (RFC 8200) that are skipped: a packet's protocol is what follows them.
const EXTENSION_HEADERS: [u8; 4] = [0, 43, 44, 60];

/// A transport protocol that rules only know by its number. TCP, UDP, SCTP and ICMP have their own services
/// and are excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct IpProtocol(u8);

/// Why a number is not an [`IpProtocol`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IpProtocolError {
    /// TCP, UDP or SCTP.
    #[error("protocol {number} has ports: write {name}", name = keyword(*.number).unwrap_or("it"))]
    HasPorts {
        /// The protocol.
        number: u8,
    },
    /// ICMP or ICMPv6.
    #[error("protocol {0} is ICMP: write icmp, which is ICMPv6 for IPv6 peers")]
    Icmp(u8),
    /// An extension header.
    #[error(
        "protocol {0} is an IPv6 extension header: a packet's protocol is what follows such headers"
    )]
    ExtensionHeader(u8),
}

impl IpProtocol {
    /// The protocol's number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for IpProtocol {
    type Error = IpProtocolError;

    fn try_from(number: u8) -> Result<Self, IpProtocolError> {
        match number {
            TCP | UDP | SCTP => Err(IpProtocolError::HasPorts { number }),
            ICMP | ICMPV6 => Err(IpProtocolError::Icmp(number)),
            header if EXTENSION_HEADERS.contains(&header) => {
                Err(IpProtocolError::ExtensionHeader(header))
            }
            other => Ok(Self(other)),
        }
    }
}

impl From<IpProtocol> for u8 {
    fn from(protocol: IpProtocol) -> u8 {
        protocol.0
    }
}

/// Its name, or `proto/N`, as in rules.
impl fmt::Display for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match keyword(self.0) {
            Some(keyword) => f.write_str(keyword),
            None => write!(f, "proto/{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_names_and_numbers_are_unique() {
        for (at, (keyword, number)) in KEYWORDS.iter().enumerate() {
            assert!(
                KEYWORDS[at + 1..].iter().all(|(k, n)| k != keyword && n != number),
                "{keyword}"
            );
        }
    }

    #[test]
    fn protocols_with_their_own_services_are_refused() {
        for number in 0..=u8::MAX {
            let refused = matches!(number, 0 | 1 | 6 | 17 | 43 | 44 | 58 | 60 | 132);
            assert_eq!(IpProtocol::try_from(number).is_err(), refused, "{number}");
        }
        assert_eq!(IpProtocol(89).to_string(), "ospf");
        assert_eq!(IpProtocol(253).to_string(), "proto/253");
    }
}
