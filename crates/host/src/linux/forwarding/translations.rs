//! Rules that translate destinations: published ports of containers, forwarded ports of virtual
//! machines, services of Kubernetes. They are the rules of others; they are read and never changed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::super::netlink::{Attributes, Link, Message, be32, netfilter, text};

/// linux/netfilter/nfnetlink.h and nf_tables.h: `NFNL_SUBSYS_NFTABLES`, `NFT_MSG_GETRULE`,
/// `NFT_MSG_NEWRULE`.
const GET_RULE: u16 = 10 << 8 | 7;
const NEW_RULE: u16 = 10 << 8 | 6;
const FAMILY_ANY: u8 = 0;
/// `NFTA_RULE_TABLE`, `NFTA_RULE_CHAIN`, `NFTA_RULE_EXPRESSIONS`.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const EXPRESSIONS: u16 = 4;
/// `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
const NAME: u16 = 1;
const DATA: u16 = 2;
const ANSWER_BYTES: usize = 64 << 10;
/// Rules that are told of. Nodes of Kubernetes have thousands.
const MOST: usize = 4096;

/// What is known about rules that translate destinations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Translations {
    /// One for each rule.
    rules: BTreeSet<Translation>,
    /// There are rules that can't be read here: those of the old xtables interface.
    unread: bool,
}

/// A rule that translates destinations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Translation {
    /// The protocol's number, where the rule itself says one.
    pub protocol: Option<u8>,
    /// The port, lowest and highest, where the rule itself says one.
    pub ports: Option<(u16, u16)>,
    /// Table and chain.
    pub place: String,
}

impl Translations {
    /// Reads them.
    pub(super) fn read() -> io::Result<Self> {
        let mut rules = BTreeSet::new();
        let mut buffer = vec![0; ANSWER_BYTES];
        let payload = netfilter(FAMILY_ANY, 0, &[])?;
        let each = |message: &Message<'_>| {
            if rules.len() < MOST {
                rules.extend(translation(message));
            }
        };
        match Link::open(NETLINK_NETFILTER)?.dump(GET_RULE, &payload, &mut buffer, each) {
            // A kernel without nf_tables has no such rules.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::EINVAL | libc::EPROTONOSUPPORT)
                ) => {}
            other => drop(other?),
        }
        let legacy = ["ip_tables_names", "ip6_tables_names"].iter().any(|file| {
            let names = fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            names.is_ok_and(|names| names.lines().any(|name| name == "nat"))
        });
        Ok(Self { rules, unread: legacy })
    }

    /// Whether nothing is translated, as far as can be seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether there are rules that can't be read.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.unread
    }

    /// The rule that names a port of a protocol.
    #[must_use]
    pub fn of(&self, protocol: u8, port: u16) -> Option<&Translation> {
        self.rules.iter().find(|rule| {
            let ports = rule.ports.is_some_and(|(first, last)| (first..=last).contains(&port));
            ports && rule.protocol.is_none_or(|named| named == protocol)
        })
    }
}

impl fmt::Display for Translations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ports: Vec<String> = self.rules.iter().filter_map(Translation::port).collect();
        ports.dedup();
        match ports.len() {
            0 => write!(f, "{} rules that translate destinations", self.rules.len()),
            1 => write!(f, "1 published port: {}", ports[0]),
            many => write!(f, "{many} published ports: {}", super::listed(&ports)),
        }
    }
}

impl Translation {
    /// `tcp/18080`.
    fn port(&self) -> Option<String> {
        let (first, last) = self.ports?;
        let protocol = match self.protocol {
            Some(6) => "tcp",
            Some(17) => "udp",
            Some(132) => "sctp",
            _ => "port",
        };
        let last = if first == last { String::new() } else { format!("-{last}") };
        Some(format!("{protocol}/{first}{last}"))
    }
}

