//! Determines which end of a flow is this host.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use xshield_policy::Direction;

/// The addresses of this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnAddresses(BTreeSet<IpAddr>);

impl FromIterator<IpAddr> for OwnAddresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        Self(addresses.into_iter().collect())
    }
}

impl OwnAddresses {
    /// Whether it is one of them. Loopback addresses always are.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.0.contains(&address)
    }
}

/// The two endpoints of a flow, each with its port or what replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ends {
    /// One of them is this host.
    Peer {
        /// This host.
        local: (IpAddr, u16),
        /// The other end.
        remote: (IpAddr, u16),
    },
    /// Both are this host.
    ThisHost,
    /// Neither is known to be: an address that this host no longer has, or never had.
    Unplaced {
        /// The source as the event names it.
        source: (IpAddr, u16),
        /// The destination as the event names it.
        destination: (IpAddr, u16),
    },
}

/// The content of the port fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detail {
    /// The ports of this host and of the peer.
    Ports {
        /// The port of this host.
        local: u16,
        /// The port of the peer.
        remote: u16,
    },
    /// The type and code of an ICMP message: Windows puts the type in the field of this host's port.
    Icmp {
        /// The type.
        kind: u16,
        /// The code.
        code: u16,
    },
    /// Neither.
    None,
}

impl Ends {
    /// Determines by the host's own addresses which end is which. If only one end is a multicast or broadcast
    /// address, an inbound flow arrived there, and an outbound one was sent there.
    #[must_use]
    pub fn of(
        source: (IpAddr, u16),
        destination: (IpAddr, u16),
        direction: Direction,
        own: &OwnAddresses,
    ) -> Self {
        let is_group =
            |address: IpAddr| address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST);
        let first = Self::Peer { local: source, remote: destination };
        let second = Self::Peer { local: destination, remote: source };
        match (own.contains(source.0), own.contains(destination.0)) {
            (true, true) => Self::ThisHost,
            (true, false) => first,
            (false, true) => second,
            (false, false) => match (is_group(source.0), is_group(destination.0), direction) {
                (false, true, Direction::Outbound) | (true, false, Direction::Inbound) => first,
                (true, false, Direction::Outbound) | (false, true, Direction::Inbound) => second,
                (true, true, _) | (false, false, _) => Self::Unplaced { source, destination },
            },
        }
    }
}
