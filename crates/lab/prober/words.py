"""The vocabulary of policy documents: packets, addresses, services and levels."""

import enum
import ipaddress
from dataclasses import dataclass, field

TCP, UDP, SCTP, ICMP, ICMPV6, IGMP = 6, 17, 132, 1, 58, 2
PORTED = {"tcp": TCP, "udp": UDP, "sctp": SCTP}
# Whole protocols by their IANA names.
PROTOCOLS = {
    "igmp": IGMP, "egp": 8, "dccp": 33, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "eigrp": 88,
    "ospf": 89, "etherip": 97, "pim": 103, "ipcomp": 108, "vrrp": 112, "l2tp": 115, "udplite": 136,
    "mpls-in-ip": 137, "hip": 139,
}


class Direction(str, enum.Enum):
    """The direction of a flow, as seen by the judging asset."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Verdict(str, enum.Enum):
    """The expected result of a flow."""

    ALLOW = "allow"
    WOULD_DENY = "would-deny"
    DENY = "deny"


@dataclass(frozen=True)
class Asset:
    """A host in the inventory."""

    name: str
    addresses: tuple
    tags: dict = field(default_factory=dict)
    id: str = ""
    os: str = ""
    source: str = "spark"


@dataclass(frozen=True)
class Packet:
    """The first packet of a flow. `protocol` is the number in the IP header."""

    direction: Direction
    peer: str
    protocol: int
    source_port: int = 0
    port: int = 0
    icmp_type: int = 0


@dataclass(frozen=True)
class Span:
    """Addresses of one family from first to last, as numbers."""

    version: int
    first: int
    last: int

    @classmethod
    def of(cls, text):
        """An address, or a prefix without host bits."""
        net = ipaddress.ip_network(text)
        return cls(net.version, int(net.network_address), int(net.broadcast_address))

    def holds(self, version, number):
        return self.version == version and self.first <= number <= self.last

    def overlaps(self, other):
        same = self.version == other.version
        return same and self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Service:
    """The services of a rule. `protocol`: tcp, udp, sctp, icmp, proto or any; the numbers are
    ports or, for ICMP, types; for proto, the protocol's number. `named` is an ICMP type by name, whose
    number depends on the family."""

    protocol: str
    first: int = 0
    last: int = 65535
    named: bool = False

    @classmethod
    def of(cls, text):
        protocol, _, detail = text.partition("/")
        if protocol == "any":
            return cls("any")
        if protocol == "icmp":
            if detail == "echo-request":
                return cls("icmp", named=True)
            return cls("icmp", int(detail), int(detail)) if detail else cls("icmp", 0, 255)
        if protocol == "proto":
            return cls.whole(int(detail))
        if protocol in PROTOCOLS:
            return cls.whole(PROTOCOLS[protocol])
        if protocol not in PORTED:
            raise ValueError(f"unknown service {text!r}")
        if not detail:
            return cls(protocol)
        first, _, last = detail.partition("-")
        return cls(protocol, int(first), int(last or first))

    @classmethod
    def whole(cls, number):
        """A whole protocol by its number; those with ports are known by name, too."""
        for name, of_name in PORTED.items():
            if number == of_name:
                return cls(name)
        return cls("proto", number, number)

    def matches(self, packet):
        if self.protocol == "any":
            return True
        if self.protocol == "icmp":
            if packet.protocol == ICMP:
                wanted = (8, 8) if self.named else (self.first, self.last)
            elif packet.protocol == ICMPV6:
                wanted = (128, 128) if self.named else (self.first, self.last)
            else:
                return False
            return wanted[0] <= packet.icmp_type <= wanted[1]
        if self.protocol == "proto":
            return packet.protocol == self.first
        return packet.protocol == PORTED[self.protocol] and self.first <= packet.port <= self.last

    def overlaps(self, other):
        """Whether some packet matches both."""
        if "any" in (self.protocol, other.protocol):
            return True
        if self.protocol != other.protocol:
            return False
        if self.protocol == "icmp":
            return any(
                mine[0] <= theirs[1] and theirs[0] <= mine[1]
                for mine, theirs in zip(self.icmp_types(), other.icmp_types())
            )
        return self.first <= other.last and other.first <= self.last

    def icmp_types(self):
        """First and last type in IPv4 and in IPv6."""
        if self.named:
            return ((8, 8), (128, 128))
        return ((self.first, self.last),) * 2


# Ordered from open to closed.
INBOUND_LEVELS = ("unsecured", "secure-internet-ports", "secure-all-ports", "secure-inbound-paths")
OUTBOUND_LEVELS = ("unsecured", "secure-internet-paths", "secure-intranet-paths")


def levels(direction):
    return INBOUND_LEVELS if direction == Direction.INBOUND else OUTBOUND_LEVELS