/// Reads a rule that translates destinations; `None` for any other. Besides nftables' own `dnat to`, these
/// are the rules of iptables-nft, which carry the structures of xtables.
fn translation(message: &Message<'_>) -> Option<Translation> {
    if message.kind != NEW_RULE {
        return None;
    }
    let (family, _, attributes) = message.netfilter()?;
    let mut rule = Reading::default();
    for (_, expression) in Attributes(attributes.get(EXPRESSIONS)?) {
        let expression = Attributes(expression);
        let name = text(expression.get(NAME)?)?;
        rule.expression(name, Attributes(expression.get(DATA).unwrap_or_default()));
    }
    let family = match family {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => "other",
    };
    let (table, chain) = (text(attributes.get(TABLE)?)?, text(attributes.get(CHAIN)?)?);
    let place = format!("table {family} {table}, chain {chain}");
    rule.translates.then_some(Translation { protocol: rule.protocol, ports: rule.ports, place })
}

/// A rule as far as it was read.
#[derive(Debug, Default)]
struct Reading {
    /// What was loaded last, to be compared.
    loaded: Option<Loaded>,
    protocol: Option<u8>,
    ports: Option<(u16, u16)>,
    translates: bool,
}

#[derive(Debug, Clone, Copy)]
enum Loaded {
    Protocol,
    Port,
}

impl Reading {
    /// Attributes are numbered in nf_tables.h: those of `meta`, `payload`, `cmp`, `range`, `nat`, `match` and
    /// `target`.
    fn expression(&mut self, name: &str, data: Attributes<'_>) {
        let number = |kind| data.get(kind).and_then(be32);
        match name {
            "meta" => self.loaded = (number(2) == Some(16)).then_some(Loaded::Protocol),
            "payload" => {
                // The destination port of the transport header.
                let place = (number(2), number(3), number(4));
                let port = place == (Some(2), Some(2), Some(2));
                self.loaded = port.then_some(Loaded::Port);
            }
            "cmp" => {
                let value = data.get(3).and_then(|value| Attributes(value).get(1));
                match (self.loaded, number(2), value) {
                    (Some(Loaded::Protocol), Some(0), Some(&[protocol, ..])) => {
                        self.protocol = Some(protocol);
                    }
                    (Some(Loaded::Port), Some(operation), Some(&[high, low])) => {
                        self.port(operation, u16::from_be_bytes([high, low]));
                    }
                    _ => {}
                }
            }
            "range" => {
                let bound = |kind| {
                    let value = Attributes(data.get(kind)?).get(1)?;
                    Some(u16::from_be_bytes(value.try_into().ok()?))
                };
                if let (Some(Loaded::Port), Some(0), Some(first), Some(last)) =
                    (self.loaded, number(2), bound(3), bound(4))
                {
                    self.ports = Some((first, last));
                }
            }
            "match" => {
                let protocol = match data.get(1).and_then(text) {
                    Some("tcp") => 6,
                    Some("udp") => 17,
                    _ => return,
                };
                // `struct xt_tcp` and `struct xt_udp`: source ports, then destination ports.
                let info = data.get(3).unwrap_or_default();
                if let Some(&[a, b, c, d]) = info.get(4..8) {
                    self.protocol = Some(protocol);
                    self.ports = Some((u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])));
                }
            }
            // `NFT_NAT_DNAT`.
            "nat" => self.translates |= number(1) == Some(1),
            "target" => self.translates |= data.get(1).and_then(text) == Some("DNAT"),
            _ => {}
        }
    }

    /// A comparison of the destination port: `NFT_CMP_EQ`, `NFT_CMP_LTE`, `NFT_CMP_GTE`.
    fn port(&mut self, operation: u32, port: u16) {
        let (first, last) = self.ports.unwrap_or((0, u16::MAX));
        match operation {
            0 => self.ports = Some((port, port)),
            3 => self.ports = Some((first, port)),
            5 => self.ports = Some((port, last)),
            _ => {}
        }
    }
}
