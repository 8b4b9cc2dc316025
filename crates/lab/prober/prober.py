"""Generates policies and flows with the expected results, and compares them with the actual ones.

  plan      writes DIR/NNN/ for each policy: the documents, tags, flows and expectations
  routes    prints lines for `ip -batch` that give the world all other addresses
  compare   reads what arrived where, prints each difference; exits with 1 if there is one
"""

import argparse
import copy
import functools
import ipaddress
import itertools
import json
import pathlib
import random
import socket
import sys

from flows import NOBODYS, Flows, within
from meaning import Meaning, Surroundings, complement
from policies import Generator, without_rules
from words import ICMP, ICMPV6, PORTED, SCTP, TCP, UDP, Asset, Direction, Span, Verdict

# The station with all addresses that are no asset's.
WORLD = "world"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    planning = commands.add_parser("plan")
    planning.add_argument("--seed", type=int, required=True)
    planning.add_argument("--flows", type=int, required=True, help="at least so many in all")
    planning.add_argument("--per-host", type=int, default=150, help="flows by policy and host")
    planning.add_argument("--site", type=pathlib.Path, required=True, help="hosts and platform")
    planning.add_argument("--out", type=pathlib.Path, required=True)
    planning.set_defaults(run=plan)
    comparing = commands.add_parser("compare")
    comparing.add_argument("--open", action="store_true", help="no policy is in force")
    comparing.add_argument("--conversations", choices=["open", "after"], help="not flows")
    comparing.add_argument("directory", type=pathlib.Path)
    comparing.set_defaults(run=compare)
    routing = commands.add_parser("routes")
    routing.add_argument("taken", nargs="+", help="addresses that are not the world's")
    routing.set_defaults(run=routes)
    given = parser.parse_args()
    return given.run(given)


# Planning


def plan(given):
    site = read(given.site)
    planner = Planner(site, given.per_host)
    index = 0
    while planner.flows < given.flows:
        rng = random.Random(f"{given.seed}/{index}")
        planner.policy(rng, given.out / f"{index:03}")
        index += 1
    print(json.dumps({"policies": index, "flows": planner.flows}))
    return 0


class Planner:
    """Plans policy by policy; state shared between policies is kept here."""

    def __init__(self, site, per_host):
        self.site = site
        self.per_host = per_host
        self.flows = 0
        self.numbers = itertools.count(1)
        self.opened = {}
        self.before = None

    def policy(self, rng, directory):
        hosts = self.site["hosts"]
        generator = Generator(rng, hosts)
        tags = generator.tags()
        documents = generator.documents()
        meaning = read_as(documents, self.site, tags)
        refused = meaning.refusals()
        if refused:
            write_documents(rng, directory / "refused", documents)
            write(directory / "refused.json", sorted({rule for _, rule in refused}))
        while refused:
            documents = without_rules(copy.deepcopy(documents), {rule for _, rule in refused})
            meaning = read_as(documents, self.site, tags)
            refused = meaning.refusals()
        write_documents(rng, directory / "policy", documents)
        write(directory / "tags.json", tags)
        chosen = Flows(rng, hosts, meaning, self.opened)
        flows = [
            self.described(host, packet, local, meaning)
            for host in hosts
            for packet, local in chosen.choose(host, self.per_host)
        ]
        write(directory / "flows.json", flows)
        self.flows += len(flows)
        if self.before:
            write(directory / "conversations.json", self.conversations(rng, meaning, chosen))
        self.before = (meaning, chosen)

    def conversations(self, rng, meaning, chosen):
        """Flows that the previous policy allows, with the expected results of this one: as many of
        each kind as possible, up to a dozen per host."""
        before, chosen_before = self.before
        found = []
        for host in self.site["hosts"]:
            kinds = {True: [], False: []}
            ports = set()
            for source in (chosen, chosen_before):
                for packet, local in source.choose(host, 200):
                    key = (packet.peer, packet.source_port, packet.port)
                    if not self.can_be_held(packet) or key in ports:
                        continue
                    if before.judge(host["name"], packet)[0] == Verdict.DENY:
                        continue
                    ports.add(key)
                    verdict, _ = meaning.judge(host["name"], packet)
                    kinds[verdict == Verdict.DENY].append((packet, local))
            for candidates in kinds.values():
                for packet, local in rng.sample(candidates, k=min(12, len(candidates))):
                    found.append(self.described(host, packet, local, meaning))
        return found

    def can_be_held(self, packet):
        """Whether the world can be the peer of a real socket."""
        held = packet.protocol in (TCP, UDP) and packet.port > 0
        return held and is_worlds(packet, self.site)

    def described(self, host, packet, local, meaning):
        verdict, why = meaning.judge(host["name"], packet)
        return {
            "number": next(self.numbers),
            "asset": host["name"],
            "direction": packet.direction.value,
            "protocol": packet.protocol,
            "peer": packet.peer,
            "local": local,
            "source_port": packet.source_port,
            "port": packet.port,
            "icmp_type": packet.icmp_type,
            "expected": verdict.value,
            "why": why,
            "answered": is_answered(packet, self.site),
        }


