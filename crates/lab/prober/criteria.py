"""Criteria of segments, with the grammar in docs/operations/policy.md."""

import ipaddress
import re

TOKEN = re.compile(r"""\s*(?:(?P<value>'[^']*'|"[^"]*")|(?P<word>[A-Za-z0-9_.-]+)|(?P<sign>!=|[=(),]))""")


class CriteriaError(ValueError):
    """The text does not match the grammar."""


def tokens(text):
    """Pairs of kind (value, word, sign) and text; keywords are words in lower case."""
    text = text.strip()
    position, found = 0, []
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            raise CriteriaError(f"{text!r}: nothing known at {text[position:]!r}")
        kind = match.lastgroup
        found.append((kind, match.group(kind)))
        position = match.end()
    return found


class Parser:
    """Parses an expression into a function that returns whether an asset matches."""

    def __init__(self, text):
        self.text = text
        self.rest = tokens(text)

    def whole(self):
        expression = self.expression()
        if self.rest:
            raise CriteriaError(f"{self.text!r}: {self.rest[0][1]!r} follows the expression")
        return expression

    def expression(self):
        terms = [self.term()]
        while self.takes_keyword("or"):
            terms.append(self.term())
        return lambda asset: any(term(asset) for term in terms)

    def term(self):
        factors = [self.factor()]
        while self.takes_keyword("and"):
            factors.append(self.factor())
        return lambda asset: all(factor(asset) for factor in factors)

    def factor(self):
        if self.takes_keyword("not"):
            inner = self.factor()
            return lambda asset: not inner(asset)
        if self.takes("sign", "("):
            inner = self.expression()
            self.expect(")")
            return inner
        return self.comparison()

    def comparison(self):
        field = self.take("word")
        if self.takes("sign", "="):
            return equals_any(field, [self.value()])
        if self.takes("sign", "!="):
            return negation(equals_any(field, [self.value()]))
        negated = self.takes_keyword("not")
        if not self.takes_keyword("in"):
            raise CriteriaError(f"{self.text!r}: expected =, !=, in or not in after {field!r}")
        self.expect("(")
        values = [self.value()]
        while self.takes("sign", ","):
            values.append(self.value())
        self.expect(")")
        test = equals_any(field, values)
        return negation(test) if negated else test

    def value(self):
        return self.take("value")[1:-1]

    def take(self, kind):
        if not self.rest or self.rest[0][0] != kind:
            raise CriteriaError(f"{self.text!r}: expected a {kind}")
        return self.rest.pop(0)[1]

    def expect(self, sign):
        if not self.takes("sign", sign):
            raise CriteriaError(f"{self.text!r}: expected {sign!r}")

    def takes(self, kind, text):
        if self.rest and self.rest[0] == (kind, text):
            self.rest.pop(0)
            return True
        return False

    def takes_keyword(self, keyword):
        if self.rest and self.rest[0][0] == "word" and self.rest[0][1].lower() == keyword:
            self.rest.pop(0)
            return True
        return False


def negation(test):
    return lambda asset: not test(asset)


def equals_any(field, values):
    """Whether the asset's field is one of the values; a missing tag equals no value."""
    if field == "asset.address":
        networks = [ipaddress.ip_network(value) for value in values]
        return lambda asset: any(inside(address, networks) for address in asset.addresses)
    if field.startswith("asset."):
        name = field.removeprefix("asset.")
        if name not in ("name", "id", "os", "source"):
            raise CriteriaError(f"there is no field {field!r}")
        return lambda asset: getattr(asset, name) in values
    return lambda asset: field in asset.tags and asset.tags[field] in values


def inside(address, networks):
    address = ipaddress.ip_address(address)
    return any(address.version == net.version and address in net for net in networks)


def parse(text):
    """A function that returns whether an asset belongs to the segment."""
    return Parser(text).whole()
