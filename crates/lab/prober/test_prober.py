"""Tests of packets, comparison and selection."""

import random
import struct
import unittest

import flows
import packets
import policies
import prober
from meaning import Meaning, Surroundings
from words import ICMP, ICMPV6, SCTP, TCP, UDP, Asset, Direction, Verdict

A, W, D = Verdict.ALLOW, Verdict.WOULD_DENY, Verdict.DENY


class Packets(unittest.TestCase):
    def test_checksums_are_those_that_others_compute(self):
        # RFC 1071, section 3: the sum is ddf2.
        data = bytes([0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7])
        self.assertEqual(packets.checksum(data), ~0xDDF2 & 0xFFFF)
        for protocol in (TCP, UDP, ICMP, 47):
            packet = packets.probe(self.flow(protocol, "192.0.2.1", "10.0.0.1"))
            self.assertEqual(packets.checksum(packet[:20]), 0)
        over = packets.pseudo(packet[12:16], packet[16:20], TCP, 38)
        segment = packets.probe(self.flow(TCP, "192.0.2.1", "10.0.0.1"))[20:]
        self.assertEqual(packets.checksum(over + segment), 0)

    def test_the_checksum_of_sctp_is_that_of_the_books(self):
        # The check value of CRC-32C in CRC catalogues.
        self.assertEqual(packets.crc32c(b"123456789"), 0xE3069283)

    def test_a_probe_is_known_by_its_number(self):
        for protocol, peer, local in [
            (TCP, "192.0.2.1", "10.0.0.1"), (UDP, "2001:db8::5", "fd00::1"),
            (ICMP, "192.0.2.1", "10.0.0.1"), (ICMPV6, "2001:db8::5", "fd00::1"),
            (112, "192.0.2.1", "10.0.0.1"), (SCTP, "192.0.2.1", "10.0.0.1"),
        ]:
            packet = packets.probe(self.flow(protocol, peer, local))
            found, data = packets.split(packet)
            self.assertEqual((found, packets.number_in(data)), (protocol, 70_000))
        self.assertIsNone(packets.number_in(b"nothing"))

    def test_a_reset_tells_which_probe_it_answers(self):
        length = 1 + len(packets.MARK) + 4
        reset = struct.pack("!HHIIBBHHH", 80, 9, 0, 70_000 + length, 5 << 4, 0x14, 0, 0, 0)
        self.assertEqual(packets.number_reset(reset), 70_000)
        self.assertIsNone(packets.number_reset(reset[:13] + b"\x12" + reset[14:]))

    def flow(self, protocol, peer, local):
        return {
            "direction": "inbound", "peer": peer, "local": local, "protocol": protocol,
            "number": 70_000, "source_port": 30_000, "port": 443, "icmp_type": 8,
        }


class Comparing(unittest.TestCase):
    def flow(self, expected, direction="inbound", answered=True):
        return {
            "number": 5, "asset": "web-1", "direction": direction, "protocol": TCP,
            "peer": "1.2.3.4", "local": "10.0.0.1", "source_port": 3, "port": 80, "icmp_type": 0,
            "expected": expected, "why": "", "answered": answered,
        }

    def test_every_kind_of_mistake_is_told(self):
        key = ("inbound", "1.2.3.4", "10.0.0.1", TCP, 80)
        for expected, at_host, at_world, denied, would, wrong in [
            ("allow", True, True, False, False, 0),
            ("allow", False, False, False, False, 1),
            ("allow", True, False, False, False, 1),
            ("allow", True, True, True, False, 1),
            ("deny", False, False, True, False, 0),
            ("deny", True, True, True, False, 1),
            ("deny", False, True, True, False, 1),
            ("deny", False, False, False, False, 1),
            ("would-deny", True, True, False, True, 0),
            ("would-deny", False, False, False, True, 1),
            ("would-deny", True, True, False, False, 1),
            ("would-deny", True, True, True, False, 2),
        ]:
            seen = {"web-1": {5} if at_host else set(), "world": {5} if at_world else set()}
            recorded = {"web-1": {"denied": {key} if denied else set(),
                                  "would": {key} if would else set()}}
            found = list(prober.mistakes(self.flow(expected), seen, recorded, False))
            self.assertEqual(len(found), wrong, f"{expected} {at_host} {at_world}: {found}")

    def test_a_conversation_is_judged_at_both_ends(self):
        for expected, at_host, at_world, wrong in [
            ("allow", True, True, 0), ("allow", True, False, 1), ("would-deny", True, True, 0),
            ("deny", False, False, 0), ("deny", True, False, 1), ("deny", False, True, 1),
        ]:
            heard = {"web-1": {5} if at_host else set(), "world": {5} if at_world else set()}
            found = list(prober.talk_mistakes(self.flow(expected), heard, False))
            self.assertEqual(len(found), wrong, expected)

    def test_listings_of_nft_are_counted_by_flow(self):
        def element(*concat):
            return {"elem": {"val": {"concat": list(concat)}, "counter": {"packets": 2}}}

        listing = {"nftables": [
            {"set": {"name": "flows_denied_in4",
                     "elem": [element("1.2.3.4", "10.0.0.1", "tcp", 80),
                              element("1.2.3.4", "10.0.0.1", "icmp", 0x0D00)]}},
            {"set": {"name": "flows_would_out6", "elem": [element("::1", "::2", 112, 0)]}},
            {"set": {"name": "flows_accepted_in4", "elem": [element("1.2.3.4", "::2", "tcp", 1)]}},
        ]}
        self.assertEqual(prober.counted(listing), {
            "denied": {("inbound", "1.2.3.4", "10.0.0.1", TCP, 80): 2,
                       ("inbound", "1.2.3.4", "10.0.0.1", ICMP, 13): 2},
            "would": {("outbound", "::1", "::2", 112, 0): 2},
        })


class Generating(unittest.TestCase):
    HOSTS = [
        {"name": "web-1", "addresses": ["10.77.0.11", "fd77::11"]},
        {"name": "db-1", "addresses": ["10.77.0.14", "fd77::14"]},
    ]

    def test_the_corners_are_all_there(self):
        """All relevant cases occur within a hundred policies."""
        seen, verdicts = set(), set()
        for seed in range(100):
            generator = policies.Generator(random.Random(seed), self.HOSTS)
            documents = generator.documents()
            self.assertTrue(5 <= len(documents) <= 60, len(documents))
            tags = generator.tags()
            assets = [Asset(h["name"], tuple(h["addresses"]), tags[h["name"]]) for h in self.HOSTS]
            policy = Meaning(documents, assets, Surroundings((("10.77.0.1", 8443),), ("9.9.9.9",)))
            seen |= {next(iter(document)) for document in documents}
            seen |= {"refused"} if policy.refusals() else set()
            chosen = flows.Flows(random.Random(seed), self.HOSTS, policy, {})
            for host in self.HOSTS:
                for packet, _ in chosen.choose(host, 40):
                    verdict, why = policy.judge(host["name"], packet)
                    verdicts.add((packet.direction, verdict, why.split(" ")[0].rstrip(":;")))
        kinds = {"segment", "template", "network", "asset", "settings", "refused"}
        self.assertEqual(seen, kinds)
        for direction in Direction:
            for verdict, why in [(A, "failsafe"), (A, "allow"), (A, "level"), (D, "block"),
                                 (D, "level"), (W, "in")]:
                self.assertIn((direction, verdict, why), verdicts)

    def test_the_same_seed_makes_the_same(self):
        make = lambda: policies.Generator(random.Random(3), self.HOSTS).documents()
        self.assertEqual(make(), make())


if __name__ == "__main__":
    unittest.main()