def read_as(documents, site, tags):
    assets = [
        Asset(
            host["name"], tuple(host["addresses"]), tags[host["name"]],
            host["id"], host["os"], host["source"],
        )
        for host in site["hosts"]
    ]
    platform = tuple((address, port) for address, port in site["platform"])
    return Meaning(documents, assets, Surroundings(platform, tuple(site["resolvers"])))


def is_answered(packet, site):
    """Whether the receiver's kernel answers an arriving probe: with a reset, or an echo."""
    if not is_worlds(packet, site):
        return False
    echo = {ICMP: 8, ICMPV6: 128}.get(packet.protocol)
    return packet.protocol == TCP or (echo is not None and packet.icmp_type == echo)


def is_worlds(packet, site):
    """Whether the world has the peer's address."""
    if any(packet.peer in host["addresses"] for host in site["hosts"]):
        return False
    return not within([Span.of(text) for text in NOBODYS], ipaddress.ip_address(packet.peer))


def write_documents(rng, directory, documents):
    """The documents in one to three files. JSON is YAML."""
    directory.mkdir(parents=True)
    files = rng.randint(1, 3)
    for index in range(files):
        part = documents[index::files]
        text = "\n---\n".join(json.dumps(document, indent=1) for document in part)
        (directory / f"{index}.yaml").write_text(text + "\n", encoding="utf-8")


# The world


def routes(given):
    """Local routes for all addresses except those in use, and unassigned ones."""
    spans = [Span.of(address) for address in given.taken]
    spans += [Span.of(text) for text in NOBODYS]
    for span in complement(spans):
        kind = ipaddress.IPv4Address if span.version == 4 else ipaddress.IPv6Address
        for net in ipaddress.summarize_address_range(kind(span.first), kind(span.last)):
            print(f"route add local {net} dev lo")
    return 0


# Comparing


def compare(given):
    if given.conversations:
        flows = read(given.directory / "conversations.json")
        stations = heard(given.directory, given.conversations)
        is_open = given.conversations == "open"
        check = lambda flow: talk_mistakes(flow, stations, is_open)
    else:
        flows = read(given.directory / "flows.json")
        seen = heard(given.directory, "seen")
        recorded = None if given.open else records(given.directory, seen.keys() - {WORLD})
        check = lambda flow: mistakes(flow, seen, recorded, given.open)
    differences = [
        {"number": flow["number"], "text": f"{shown(flow)}: {'; '.join(wrong)}; {wanted(flow)}"}
        for flow in flows
        if (wrong := list(check(flow)))
    ]
    counts = {verdict.value: 0 for verdict in Verdict}
    for flow in flows:
        counts[flow["expected"]] += 1
    print(json.dumps({"counts": counts, "differences": differences}))
    return 1 if differences else 0


def heard(directory, what):
    """The recorded numbers by station."""
    files = directory.glob(f"{what}-*.json")
    return {file.stem.removeprefix(f"{what}-"): set(read(file)) for file in files}


def wanted(flow):
    return f"expected {flow['expected']} ({flow['why']})"


