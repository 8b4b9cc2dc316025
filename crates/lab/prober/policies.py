"""Random policies of 5 to 60 documents with difficult cases: overlaps, neighbours and gaps."""

from words import PROTOCOLS

TAGS = {
    "role": ["web", "app", "db", "proxy"],
    "environment": ["prod", "test", "Prod"],
    "location": ["oslo", "bergen"],
    "business_value": ["high", "low"],
    "rack.row": ["a-1", "a 2", "o'neil"],
}
# Prefixes within, equal to and next to each other, on both sides of the intranet's borders.
PREFIXES = [
    "0.0.0.0/0", "::/0", "128.0.0.0/1", "2000::/3",
    "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.128/25", "10.1.2.128", "10.1.2.127",
    "10.1.3.0/24", "10.76.0.0/15", "10.77.0.0/24", "10.77.0.8/29",
    "11.0.0.0/8", "172.16.0.0/12", "172.15.255.0/24", "172.31.255.254/31", "172.32.0.0/30",
    "192.168.0.0/16", "192.169.0.0", "192.168.255.255", "169.254.7.0/24", "100.64.0.0/10",
    "203.0.113.0/24", "203.0.113.0/28", "203.0.113.16/28", "203.0.113.12/30", "203.0.113.15",
    "198.51.100.64/26", "198.51.100.128/25", "198.18.0.0/15", "8.8.8.8", "223.255.255.255",
    "fc00::/7", "fd77::/64", "fd77::8/125", "fd77:1::/32", "fe00::/9", "fdff:ffff::/32",
    "2001:db8::/32", "2001:db8:7::/48", "2001:db8:7::/64", "2001:db8:7::/127", "2001:db8:8::",
    "2001:db8:7:0:ffff:ffff:ffff:ffff", "2400::/12", "64:ff9b::/96",
    "224.0.0.0/4", "239.255.255.250", "255.255.255.255", "ff02::/16", "ff0e::fb", "fe80::/10",
    "fe80::8000:0:0:0/66",
]
PORTS = [1, 22, 53, 67, 80, 546, 443, 444, 1023, 1024, 3306, 5432, 8080, 8443, 65535]
LEVELS = {
    "inbound": [
        "unsecured", "secure-internet-ports", "secure-all-ports", "secure-inbound-paths",
    ],
    "outbound": ["unsecured", "secure-internet-paths", "secure-intranet-paths"],
}


