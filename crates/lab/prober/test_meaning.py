"""The meaning of policies: each line of a table follows from a sentence in docs/operations/policy.md."""

import unittest

import criteria
import policies
from meaning import Meaning, Surroundings, complement
from words import ICMP, ICMPV6, IGMP, SCTP, TCP, UDP, Asset, Direction, Packet, Service, Span, Verdict

WEB = Asset(
    "web-1", ("10.0.0.1", "2001:db8::1"), {"role": "web", "owner": "o'neil"}, "a1", "debian 12"
)
DB = Asset("db-1", ("10.0.0.2",), {"role": "db", "environment": "prod"}, "a2", "debian 12", "agent")
HERE = Surroundings((("10.0.0.99", 8443),), ("9.9.9.9",))
A, W, D = Verdict.ALLOW, Verdict.WOULD_DENY, Verdict.DENY


def meaning(*documents):
    return Meaning(documents, [WEB, DB], HERE)


def inbound(peer, port, protocol=TCP):
    return Packet(Direction.INBOUND, peer, protocol, 30000, port)


def outbound(peer, port, protocol=TCP):
    return Packet(Direction.OUTBOUND, peer, protocol, 30000, port)


def segment(name="all", said=None, templates=(), criteria_text="role = 'web'", **also):
    body = {"name": name, "criteria": criteria_text, **also}
    if templates:
        body["templates"] = list(templates)
    if said:
        body["inbound"] = said
    return {"segment": body}


def template(name, action="allow", **lists):
    return {"template": {"name": name, "action": action, **lists}}


def rule(peers, services, key="from"):
    return {key: peers, "services": services}


def stance(level, mode="enforce", **also):
    return {"level": level, "mode": mode, **also}


class Criteria(unittest.TestCase):
    def test_what_holds(self):
        for text, of_web, of_db in [
            ("role = 'web'", True, False),
            ("role = 'Web'", False, False),
            ("ROLE = 'web'", False, False),
            ("role != 'web'", False, True),
            ("location = 'oslo'", False, False),
            ("location != 'oslo'", True, True),
            ("location not in ('oslo')", True, True),
            ("role in ('web', 'app')", True, False),
            ("role NOT IN ('web', 'app')", False, True),
            ("not role = 'web'", False, True),
            ("not not role = 'web'", True, False),
            # and binds tighter than or.
            ("role = 'db' or role = 'web' and environment = 'prod'", False, True),
            ("(role = 'db' or role = 'web') and environment = 'prod'", False, True),
            ("role = 'web' or role = 'db' and environment = 'test'", True, False),
            ('owner = "o\'neil"', True, False),
            ("asset.name = 'db-1' Or asset.id = 'a1'", True, True),
            ("asset.os = 'debian 12'", True, True),
            ("asset.source = 'agent'", False, True),
            ("asset.address = '10.0.0.0/31'", True, False),
            ("asset.address = '2001:db8::/32'", True, False),
            # Negations of "any address is inside".
            ("asset.address != '2001:db8::/32'", False, True),
            ("asset.address not in ('10.0.0.2', '10.0.0.3')", True, False),
        ]:
            test = criteria.parse(text)
            self.assertEqual((test(WEB), test(DB)), (of_web, of_db), text)

    def test_what_is_refused(self):
        for text in ["", "role", "role = web", "role = 'a' role = 'b'", "(role = 'a'", "role ~ 'a'",
                     "role in ()", "asset.colour = 'red'"]:
            with self.assertRaises(ValueError, msg=text):
                criteria.parse(text)


