"""Flows to test: at the edges of what the policy names, and next to them."""

import ipaddress

from meaning import INTRANET
from words import ICMP, ICMPV6, IGMP, PORTED, PROTOCOLS, SCTP, TCP, UDP, Direction, Packet, Span

MAX = {4: (1 << 32) - 1, 6: (1 << 128) - 1}
# Whole protocols. Where IPv6 has extension headers, the protocol is what follows them.
OTHER_PROTOCOLS = {
    4: [*PROTOCOLS.values(), 253],
    6: [number for number in (*PROTOCOLS.values(), 253) if number not in (IGMP, PROTOCOLS["ah"])],
}
# First ports of each side, so that no flow is the reply of another.
INBOUND_SOURCES = (20_000, 39_999)
OUTBOUND_SOURCES = (40_000, 60_999)
# Addresses that the world does not have: its kernel sends no answers from there.
NOBODYS = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8")
# Never used as peers: the kernel does not route such traffic, or the lab needs them. The groups of all nodes
# have the host itself as a member.
UNUSABLE = [
    Span.of(text)
    for text in (
        "0.0.0.0/8", "127.0.0.0/8", "224.0.0.1", "::/8", "ff02::1",
        "10.77.0.0/29", "10.77.0.250", "10.77.0.255", "fd77::/125", "fd77::250",
    )
]
# Multicast groups and the broadcast address are not used as sources.
GROUPS = [Span.of(text) for text in ("224.0.0.0/4", "255.255.255.255", "ff00::/8")]
# Groups with other scopes and flags are not sent to.
SENT_TO = [
    Span.of(text)
    for text in ("224.0.0.0/4", "255.255.255.255", "ff02::/16", "ff05::/16", "ff0e::/16")
]
# Not outbound: the host would look for the neighbour, and no host has that address.
ON_LINK = [Span.of("fe80::/10")]


def within(spans, address):
    return any(span.holds(address.version, int(address)) for span in spans)


