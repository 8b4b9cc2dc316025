"""Probes as bytes: complete IP packets with a number by which the receiver identifies them."""

import ipaddress
import socket
import struct

from words import ICMP, ICMPV6, SCTP, TCP, UDP

# Precedes the probe's number in the payload of every probe and of every answer that quotes it.
MARK = b"xshield-probe:"
RST_ACK = 0x14


def probe(flow):
    """The IP packet of a flow, a mapping as in the plan's files."""
    inbound = flow["direction"] == "inbound"
    ends = (flow["peer"], flow["local"]) if inbound else (flow["local"], flow["peer"])
    source, destination = (ipaddress.ip_address(end).packed for end in ends)
    mark = MARK + struct.pack("!I", flow["number"])
    payload = transport(flow, mark, source, destination)
    return header(flow["protocol"], source, destination, len(payload)) + payload


def transport(flow, mark, source, destination):
    protocol, number = flow["protocol"], flow["number"]
    if protocol == TCP:
        ports = (flow["source_port"], flow["port"])
        segment = struct.pack("!HHIIBBHHH", *ports, number, 0, 5 << 4, 2, 65535, 0, 0) + mark
        return with_sum(segment, 16, pseudo(source, destination, protocol, len(segment)))
    if protocol == UDP:
        length = 8 + len(mark)
        datagram = struct.pack("!HHHH", flow["source_port"], flow["port"], length, 0) + mark
        return with_sum(datagram, 6, pseudo(source, destination, protocol, length))
    if protocol == SCTP:
        return sctp(flow["source_port"], flow["port"], number, mark)
    if protocol in (ICMP, ICMPV6):
        # Type, code, checksum, identifier, sequence number.
        message = struct.pack("!BBHHH", flow["icmp_type"], 0, 0, number & 0xFFFF, 1) + mark
        over = pseudo(source, destination, protocol, len(message)) if protocol == ICMPV6 else b""
        return with_sum(message, 2, over)
    # Zeros first, so that the protocol's own header fields have no meaning.
    return bytes(8) + mark


def sctp(source_port, port, number, mark):
    """An INIT chunk (RFC 9260), with the mark in a parameter that receivers skip."""
    parameter = struct.pack("!HH", 0x8000, 4 + len(mark)) + mark
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20 + len(parameter), number, 65536, 1, 1, number) + parameter
    chunk += bytes(-len(chunk) % 4)
    # Only the checksum is in the bit order of the CRC (RFC 9260, appendix A).
    ports = struct.pack("!HHI", source_port, port, 0)
    return ports + struct.pack("<I", crc32c(ports + bytes(4) + chunk)) + chunk


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = CRC32C[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def crc32c_table():
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


CRC32C = tuple(crc32c_table())


def header(protocol, source, destination, length):
    if len(source) == 4:
        fields = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, protocol, 0)
        return with_sum(fields + source + destination, 10, b"")
    return struct.pack("!IHBB", 6 << 28, length, protocol, 64) + source + destination


def pseudo(source, destination, protocol, length):
    """The pseudo-header of RFC 9293 and RFC 8200, which have the same checksum."""
    return source + destination + struct.pack("!II", length, protocol)


def with_sum(data, at, before):
    """The data with its checksum (RFC 1071) at an offset; the checksum includes `before`."""
    total = checksum(before + data)
    return data[:at] + struct.pack("!H", total or 0xFFFF) + data[at + 2 :]


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total += total >> 16
    return ~total & 0xFFFF


def number_in(data):
    """The number of a probe, or of the probe that is answered; None for other packets. `data`
    begins at or before the transport header."""
    at = data.find(MARK)
    if at < 0 or len(data) < at + len(MARK) + 4:
        return None
    return struct.unpack_from("!I", data, at + len(MARK))[0]


def number_reset(segment):
    """The number of the TCP probe that this segment resets; None if it is no reset."""
    if len(segment) < 20 or segment[13] & 0x3F != RST_ACK:
        return None
    acknowledged = struct.unpack_from("!I", segment, 8)[0]
    return (acknowledged - 1 - len(MARK) - 4) & 0xFFFFFFFF


def split(packet):
    """Protocol and payload of an IP packet without options."""
    if packet[0] >> 4 == 4:
        return packet[9], packet[(packet[0] & 15) * 4 :]
    return packet[6], packet[40:]


def family(flow):
    return socket.AF_INET6 if ":" in flow["peer"] else socket.AF_INET