class Services(unittest.TestCase):
    def test_what_matches(self):
        def icmp(number, family=ICMP):
            return Packet(Direction.INBOUND, "9.0.0.1", family, icmp_type=number)

        for text, packet, expected in [
            ("tcp", inbound("9.0.0.1", 1), True),
            ("tcp", inbound("9.0.0.1", 1, UDP), False),
            ("tcp/443", inbound("9.0.0.1", 443), True),
            ("tcp/443", inbound("9.0.0.1", 444), False),
            ("udp/5000-5010", inbound("9.0.0.1", 5010, UDP), True),
            ("udp/5000-5010", inbound("9.0.0.1", 5011, UDP), False),
            ("icmp", icmp(13), True),
            ("icmp", icmp(13, ICMPV6), True),
            ("icmp/echo-request", icmp(8), True),
            ("icmp/echo-request", icmp(128), False),
            ("icmp/echo-request", icmp(128, ICMPV6), True),
            ("icmp/13", icmp(13, ICMPV6), True),
            ("icmp/13", icmp(14), False),
            ("sctp/36412", inbound("9.0.0.1", 36412, SCTP), True),
            ("sctp/36412", inbound("9.0.0.1", 36412, TCP), False),
            ("proto/132", inbound("9.0.0.1", 1, SCTP), True),
            ("proto/6", inbound("9.0.0.1", 1), True),
            ("vrrp", Packet(Direction.INBOUND, "9.0.0.1", 112), True),
            ("proto/112", Packet(Direction.INBOUND, "::9", 112), True),
            ("proto/112", Packet(Direction.INBOUND, "9.0.0.1", 113), False),
            ("any", icmp(13), True),
            ("any", Packet(Direction.INBOUND, "9.0.0.1", 47), True),
            ("tcp", Packet(Direction.INBOUND, "9.0.0.1", 47), False),
        ]:
            self.assertEqual(Service.of(text).matches(packet), expected, f"{text} {packet}")

    def test_what_overlaps(self):
        for first, second, expected in [
            ("tcp/80-90", "tcp/90", True), ("tcp/80-90", "tcp/91", False), ("tcp", "udp", False),
            ("any", "icmp/8", True), ("proto/17", "udp/5", True), ("gre", "proto/47", True),
            ("sctp/9", "tcp/9", False), ("vrrp", "gre", False), ("icmp/echo-request", "icmp/8", True),
            ("icmp/echo-request", "icmp/128", True), ("icmp/echo-request", "icmp/9", False),
        ]:
            one, other = Service.of(first), Service.of(second)
            self.assertEqual((one.overlaps(other), other.overlaps(one)), (expected,) * 2, first)


class Levels(unittest.TestCase):
    LISTS = {
        "ports": [rule(["1.0.0.0/8", "10.1.0.0/16"], ["tcp/80"])],
        "inbound": [rule(["1.0.0.0/8", "10.1.0.0/16"], ["tcp/81"])],
        "outbound": [rule(["1.0.0.0/8", "10.1.0.0/16"], ["tcp/82"], "to")],
    }

    def test_inbound(self):
        # Level; verdicts from the internet by ports, by inbound, by no rule; the same from the intranet.
        for level, expected in [
            ("unsecured", (A, A, A, A, A, A)),
            ("secure-internet-ports", (A, A, D, A, A, A)),
            ("secure-all-ports", (A, A, D, A, A, D)),
            ("secure-inbound-paths", (D, A, D, D, A, D)),
        ]:
            policy = meaning(segment(said=stance(level), templates=["t"]), template("t", **self.LISTS))
            asked = [inbound(p, port) for p in ("1.2.3.4", "10.1.2.3") for port in (80, 81, 83)]
            self.assertEqual(tuple(policy.judge("web-1", p)[0] for p in asked), expected, level)

    def test_outbound(self):
        for level, expected in [
            ("unsecured", (A, A, A, A)),
            ("secure-internet-paths", (A, D, A, A)),
            ("secure-intranet-paths", (A, D, A, D)),
        ]:
            document = segment(templates=["t"], outbound=stance(level))
            policy = meaning(document, template("t", **self.LISTS))
            asked = [outbound(p, port) for p in ("1.2.3.4", "10.1.2.3") for port in (82, 83)]
            self.assertEqual(tuple(policy.judge("web-1", p)[0] for p in asked), expected, level)

    def test_block_rules_of_every_list_count_at_every_level_before_allow_rules(self):
        for level in policies.LEVELS["inbound"]:
            policy = meaning(
                segment(said=stance(level), templates=["no", "yes"]),
                template("yes", inbound=[rule(["any"], ["any"])]),
                template("no", "block", ports=[rule(["1.0.0.0/8"], ["tcp/80"])],
                         inbound=[rule(["1.0.0.0/8"], ["tcp/81"])]),
            )
            for port, expected in ((80, D), (81, D), (82, A)):
                self.assertEqual(policy.judge("web-1", inbound("1.2.3.4", port))[0], expected, level)

    def test_the_intranet_grows_by_named_networks_that_say_so(self):
        for said, expected in (({}, D), ({"intranet": False}, D), ({"intranet": True}, A)):
            network = {"network": {"name": "n", "cidrs": ["100.64.0.0/10"], **said}}
            policy = meaning(segment(said=stance("secure-internet-ports")), network)
            self.assertEqual(policy.judge("web-1", inbound("100.127.255.255", 1))[0], expected)
            self.assertEqual(policy.judge("web-1", inbound("100.128.0.0", 1))[0], D)