class Generator:
    """Generates one policy and the tags that it uses. All choices come from `random`."""

    def __init__(self, random, hosts):
        self.random = random
        self.hosts = hosts

    def tags(self):
        """Tags by host; some hosts lack some."""
        choose = self.random
        return {
            host["name"]: {
                key: choose.choice(values) for key, values in TAGS.items() if choose.random() < 0.7
            }
            for host in self.hosts
        }

    def documents(self):
        choose = self.random
        count = choose.randint(5, 60)
        kinds = ["segment", "template"] + choose.choices(
            ["segment", "template", "network"], weights=[3, 4, 2], k=count - 2
        )
        names = [host["name"] for host in self.hosts]
        owned = choose.sample(names, k=min(len(names), count // 10, choose.randint(0, 3)))
        kinds[2 : 2 + len(owned)] = ["asset"] * len(owned)
        if count > 6 and choose.random() < 0.5:
            kinds[-1] = "settings"
        named = {kind: names_of(kind, kinds.count(kind)) for kind in set(kinds)}
        self.segments = named["segment"]
        self.templates = named["template"]
        self.networks = named.get("network", [])
        makers = {"segment": self.segment, "template": self.template, "network": self.network}
        documents = [
            {kind: makers[kind](name)} for kind in makers for name in named.get(kind, [])
        ]
        documents += [{"asset": self.override(name)} for name in owned]
        if "settings" in named:
            documents.append({"settings": {"management": self.several(self.management, 2)}})
        choose.shuffle(documents)
        return documents

    # Documents

    def segment(self, name):
        body = {"name": name, "criteria": self.criteria(2)}
        if self.random.random() < 0.8:
            # Few documents contain most of many segments' templates, so that rules stay readable.
            body["templates"] = self.sample(self.templates, 3)
        for direction in LEVELS:
            if self.random.random() < 0.6:
                body[direction] = self.stance(direction)
        return body

    def stance(self, direction):
        mode = self.random.choice(["test", "enforce", "enforce"])
        levels = LEVELS[direction]
        level = self.random.choice(levels)
        stricter = levels[levels.index(level) + 1 :]
        if mode == "enforce" and stricter and self.random.random() < 0.3:
            return {"level": level, "mode": mode, "test": self.random.choice(stricter)}
        return {"level": level, "mode": mode}

    def override(self, name):
        body = {"name": name}
        if self.random.random() < 0.5:
            body["templates"] = self.sample(self.templates, 2)
        for direction in LEVELS:
            if self.random.random() < 0.6:
                body[direction] = self.stance(direction)
        return body

    def network(self, name):
        body = {"name": name, "cidrs": self.sample(PREFIXES[2:], 4)}
        if self.random.random() < 0.3:
            body["intranet"] = True
        return body

    def template(self, name):
        body = {"name": name, "action": self.random.choice(["allow", "allow", "allow", "block"])}
        lists = self.sample(["ports", "inbound", "outbound"], 3)
        for kind in lists:
            body[kind] = self.several(lambda: self.rule(kind, body["action"]), 3)
            for index, rule in enumerate(body[kind]):
                if self.random.random() < 0.7:
                    rule["name"] = f"{kind[0]}{index}"
        return body

    def rule(self, kind, action):
        # A block rule for any peer would hide everything else.
        broad = 0.3 if action == "allow" else 0.04
        peers = self.several(lambda: self.peer(broad), 4)
        key = "to" if kind == "outbound" else "from"
        return {key: peers, "services": self.several(lambda: self.service(broad), 3)}

    def management(self):
        sources = [p for p in PREFIXES if "/" not in p or int(p.partition("/")[2]) > 24]
        # An asset may be a management source, too.
        sources += [address for host in self.hosts for address in host["addresses"]]
        return {
            "from": self.sample(sources, 2),
            "services": self.several(lambda: self.service(0.05), 2),
        }

    def peer(self, broad):
        choose = self.random
        if choose.random() < broad:
            return choose.choice(["any", "intranet", "internet", choose.choice(PREFIXES[:4])])
        kinds = ["prefix", "prefix", "host", "asset", "segment", "network"]
        kind = choose.choice(kinds)
        if kind == "network" and self.networks:
            return f"network:{choose.choice(self.networks)}"
        if kind == "segment":
            return f"segment:{choose.choice(self.segments)}"
        if kind == "asset":
            name = choose.choice([host["name"] for host in self.hosts] + ["not-there"])
            return f"asset:{name}"
        if kind == "host":
            return choose.choice(choose.choice(self.hosts)["addresses"])
        return choose.choice(PREFIXES[4:])

    def service(self, broad):
        choose = self.random
        if choose.random() < broad:
            return choose.choice(["any", "tcp", "udp", "icmp"])
        if choose.random() < 0.1:
            return choose.choice([*PROTOCOLS, "proto/253", "proto/112", "proto/17", "sctp"])
        protocol = choose.choice(["tcp", "tcp", "tcp", "udp", "udp", "icmp", "sctp"])
        if protocol == "icmp":
            return choose.choice(["icmp/echo-request", "icmp/13", "icmp/8", "icmp/128", "icmp/0"])
        first = choose.choice(PORTS)
        if choose.random() < 0.5:
            return f"{protocol}/{first}"
        last = min(65535, first + choose.choice([0, 1, 2, 10, 400, 30000]))
        return f"{protocol}/{first}-{last}"

    # Criteria

    def criteria(self, depth):
        choose = self.random
        kind = choose.random()
        if depth == 0 or kind < 0.55:
            return self.comparison()
        if kind < 0.7:
            return f"{choose.choice(['not', 'NOT'])} {self.criteria(depth - 1)}"
        if kind < 0.8:
            return f"({self.criteria(depth - 1)})"
        word = choose.choice(["and", "or", "OR", "And"])
        return f"{self.criteria(depth - 1)} {word} {self.criteria(depth - 1)}"

    def comparison(self):
        choose = self.random
        if choose.random() < 0.2:
            field, values = "asset.name", [host["name"] for host in self.hosts] + ["not-there"]
        elif choose.random() < 0.2:
            field, values = "asset.address", PREFIXES[4:] + self.hosts[0]["addresses"]
        elif choose.random() < 0.1:
            field, values = "asset.source", ["spark", "agent", "edr"]
        else:
            field = choose.choice([*TAGS, "missing"])
            values = TAGS.get(field, ["x"])
        picked = [quoted(choose.choice(values)) for _ in range(choose.randint(1, 3))]
        if len(picked) > 1 or choose.random() < 0.2:
            return f"{field} {choose.choice(['in', 'not in', 'NOT IN'])} ({', '.join(picked)})"
        return f"{field} {choose.choice(['=', '=', '!='])} {picked[0]}"

    # Choices

    def several(self, make, most):
        return [make() for _ in range(self.random.randint(1, most))]

    def sample(self, values, most):
        return self.random.sample(values, k=self.random.randint(1, min(most, len(values))))


def names_of(kind, count):
    return [f"{kind[0]}{index}" for index in range(count)]


def quoted(value):
    return f'"{value}"' if "'" in value else f"'{value}'"


def without_rules(documents, refused):
    """The documents without the rules of these names; a template that would be empty gets a rule that
    matches no peer."""
    for document in documents:
        template = document.get("template")
        if not template:
            continue
        for kind in ("ports", "inbound", "outbound"):
            rules = template.get(kind, [])
            name = template["name"]
            # Names are derived from positions, so remaining rules must keep their names.
            for index, rule in enumerate(rules):
                rule.setdefault("name", f"{kind}-{index + 1}")
            kept = [rule for rule in rules if f"{name}/{rule['name']}" not in refused]
            template.pop(kind, None)
            if kept:
                template[kind] = kept
        if not any(kind in template for kind in ("ports", "inbound", "outbound")):
            template["inbound"] = [{"from": ["asset:not-there"], "services": ["tcp/1"]}]
    return documents
