"""Real TCP connections and UDP flows that stay open while policies change.

Each message is five bytes: the flow's number, and its sender. The client begins; the server echoes
messages while conversations are opened, and later both ends send on command.
"""

import errno
import select
import socket
import struct
import time

import packets
from words import TCP

SO_REUSEADDR = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
# The world's addresses are routes, not addresses of an interface (ip(7), include/uapi/linux/in6.h).
FREEBIND = {socket.AF_INET: (socket.SOL_IP, 15, 1), socket.AF_INET6: (socket.IPPROTO_IPV6, 78, 1)}
RESET_WHEN_CLOSED = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
MESSAGE = struct.Struct("!Ic")
LIMIT_SECONDS = 5


class Conversations:
    """This station's ends of all open conversations."""

    def __init__(self, name):
        self.name = name
        self.poll = select.poll()
        self.sockets = {}  # by descriptor
        self.listeners = set()  # descriptors
        self.ends = {}  # by number: the socket, and where to send (None when connected)
        self.heard = set()

    def begins_here(self, flow):
        outbound = flow["direction"] == "outbound"
        return outbound and flow["asset"] == self.name if self.name else not outbound

    def ends_here(self, flow):
        inbound = flow["direction"] == "inbound"
        return inbound and flow["asset"] == self.name if self.name else not inbound

    def listen(self, flows):
        """Opens the ports of the flows whose servers are at this station."""
        bound = set()
        for flow in filter(self.ends_here, flows):
            address = flow["local"] if flow["direction"] == "inbound" else flow["peer"]
            key = (address, flow["protocol"], flow["port"])
            if key in bound:
                continue
            bound.add(key)
            server = self.socket(flow)
            server.bind((address, flow["port"]))
            if flow["protocol"] == TCP:
                server.listen(256)
                self.listeners.add(server.fileno())

    def open(self, flows):
        """Begins the conversations whose clients are at this station, and answers those of others."""
        beginning = {}
        for flow in filter(self.begins_here, flows):
            ends = (flow["local"], flow["peer"])
            source, target = ends if flow["direction"] == "outbound" else ends[::-1]
            client = self.socket(flow)
            client.bind((source, flow["source_port"]))
            result = client.connect_ex((target, flow["port"]))
            if result not in (0, errno.EINPROGRESS):
                raise OSError(result, f"could not connect {flow}")
            number = flow["number"]
            if flow["protocol"] == TCP:
                self.poll.modify(client, select.POLLOUT)
                beginning[client.fileno()] = number
            else:
                self.ends[number] = (client, None)
                say(client, None, number, b"c")
        here = {f["number"] for f in flows if self.begins_here(f) or self.ends_here(f)}
        self.listen_until(here, beginning)

    def forget_heard(self):
        """Discards what was received so far. Must be done at all stations before any of them sends."""
        self.listen_until(set())
        self.heard.clear()

    def say(self, flows):
        """Sends at every end of this station: first where nothing must arrive."""
        for flow in sorted(flows, key=lambda flow: flow["expected"] != "deny"):
            if flow["number"] in self.ends:
                end, target = self.ends[flow["number"]]
                say(end, target, flow["number"], b"c" if self.begins_here(flow) else b"s")

    def hear(self, flows):
        """Waits for what must arrive; also receives what must not."""
        self.listen_until({
            flow["number"] for flow in flows
            if flow["expected"] != "deny" and flow["number"] in self.ends
        })

    def close(self):
        for end in self.sockets.values():
            end.close()
        self.__init__(self.name)

    # Sockets

    def socket(self, flow):
        kind = socket.SOCK_STREAM if flow["protocol"] == TCP else socket.SOCK_DGRAM
        end = socket.socket(packets.family(flow), kind)
        end.setsockopt(*SO_REUSEADDR)
        end.setsockopt(*FREEBIND[end.family])
        return self.watch(end)

    def watch(self, end):
        end.setblocking(False)
        if end.type == socket.SOCK_STREAM:
            end.setsockopt(*RESET_WHEN_CLOSED)
        self.sockets[end.fileno()] = end
        self.poll.register(end, select.POLLIN)
        return end

    def listen_until(self, wanted, beginning=None):
        """Receives until all wanted numbers have arrived, and nothing more is pending."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            missing = wanted - self.heard
            left = deadline - time.monotonic() if missing else 0
            events = self.poll.poll(max(0, left) * 1000)
            if not events and (not missing or left <= 0):
                return
            for descriptor, event in events:
                self.attend(descriptor, event, beginning if beginning is not None else {})

    def attend(self, descriptor, event, beginning):
        end = self.sockets[descriptor]
        if descriptor in beginning:
            number = beginning.pop(descriptor)
            if end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.forget(end)
                return
            self.poll.modify(end, select.POLLIN)
            self.ends[number] = (end, None)
            say(end, None, number, b"c")
        elif descriptor in self.listeners:
            self.watch(end.accept()[0])
        else:
            self.receive(end)

    def receive(self, end):
        try:
            data, sender = end.recvfrom(65536)
        except OSError:
            # A reset, or an error that came back for a datagram.
            if end.type == socket.SOCK_STREAM:
                self.forget(end)
            return
        if not data:
            self.forget(end)
        for number, who in MESSAGE.iter_unpack(data[: len(data) // MESSAGE.size * MESSAGE.size]):
            self.heard.add(number)
            if who == b"c" and number not in self.ends:
                target = None if end.type == socket.SOCK_STREAM else sender
                self.ends[number] = (end, target)
                say(end, target, number, b"s")

    def forget(self, end):
        self.poll.unregister(end)
        del self.sockets[end.fileno()]
        end.close()


def say(end, target, number, who):
    message = MESSAGE.pack(number, who)
    try:
        if target is None:
            end.send(message)
        else:
            end.sendto(message, target)
    except OSError:
        # Reset, or refused by the host's own firewall: then nothing is received, which is what counts.
        pass