def talk_mistakes(flow, stations, is_open):
    """The unexpected results of a conversation. `is_open`: it has just been opened."""
    alive = is_open or flow["expected"] != Verdict.DENY
    for station in (flow["asset"], WORLD):
        if (flow["number"] in stations[station]) != alive:
            what = "hears nothing" if alive else "still hears the other end"
            yield f"{station} {what}"


def mistakes(flow, seen, recorded, is_open):
    """The unexpected results of a flow."""
    inbound = flow["direction"] == Direction.INBOUND
    receiver, sender = (flow["asset"], WORLD) if inbound else (WORLD, flow["asset"])
    arrived = flow["number"] in seen[receiver]
    passes = is_open or flow["expected"] != Verdict.DENY
    if arrived != passes:
        yield "it arrived" if arrived else "it did not arrive"
    answered = flow["number"] in seen[sender]
    if answered and not arrived:
        yield "an answer came back though it did not arrive"
    if arrived and flow["answered"] and not answered:
        yield "it arrived, but its answer did not come back"
    if recorded is None:
        return
    for kind, verdict in (("denied", Verdict.DENY), ("would", Verdict.WOULD_DENY)):
        is_recorded = key_of(flow) in recorded[flow["asset"]][kind]
        if is_recorded != (flow["expected"] == verdict):
            yield f"{'' if is_recorded else 'not '}recorded as {verdict.value}"


def key_of(flow):
    inbound = flow["direction"] == Direction.INBOUND
    ends = (flow["peer"], flow["local"]) if inbound else (flow["local"], flow["peer"])
    port = flow["icmp_type"] if flow["protocol"] in (ICMP, ICMPV6) else flow["port"]
    return (flow["direction"], *ends, flow["protocol"], port)


def shown(flow):
    """A flow as readable text."""
    end = (lambda address: f"[{address}]") if ":" in flow["peer"] else str
    inbound = flow["direction"] == Direction.INBOUND
    peer, local = end(flow["peer"]), end(flow["local"])
    names = {TCP: "tcp", UDP: "udp", SCTP: "sctp", ICMP: "icmp", ICMPV6: "icmp"}
    name = names.get(flow["protocol"])
    if name in PORTED:
        source, target = (peer, local) if inbound else (local, peer)
        what = f"{name} {source}:{flow['source_port']} -> {target}:{flow['port']}"
    else:
        source, target = (peer, local) if inbound else (local, peer)
        kind = f"type {flow['icmp_type']} " if name else ""
        what = f"{name or 'proto ' + str(flow['protocol'])} {kind}{source} -> {target}"
    return f"{flow['asset']} {flow['direction']} {what}"


# What the kernel recorded


def records(directory, assets):
    """The recorder's counts between two listings of nft, by asset and kind."""
    found = {}
    for asset in assets:
        before = counted(read(directory / f"nft-before-{asset}.json"))
        after = counted(read(directory / f"nft-after-{asset}.json"))
        found[asset] = {
            kind: {key for key, packets in after[kind].items() if packets > before[kind].get(key, 0)}
            for kind in after
        }
    return found


def counted(listing):
    """Packets by flow, for denied and would-be denied flows, from `nft -j list table`."""
    found = {"denied": {}, "would": {}}
    for item in listing["nftables"]:
        body = item.get("set", {})
        parts = body.get("name", "").split("_")
        if len(parts) != 3 or parts[0] != "flows" or parts[1] not in found:
            continue
        direction = "inbound" if parts[2].startswith("in") else "outbound"
        for element in body.get("elem", []):
            source, target, protocol, port = element["elem"]["val"]["concat"]
            if isinstance(protocol, str):
                protocol = protocol_number(protocol)
            if protocol in (ICMP, ICMPV6):
                # The type is one byte, the first of the two that nft shows as a port.
                port >>= 8
            key = (direction, source, target, protocol, port)
            found[parts[1]][key] = element["elem"]["counter"]["packets"]
    return found


@functools.lru_cache(maxsize=None)
def protocol_number(name):
    """Protocol names of nft: a few of its own, and those of /etc/protocols."""
    own = {"icmpv6": ICMPV6, "comp": 108}
    return own[name] if name in own else socket.getprotobyname(name)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
