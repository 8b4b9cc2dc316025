"""The meaning of a policy, implemented from docs/operations/policy.md alone.

No code is shared with the product: its verdicts are compared with the results of this module.
If the documentation leaves a question open, correct the documentation first.
"""

import functools
import ipaddress
from dataclasses import dataclass

import criteria
from words import ICMP, ICMPV6, IGMP, TCP, UDP, Direction, Service, Span, Verdict, levels

# "The intranet is otherwise RFC 1918 and RFC 4193, link-local, loopback, multicast and limited
# broadcast addresses, and the unspecified addresses; everything else is the internet."
INTRANET = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8",
    "224.0.0.0/4", "255.255.255.255", "fc00::/7", "fe80::/10", "::1", "ff00::/8",
    "0.0.0.0", "::",
)
LINK_LOCAL = Span.of("fe80::/10")
EVERYWHERE = (Span.of("0.0.0.0/0"), Span.of("::/0"))

# The failsafe's ICMP.
DISCOVERY = {130, 131, 132, 133, 134, 135, 136, 137, 143}
ERRORS = {ICMP: {3, 11, 12}, ICMPV6: {1, 2, 3, 4}}

# What each level denies, and which lists of allow rules apply.
CLOSES = {
    "unsecured": "nothing",
    "secure-internet-ports": "internet",
    "secure-all-ports": "everything",
    "secure-inbound-paths": "everything",
    "secure-internet-paths": "internet",
    "secure-intranet-paths": "everything",
}
OPENED_BY = {
    "unsecured": (),
    "secure-internet-ports": ("ports", "inbound"),
    "secure-all-ports": ("ports", "inbound"),
    "secure-inbound-paths": ("inbound",),
    "secure-internet-paths": ("outbound",),
    "secure-intranet-paths": ("outbound",),
}
LISTS = {Direction.INBOUND: ("ports", "inbound"), Direction.OUTBOUND: ("outbound",)}


@dataclass(frozen=True)
class Rule:
    """A rule of a template with its peers as addresses. `written`: addresses in the rule itself, without
    those of assets."""

    name: str
    list: str
    spans: tuple
    services: tuple
    written: tuple

    def matches(self, packet, version, number):
        return any(span.holds(version, number) for span in self.spans) and any(
            service.matches(packet) for service in self.services
        )


@dataclass(frozen=True)
class Stance:
    """A level with its effective block and allow rules."""

    level: str
    blocks: tuple
    allows: tuple


@dataclass(frozen=True)
class Surroundings:
    """The input of the failsafe on a host: its platform and its resolvers."""

    platform: tuple  # pairs of address and port
    resolvers: tuple