class Peers(unittest.TestCase):
    def test_whom_they_are(self):
        office = {"network": {"name": "office", "cidrs": ["203.0.113.0/24", "2001:db8:7::/48"]}}
        for peer, yes, no in [
            ("any", ["1.1.1.1", "::5"], []),
            ("intranet", ["10.0.0.0", "172.31.255.255", "fd00::1", "169.254.1.1"],
             ["11.0.0.0", "172.32.0.0", "2001:db8::1"]),
            ("internet", ["11.0.0.0", "2001:db8::1"], ["10.255.255.255", "fe80::1"]),
            ("segment:dbs", ["10.0.0.2"], ["10.0.0.1", "10.0.0.3"]),
            ("asset:web-1", ["10.0.0.1", "2001:db8::1"], ["10.0.0.2", "2001:db8::2"]),
            ("asset:not-there", [], ["10.0.0.1"]),
            ("network:office", ["203.0.113.255", "2001:db8:7:ffff::"], ["203.0.114.0"]),
            ("198.51.100.0/31", ["198.51.100.1"], ["198.51.100.2"]),
            ("198.51.100.9", ["198.51.100.9"], ["198.51.100.8"]),
        ]:
            policy = meaning(
                segment(said=stance("secure-all-ports"), templates=["t"]),
                segment("dbs", criteria_text="role = 'db'"),
                template("t", inbound=[rule([peer], ["tcp/80"])]),
                office,
            )
            for address, expected in [(a, A) for a in yes] + [(a, D) for a in no]:
                verdict, why = policy.judge("web-1", inbound(address, 80))
                self.assertEqual(verdict, expected, f"{peer} {address}: {why}")