class Flows:
    """Chooses flows of one policy for each host."""

    def __init__(self, random, hosts, meaning, opened):
        """`opened`: the openers of flows without ports so far, kept over all policies of a run."""
        self.random = random
        self.opened = opened
        self.hosts = hosts
        self.meaning = meaning
        self.own = {
            host["name"]: {ipaddress.ip_address(a) for a in host["addresses"]} for host in hosts
        }
        named = {Span.of(text) for text in INTRANET}
        for network in meaning.networks.values():
            named |= {Span.of(text) for text in network.get("cidrs", [])}
        self.named = sorted(named, key=lambda s: (s.version, s.first, s.last))

    def choose(self, host, count):
        """`count` packets for a host, as pairs of the packet and the host's address."""
        found, seen = [], set()
        # Some edge cases may be rare; then fewer flows are chosen.
        for _ in range(count * 20):
            if len(found) == count:
                break
            packet = self.packet(host)
            if packet is None:
                continue
            key = (packet.direction, packet.peer, packet.protocol, packet.port, packet.icmp_type)
            if key in seen:
                continue
            local = self.local(host, packet.peer)
            if not self.is_opener(local, packet):
                continue
            seen.add(key)
            found.append((packet, local))
        return found

    def is_opener(self, local, packet):
        """Without ports, a packet from the other side is a reply for as long as the kernel remembers
        the flow: only one side of such a pair ever opens flows."""
        if packet.protocol in (TCP, UDP, SCTP, ICMP, ICMPV6):
            return True
        key = (local, packet.peer, packet.protocol)
        return self.opened.setdefault(key, packet.direction) == packet.direction

    def packet(self, host):
        choose = self.random
        direction = choose.choice(list(Direction))
        if choose.random() < 0.06:
            return self.kept_open(host, direction)
        enforced, tested = self.meaning.stances(host["name"], direction)
        rules = list(enforced.blocks + enforced.allows)
        rules += tested.blocks + tested.allows if tested else ()
        rules = [rule for rule in rules if rule.spans]
        if rules and choose.random() < 0.75:
            rule = choose.choice(rules)
            span, service = choose.choice(rule.spans), choose.choice(rule.services)
        else:
            span, service = choose.choice(self.named), None
        address = self.near(span)
        if not self.usable(host, address, direction):
            return None
        return self.about(direction, address, service)

    def kept_open(self, host, direction):
        """At the edges of what the failsafe keeps open, or next to them."""
        choose = self.random
        if direction == Direction.INBOUND:
            if not self.meaning.management:
                return None
            spans, services = choose.choice(self.meaning.management)
            address = self.near(choose.choice(spans))
            if not self.usable(host, address, direction):
                return None
            return self.about(direction, address, choose.choice(services))
        resolver = Span.of(choose.choice(self.meaning.surroundings.resolvers))
        address = str(self.near(resolver))
        protocol, port = choose.choice([TCP, UDP, UDP]), choose.choice([53, 53, 53, 54])
        return Packet(direction, address, protocol, choose.randint(*OUTBOUND_SOURCES), port)

    def near(self, span):
        """An address in the span or adjacent to it."""
        choose = self.random
        number = choose.choice([
            span.first - 1, span.first, span.first, span.last, span.last, span.last + 1,
            choose.randint(span.first, span.last),
        ])
        number = min(max(number, 0), MAX[span.version])
        return (ipaddress.IPv4Address if span.version == 4 else ipaddress.IPv6Address)(number)

    def usable(self, host, address, direction):
        if address in self.own[host["name"]] or within(UNUSABLE, address):
            return False
        if direction == Direction.INBOUND:
            return not within(GROUPS, address)
        if within([Span.of("224.0.0.0/3"), Span.of("ff00::/8")], address):
            return within(SENT_TO, address)
        return not within(ON_LINK, address)

    def about(self, direction, address, service):
        choose = self.random
        sources = INBOUND_SOURCES if direction == Direction.INBOUND else OUTBOUND_SOURCES
        source = choose.randint(*sources)
        kind = service.protocol if service else "any"
        if choose.random() < 0.1:
            kind = "any"
        if kind == "any":
            kind = choose.choice(["tcp", "udp", "sctp", "icmp", "other"])
            service = None
        if kind == "icmp":
            kinds = [8, 13, 0, 17] if address.version == 4 else [128, 13, 8, 129, 0]
            if choose.random() < 0.1:
                kinds = [3, 4, 11, 12] if address.version == 4 else [1, 2, 3, 4]
            if service and not service.named and service.first == service.last:
                kinds += [service.first, service.first, service.first + 1]
            protocol = ICMP if address.version == 4 else ICMPV6
            return Packet(direction, str(address), protocol, icmp_type=choose.choice(kinds))
        if kind in ("proto", "other"):
            number = service.first if service else 0
            if number not in OTHER_PROTOCOLS[address.version] or choose.random() < 0.3:
                number = choose.choice(OTHER_PROTOCOLS[address.version])
            return Packet(direction, str(address), number)
        if service:
            port = choose.choice([
                service.first - 1, service.first, service.last, service.last + 1,
                choose.randint(service.first, service.last),
            ])
            port = min(max(port, 1), 65535)
        else:
            port = choose.choice([22, 53, 80, 443, 8443, choose.randint(1, 65535)])
        protocol = PORTED[kind]
        if protocol == UDP and choose.random() < 0.02:
            source, port = self.dhcp(direction, address, source)
        return Packet(direction, str(address), protocol, source, port)

    def dhcp(self, direction, address, source):
        """At the ports of DHCP; on the link, servers answer from any port."""
        client, server = (68, 67) if address.version == 4 else (546, 547)
        if direction == Direction.OUTBOUND:
            return client, server
        return (self.random.choice([server, source]), client)

    def local(self, host, peer):
        version = ipaddress.ip_address(peer).version
        fitting = [a for a in host["addresses"] if ipaddress.ip_address(a).version == version]
        return self.random.choice(fitting)
