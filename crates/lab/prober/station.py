"""One end of the probes, inside a host's network. Reads commands from standard input, one per line:

  send FILE      sends the flows of a plan from this station; answers "sent N refused N"
  clear          discards what has arrived; answers "cleared N"
  collect FILE   writes what has arrived since; answers "collected N"
  listen FILE    opens the ports for the conversations of a plan; answers "listening"
  open FILE      begins and answers conversations; answers "opened N"
  forget         discards what conversations received; answers "forgotten"
  say FILE       sends in each of them; answers "said"
  hear FILE      waits for messages of the others; answers "heard N"
  heard FILE     writes which conversations received messages; answers "written"
  close          ends all conversations; answers "closed"

A host receives by raw sockets of each protocol, which the kernel serves after the firewall. The
world has no firewall, and receives every frame of its interface.
"""

import argparse
import json
import socket
import struct
import sys

import packets
from conversations import Conversations
from flows import OTHER_PROTOCOLS
from words import ICMP, ICMPV6, SCTP, TCP, UDP

SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RXQ_OVFL = 40
PACKET_OUTGOING = 4
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
BUFFER = 128 << 20
RECEIVED = {
    socket.AF_INET: [ICMP, TCP, UDP, SCTP, *OTHER_PROTOCOLS[4]],
    socket.AF_INET6: [ICMPV6, TCP, UDP, SCTP, *OTHER_PROTOCOLS[6]],
}


class Host:
    """The end at an asset: complete packets are sent through the kernel's output path."""

    def __init__(self, interface):
        self.interface = socket.if_nametoindex(interface)
        self.receivers = []
        for family, protocols in RECEIVED.items():
            for protocol in protocols:
                receiver = socket.socket(family, socket.SOCK_RAW, protocol)
                self.receivers.append((receiver, family, protocol))
        for receiver, _, _ in self.receivers:
            receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            receiver.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
            receiver.setblocking(False)
        self.senders = {}
        for family in RECEIVED:
            sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self.senders[family] = sender

    def send(self, flow):
        family = packets.family(flow)
        # The interface only matters for link-local groups.
        target = (flow["peer"], 0, 0, self.interface)[: 2 if family == socket.AF_INET else 4]
        self.senders[family].sendto(packets.probe(flow), target)

    def arrived(self):
        """The arrived packets: whether each is a probe itself, and its number."""
        for receiver, family, protocol in self.receivers:
            while True:
                try:
                    data, extra, _, _ = receiver.recvmsg(65535, 64)
                except BlockingIOError:
                    break
                overflow(extra)
                # IPv4 comes with its header, IPv6 without.
                if family == socket.AF_INET:
                    data = packets.split(data)[1]
                yield from told(protocol, data)


class World:
    """The end with all other addresses: frames are sent directly to the hosts' interfaces."""

    def __init__(self, interface, hosts):
        self.socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)
        )
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self.socket.bind((interface, ETH_P_ALL))
        self.socket.setblocking(False)
        self.source = self.socket.getsockname()[4]
        self.hosts = {name: bytes.fromhex(mac.replace(":", "")) for name, mac in hosts.items()}

    def send(self, flow):
        kind = ETH_P_IPV6 if ":" in flow["peer"] else ETH_P_IP
        frame = self.hosts[flow["asset"]] + self.source + struct.pack("!H", kind)
        self.socket.send(frame + packets.probe(flow))

    def arrived(self):
        while True:
            try:
                frame, address = self.socket.recvfrom(65535)
            except BlockingIOError:
                break
            if address[2] == PACKET_OUTGOING or address[1] not in (ETH_P_IP, ETH_P_IPV6):
                continue
            yield from told(*packets.split(frame[14:]))
        statistics = self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        if struct.unpack("II", statistics)[1]:
            sys.exit("the world could not keep up: frames are lost")


def overflow(extra):
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, SO_RXQ_OVFL) and struct.unpack("I", data)[0]:
            sys.exit("the host could not keep up: packets are lost")


def told(protocol, data):
    """The packet as a probe or an answer to one, if it is either."""
    number = packets.number_in(data)
    if number is not None:
        yield number
    elif protocol == TCP:
        number = packets.number_reset(data)
        if number is not None:
            yield number


def send(end, conversations, path):
    sent = refused = 0
    for flow in filter(conversations.begins_here, read(path)):
        sent += 1
        try:
            end.send(flow)
        except PermissionError:
            # The host's own firewall.
            refused += 1
    return f"sent {sent} refused {refused}"


def clear(end, seen):
    seen.clear()
    return f"cleared {sum(1 for _ in end.arrived())}"


def collect(end, seen, path):
    seen.update(end.arrived())
    write(path, sorted(seen))
    return f"collected {len(seen)}"


def heard(conversations, path):
    write(path, sorted(conversations.heard))
    return "written"


def answer(command, path, end, conversations, seen):
    """Carries out a command and returns the answer. `seen`: the flows that arrived since the last `clear`."""
    match command:
        case "send":
            return send(end, conversations, path)
        case "clear":
            return clear(end, seen)
        case "collect":
            return collect(end, seen, path)
        case "listen":
            conversations.listen(read(path))
            return "listening"
        case "open":
            conversations.open(read(path))
            return f"opened {len(conversations.heard)}"
        case "forget":
            conversations.forget_heard()
            return "forgotten"
        case "say":
            conversations.say(read(path))
            return "said"
        case "hear":
            conversations.hear(read(path))
            return f"heard {len(conversations.heard)}"
        case "heard":
            return heard(conversations, path)
        case "close":
            conversations.close()
            return "closed"
    sys.exit(f"unknown command {command!r}")


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write(path, content):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--host", help="the name of the asset; the world when left out")
    arguments.add_argument("--interface", default="eth0")
    arguments.add_argument("--macs", help="JSON: hosts by name, for the world")
    given = arguments.parse_args()
    end = Host(given.interface) if given.host else World(given.interface, json.loads(given.macs))
    conversations = Conversations(given.host)
    seen = set()
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, path = line.strip().partition(" ")
        print(answer(command, path, end, conversations, seen), flush=True)


if __name__ == "__main__":
    main()