class EnforcedAndTested(unittest.TestCase):
    ALLOW = template("t", inbound=[rule(["1.0.0.0/8"], ["tcp/80"])])
    BLOCK = template("b", "block", inbound=[rule(["1.0.0.0/8"], ["tcp/81"])])

    def check(self, expected, *documents):
        """Verdicts on flows that ALLOW allows, that BLOCK blocks, and others; all from the internet."""
        policy = meaning(self.ALLOW, self.BLOCK, *documents)
        verdicts = [policy.judge("web-1", inbound("1.2.3.4", port))[0] for port in (80, 81, 82)]
        self.assertEqual(verdicts, expected)

    def test_of_several_segments_the_strictest_of_those_that_enforce_and_of_all(self):
        low, high = stance("secure-internet-ports"), stance("secure-all-ports", "test")
        policy = meaning(segment("a", low), segment("b", high))
        self.assertEqual(policy.judge("web-1", inbound("1.2.3.4", 1))[0], D)
        self.assertEqual(policy.judge("web-1", inbound("10.9.9.9", 1))[0], W)

    def test_a_tested_segment_alone_denies_nothing(self):
        both = ["t", "b"]
        self.check([A, W, W], segment(said=stance("secure-all-ports", "test"), templates=both))

    def test_an_allow_rule_that_is_only_tested_opens_nothing(self):
        enforced = segment("e", stance("secure-all-ports"))
        tested = segment("x", stance("secure-all-ports", "test"), ["t"])
        self.check([D, D, D], enforced, tested)

    def test_without_a_word_templates_are_enforced(self):
        self.check([A, D, A], segment(templates=["t", "b"]))

    def test_a_block_template_is_tested_with_unsecured_and_test(self):
        self.check([A, W, A], segment(said=stance("unsecured", "test"), templates=["b"]))

    def test_a_template_that_is_attached_twice_is_enforced(self):
        tested = segment("x", stance("unsecured", "test"), ["b"])
        self.check([A, D, A], tested, segment("y", templates=["b"]))

    def test_the_modes_of_directions_are_their_own(self):
        both = template("o", "block", outbound=[rule(["any"], ["tcp/81"], "to")])
        said = {"outbound": stance("unsecured", "test")}
        policy = meaning(both, self.BLOCK, segment(templates=["o", "b"], **said))
        self.assertEqual(policy.judge("web-1", outbound("1.2.3.4", 81))[0], W)
        self.assertEqual(policy.judge("web-1", inbound("1.2.3.4", 81))[0], D)

    def test_a_level_in_test_above_an_enforced_one(self):
        said = stance("secure-internet-ports", test="secure-all-ports")
        policy = meaning(segment(said=said))
        self.assertEqual(policy.judge("web-1", inbound("1.2.3.4", 1))[0], D)
        self.assertEqual(policy.judge("web-1", inbound("10.9.9.9", 1))[0], W)

    def test_asset_documents(self):
        closed = segment(said=stance("secure-all-ports"))
        tested = segment(said=stance("secure-all-ports", "test"))

        def own(said=None, templates=()):
            body = {"name": "web-1"}
            body |= {"inbound": said} if said else {}
            return {"asset": body | ({"templates": list(templates)} if templates else {})}

        for expected, documents in [
            ([A, A, A], [closed, own(stance("unsecured"))]),
            # A tested level can't open what is enforced.
            ([D, D, D], [closed, own(stance("unsecured", "test"))]),
            ([A, A, A], [tested, own(stance("unsecured", "test"))]),
            ([D, D, D], [tested, own(stance("secure-all-ports"))]),
            ([A, D, D], [closed, own(templates=["t", "b"])]),
            ([D, D, D], [closed, own(stance("secure-all-ports", "test"), ["t"])]),
            ([W, W, W], [own(stance("unsecured", test="secure-all-ports"))]),
        ]:
            self.check(expected, *documents)