class Meaning:
    """A policy over an inventory. `documents`: mappings with one key, as in the files."""

    def __init__(self, documents, assets, surroundings):
        self.assets = {asset.name: asset for asset in assets}
        self.surroundings = surroundings
        self.segments, self.templates, self.networks, self.overrides = {}, {}, {}, {}
        self.management = []
        kinds = {
            "segment": self.segments, "template": self.templates,
            "network": self.networks, "asset": self.overrides,
        }
        for document in documents:
            ((kind, body),) = document.items()
            if kind == "settings":
                self.management = [managed(rule) for rule in body.get("management", [])]
            else:
                kinds[kind][body["name"]] = body
        self.members = {
            name: [asset for asset in assets if criteria.parse(body["criteria"])(asset)]
            for name, body in self.segments.items()
        }
        intranet = [Span.of(text) for text in INTRANET]
        for network in self.networks.values():
            if network.get("intranet", False):
                intranet += [Span.of(text) for text in network.get("cidrs", [])]
        self.intranet = tuple(intranet)
        self.internet = complement(self.intranet)

    # Peers and rules

    def peer(self, text):
        """The addresses of a peer."""
        if text == "any":
            return EVERYWHERE
        if text == "intranet":
            return self.intranet
        if text == "internet":
            return self.internet
        kind, _, name = text.partition(":")
        if kind == "segment":
            return tuple(Span.of(a) for asset in self.members[name] for a in asset.addresses)
        if kind == "asset":
            asset = self.assets.get(name)
            return tuple(Span.of(address) for address in asset.addresses) if asset else ()
        if kind == "network":
            return tuple(Span.of(cidr) for cidr in self.networks[name].get("cidrs", []))
        return (Span.of(text),)

    @functools.lru_cache(maxsize=None)
    def rules(self, template, direction):
        """The rules of a template for a direction."""
        body = self.templates[template]
        found = []
        for kind in LISTS[direction]:
            for index, rule in enumerate(body.get(kind, [])):
                peers = rule["to" if kind == "outbound" else "from"]
                named = [peer for peer in peers if peer.startswith(("segment:", "asset:"))]
                written = [s for peer in peers if peer not in named for s in self.peer(peer)]
                assets = [span for peer in named for span in self.peer(peer)]
                if body["action"] == "block":
                    assets = [span for span in assets if span not in self.never_blocked()]
                found.append(Rule(
                    f"{template}/{rule.get('name', f'{kind}-{index + 1}')}",
                    kind,
                    tuple(written + assets),
                    tuple(Service.of(service) for service in rule["services"]),
                    tuple(written),
                ))
        return tuple(found)

    def never_blocked(self):
        """Addresses of named assets that block rules exclude: the platform's, and single
        addresses that are management sources."""
        platform = {Span.of(address) for address, _ in self.surroundings.platform}
        sources = {span for spans, _ in self.management for span in spans}
        return platform | {span for span in sources if span.first == span.last}

    # Stances

    def stances(self, asset, direction):
        """The enforced stance, and the tested one or None."""
        return self.stances_of(self.assets[asset], direction)

    def stances_of(self, asset, direction):
        return self._stances(asset.name, direction)

    @functools.lru_cache(maxsize=None)
    def _stances(self, name, direction):
        order = levels(direction)
        enforced_levels, tested_levels = ["unsecured"], ["unsecured"]
        enforced_templates, tested_templates = [], []
        in_test = False
        for segment, members in self.members.items():
            if name not in (asset.name for asset in members):
                continue
            body = self.segments[segment]
            word = body.get(direction.value)
            templates = body.get("templates", [])
            tested_templates += templates
            if word is None or word["mode"] == "enforce":
                enforced_templates += templates
            if word is not None:
                tested_levels += [word["level"], word.get("test", word["level"])]
                in_test |= word["mode"] == "test" or "test" in word
                if word["mode"] == "enforce":
                    enforced_levels.append(word["level"])
        enforced_level = max(enforced_levels, key=order.index)
        tested_level = max(tested_levels, key=order.index)

        override = self.overrides.get(name, {})
        word = override.get(direction.value)
        templates = override.get("templates", [])
        tested_templates += templates
        if word is None or word["mode"] == "enforce":
            enforced_templates += templates
        if word is not None:
            if word["mode"] == "enforce":
                enforced_level = word["level"]
                tested_level = word.get("test", word["level"])
                in_test |= "test" in word
            else:
                tested_level = word["level"]
                in_test = True
        enforced = self.stance(enforced_level, enforced_templates, direction)
        tested = self.stance(tested_level, tested_templates, direction) if in_test else None
        return enforced, tested

    def stance(self, level, templates, direction):
        blocks, allows = [], []
        for template in dict.fromkeys(templates):
            rules = self.rules(template, direction)
            if self.templates[template]["action"] == "block":
                blocks += rules
            else:
                allows += [rule for rule in rules if rule.list in OPENED_BY[level]]
        return Stance(level, tuple(blocks), tuple(allows))

    # Verdicts

    def judge(self, asset, packet):
        """The verdict on a packet at one asset, and why."""
        address = ipaddress.ip_address(packet.peer)
        version, number = address.version, int(address)
        kept_open = self.failsafe(packet, version, number)
        if kept_open:
            return Verdict.ALLOW, f"failsafe: {kept_open}"
        enforced, tested = self.stances(asset, packet.direction)
        denied, why = self.denies(enforced, packet, version, number)
        if denied:
            return Verdict.DENY, why
        if tested is not None:
            would, why_tested = self.denies(tested, packet, version, number)
            if would:
                return Verdict.WOULD_DENY, f"in test: {why_tested}; in force: {why}"
        return Verdict.ALLOW, why

    def denies(self, stance, packet, version, number):
        for rule in stance.blocks:
            if rule.matches(packet, version, number):
                return True, f"block rule {rule.name}"
        for rule in stance.allows:
            if rule.matches(packet, version, number):
                return False, f"allow rule {rule.name}"
        closes = CLOSES[stance.level]
        inside = any(span.holds(version, number) for span in self.intranet)
        if closes == "everything" or (closes == "internet" and not inside):
            return True, f"level {stance.level}, no rule"
        return False, f"level {stance.level} leaves it open"

    def failsafe(self, packet, version, number):
        """The kind of failsafe flow, if it is one."""
        here = self.surroundings
        outbound = packet.direction == Direction.OUTBOUND
        if packet.protocol == ICMPV6 and packet.icmp_type in DISCOVERY:
            return "neighbour discovery"
        if packet.protocol == IGMP:
            return "IGMP"
        if packet.icmp_type in ERRORS.get(packet.protocol, ()):
            return "ICMP error"
        if outbound and packet.protocol == TCP and (packet.peer, packet.port) in here.platform:
            return "the platform"
        if outbound and packet.protocol in (TCP, UDP) and packet.port == 53:
            if packet.peer in here.resolvers or not here.resolvers:
                return "DNS"
        if packet.protocol == UDP:
            client, server = (68, 67) if version == 4 else (546, 547)
            ports = (packet.source_port, packet.port)
            if ports == ((client, server) if outbound else (server, client)):
                return "DHCP"
            if not outbound and packet.port == 546 and LINK_LOCAL.holds(version, number):
                return "DHCP"
        if not outbound:
            for spans, services in self.management:
                if any(span.holds(version, number) for span in spans):
                    if any(service.matches(packet) for service in services):
                        return "management"
        return None

    # Refusals

    def refusals(self):
        """Pairs of asset and rule: block rules that would block the platform or management."""
        platform = [
            (Span.of(address), Service("tcp", port, port))
            for address, port in self.surroundings.platform
        ]
        found = set()
        for asset in self.assets:
            for direction in Direction:
                if direction == Direction.OUTBOUND:
                    kept = [((span,), (service,)) for span, service in platform]
                else:
                    kept = self.management
                for stance in self.stances(asset, direction):
                    for rule in stance.blocks if stance else ():
                        if any(cuts(rule, spans, services) for spans, services in kept):
                            found.add((asset, rule.name))
        return found


def managed(rule):
    spans = tuple(Span.of(text) for text in rule["from"])
    return spans, tuple(Service.of(text) for text in rule["services"])


def cuts(rule, spans, services):
    return any(a.overlaps(b) for a in rule.written for b in spans) and any(
        a.overlaps(b) for a in rule.services for b in services
    )


def complement(spans):
    """All other addresses, in both families."""
    found = []
    for version, bits in ((4, 32), (6, 128)):
        next_free = 0
        for span in sorted((s for s in spans if s.version == version), key=lambda s: s.first):
            if span.first > next_free:
                found.append(Span(version, next_free, span.first - 1))
            next_free = max(next_free, span.last + 1)
        if next_free < 1 << bits:
            found.append(Span(version, next_free, (1 << bits) - 1))
    return tuple(found)