class Failsafe(unittest.TestCase):
    def test_what_it_keeps_open(self):
        everything = template(
            "no", "block", inbound=[rule(["1.0.0.0/8"], ["any"])],
            outbound=[rule(["9.0.0.0/8"], ["any"], "to")],
        )
        policy = meaning(
            segment(said=stance("secure-inbound-paths"), templates=["no"],
                    outbound=stance("secure-intranet-paths")),
            everything,
            {"settings": {"management": [
                {"from": ["10.5.0.0/16", "fd00::5"], "services": ["tcp/22", "icmp/echo-request"]},
            ]}},
        )

        def icmp(number, peer, direction=Direction.INBOUND):
            protocol = ICMPV6 if ":" in peer else ICMP
            return Packet(direction, peer, protocol, icmp_type=number)

        for packet, expected in [
            (outbound("10.0.0.99", 8443), A),
            (outbound("10.0.0.99", 8443, UDP), D),
            (outbound("10.0.0.99", 8444), D),
            (inbound("10.0.0.99", 8443), D),
            (outbound("9.9.9.9", 53, UDP), A),
            (outbound("9.9.9.9", 53), A),
            (outbound("9.9.9.8", 53, UDP), D),
            (inbound("9.9.9.9", 53, UDP), D),
            (Packet(Direction.OUTBOUND, "10.9.9.9", UDP, 68, 67), A),
            (Packet(Direction.INBOUND, "10.9.9.9", UDP, 67, 68), A),
            (Packet(Direction.INBOUND, "10.9.9.9", UDP, 68, 67), D),
            (Packet(Direction.OUTBOUND, "fd00::9", UDP, 546, 547), A),
            (Packet(Direction.OUTBOUND, "fd00::9", UDP, 68, 67), D),
            (Packet(Direction.INBOUND, "fe80::9", UDP, 5000, 546), A),
            (Packet(Direction.INBOUND, "fd00::9", UDP, 5000, 546), D),
            (Packet(Direction.INBOUND, "fd00::9", UDP, 547, 546), A),
            (Packet(Direction.INBOUND, "1.2.3.4", IGMP), A),
            (Packet(Direction.OUTBOUND, "9.0.0.9", IGMP), A),
            (icmp(135, "fd00::9"), A),
            (icmp(3, "1.2.3.4"), A),
            (icmp(2, "fd00::9"), A),
            (icmp(2, "10.9.9.9"), D),
            (icmp(5, "1.2.3.4"), D),
            (inbound("10.5.0.0", 22), A),
            (inbound("10.6.0.0", 22), D),
            (inbound("fd00::5", 22), A),
            (icmp(128, "fd00::5"), A),
            (outbound("10.5.0.0", 22), D),
        ]:
            verdict, why = policy.judge("web-1", packet)
            self.assertEqual(verdict, expected, f"{packet}: {why}")

    def test_without_resolvers_every_server_may_be_asked(self):
        nowhere = Surroundings(HERE.platform, ())
        closed = segment(outbound=stance("secure-intranet-paths"))
        policy = Meaning([closed], [WEB], nowhere)
        self.assertEqual(policy.judge("web-1", outbound("1.2.3.4", 53, UDP))[0], A)

    def test_what_is_refused(self):
        management = {"settings": {"management": [{"from": ["10.5.0.5"], "services": ["tcp/22"]}]}}

        def refused(lists, attached=True):
            documents = [template("no", "block", **lists), management]
            documents.append(segment(templates=["no"] if attached else []))
            return meaning(*documents).refusals()

        for lists, expected in [
            ({"outbound": [rule(["10.0.0.0/8"], ["tcp/8000-9000"], "to")]}, {"no/outbound-1"}),
            ({"outbound": [rule(["10.0.0.0/8"], ["udp", "tcp/443"], "to")]}, set()),
            ({"outbound": [rule(["internet"], ["any"], "to")]}, set()),
            ({"outbound": [rule(["intranet"], ["any"], "to")]}, {"no/outbound-1"}),
            ({"inbound": [rule(["10.5.0.0/29"], ["any"])]}, {"no/inbound-1"}),
            ({"ports": [rule(["10.5.0.5"], ["tcp/22"])]}, {"no/ports-1"}),
            ({"inbound": [rule(["10.5.0.6"], ["tcp/22"])]}, set()),
        ]:
            self.assertEqual({rule for _, rule in refused(lists)}, expected, lists)
            self.assertEqual(refused(lists, attached=False), set())

    def test_block_rules_leave_out_assets_that_are_management_sources(self):
        def judged(source, peer):
            policy = meaning(
                template("no", "block", inbound=[rule([peer], ["any"])]),
                segment(templates=["no"]),
                {"settings": {"management": [{"from": [source], "services": ["tcp/22"]}]}},
            )
            return policy.judge("web-1", inbound("10.0.0.2", 80))[0], len(policy.refusals())

        for source, peer, expected in [
            ("10.0.0.2", "asset:db-1", (A, 0)),
            ("10.0.0.3", "asset:db-1", (D, 0)),
            # In a network, assets are blocked like any other address; named by the rule, they cause a
            # refusal.
            ("10.0.0.0/24", "asset:db-1", (D, 0)),
            ("10.0.0.2", "10.0.0.2", (D, 1)),
        ]:
            self.assertEqual(judged(source, peer), expected, source)


class Spans(unittest.TestCase):
    def test_the_complement_is_what_is_left(self):
        spans = [Span.of(text) for text in ("10.0.0.0/8", "10.1.0.0/16", "255.255.255.255", "::/1")]
        left = complement(spans)
        for number in (0, 9 << 24, 10 << 24, (11 << 24) - 1, 11 << 24, (1 << 32) - 2, (1 << 32) - 1):
            inside = any(span.holds(4, number) for span in spans)
            self.assertNotEqual(inside, any(span.holds(4, number) for span in left), number)
        self.assertEqual([s for s in left if s.version == 6], [Span.of("8000::/1")])


if __name__ == "__main__":
    unittest.main()
