//! Rules that translate destinations: published ports of containers, forwarded ports of virtual machines,
//! services of Kubernetes. They belong to other programs; they are read and never changed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs;
use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::super::netlink::{Attributes, Link, Message, be32, netfilter, text};
use super::chains::{ChainName, Chains};

/// linux/netfilter/nfnetlink.h and nf_tables.h: `NFNL_SUBSYS_NFTABLES`, `NFT_MSG_GETCHAIN`,
/// `NFT_MSG_GETRULE`, `NFT_MSG_NEWRULE`.
const GET_CHAIN: u16 = 10 << 8 | 4;
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
/// The most rules that are reported. Nodes of Kubernetes have thousands.
const MOST: usize = 4096;

/// The rules that translate destinations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Translations {
    /// One for each rule.
    rules: BTreeSet<Translation>,
    /// Whether there are rules that can't be read: those of the old xtables interface.
    unread: bool,
}

/// Whose packets a rule translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Traffic {
    /// Packets from other hosts.
    Arriving,
    /// Packets that this host sends.
    Own,
}

/// Where a translated packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// To a destination named in the rule.
    Destination,
    /// To a port of this host.
    Here,
}

/// A rule that translates destinations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Translation {
    /// The protocol's number, if the rule names one.
    pub protocol: Option<u8>,
    /// The first and last port, if the rule names any.
    pub ports: Option<(u16, u16)>,
    /// Where the packet goes.
    pub target: Target,
    /// Whose packets reach the rule; both if that can't be determined.
    pub traffic: BTreeSet<Traffic>,
    /// Table and chain.
    pub place: String,
}

impl Translations {
    /// Reads the rules.
    ///
    /// # Errors
    /// When the kernel's rules can't be listed.
    pub fn read() -> io::Result<Self> {
        let mut chains = Chains::default();
        list(GET_CHAIN, |message| chains.chain(message))?;
        let mut found = Vec::new();
        list(GET_RULE, |message| {
            let Some((chain, rule)) = rule(message) else { return };
            rule.jumps.iter().for_each(|to| chains.jump(&chain, to));
            if let Some(target) = rule.target
                && found.len() < MOST
            {
                found.push((chain, rule, target));
            }
        })?;
        let reached = chains.reached();
        let rules = found
            .into_iter()
            .map(|(chain, rule, target)| translation(&reached, &chain, &rule, target))
            .collect();
        let legacy = ["ip_tables_names", "ip6_tables_names"].iter().any(|file| {
            let names = fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            names.is_ok_and(|names| names.lines().any(|name| name == "nat"))
        });
        Ok(Self { rules, unread: legacy })
    }

    /// Whether nothing is apparently published: no arriving packet is sent to a destination named in a rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.published().next().is_none()
    }

    fn published(&self) -> impl Iterator<Item = &Translation> {
        self.rules.iter().filter(|rule| {
            rule.target == Target::Destination && rule.traffic.contains(&Traffic::Arriving)
        })
    }

    /// Whether there are rules that can't be read.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.unread
    }

    /// The rule that publishes a port of a protocol.
    #[must_use]
    pub fn of(&self, protocol: u8, port: u16) -> Option<&Translation> {
        self.published().find(|rule| rule.ports.is_some() && rule.may_match(protocol, port))
    }

    /// The rule that redirects packets arriving for a port to another port of this host.
    #[must_use]
    pub fn redirecting(&self, protocol: u8, port: u16) -> Option<&Translation> {
        self.rules.iter().find(|rule| {
            rule.target == Target::Here
                && rule.traffic.contains(&Traffic::Arriving)
                && rule.may_match(protocol, port)
        })
    }

    /// The rule that may send this host's own packets for a port elsewhere.
    #[must_use]
    pub fn of_own(&self, protocol: u8, port: u16) -> Option<&Translation> {
        self.rules
            .iter()
            .find(|rule| rule.traffic.contains(&Traffic::Own) && rule.may_match(protocol, port))
    }
}

impl fmt::Display for Translations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ports: Vec<String> = self.published().filter_map(Translation::port).collect();
        ports.dedup();
        match (ports.len(), self.published().count()) {
            (0, 1) => f.write_str("1 rule that translates destinations"),
            (0, many) => write!(f, "{many} rules that translate destinations"),
            (1, _) => write!(f, "1 published port: {}", ports[0]),
            (many, _) => write!(f, "{many} published ports: {}", super::listed(&ports)),
        }
    }
}

impl Translation {
    /// Whether the rule may match; its other conditions (addresses, interfaces) are not read.
    fn may_match(&self, protocol: u8, port: u16) -> bool {
        let ports = self.ports.is_none_or(|(first, last)| (first..=last).contains(&port));
        ports && self.protocol.is_none_or(|named| named == protocol)
    }

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

fn list(what: u16, each: impl FnMut(&Message<'_>)) -> io::Result<()> {
    let mut buffer = vec![0; ANSWER_BYTES];
    let payload = netfilter(FAMILY_ANY, 0, &[])?;
    match Link::open(NETLINK_NETFILTER)?.dump(what, &payload, &mut buffer, each) {
        // A kernel without nf_tables has no such rules.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EINVAL | libc::EPROTONOSUPPORT)
            ) =>
        {
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Parses a rule: nftables' own `dnat to` and `redirect`, and the rules of iptables-nft, which contain the
/// structures of xtables.
fn rule(message: &Message<'_>) -> Option<(ChainName, Reading)> {
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
    let name = |kind| Some(text(attributes.get(kind)?)?.to_owned());
    Some((ChainName { family, table: name(TABLE)?, chain: name(CHAIN)? }, rule))
}

fn translation(
    reached: &HashMap<ChainName, HashSet<Traffic>>,
    chain: &ChainName,
    rule: &Reading,
    target: Target,
) -> Translation {
    let traffic = match reached.get(chain) {
        Some(traffic) => traffic.iter().copied().collect(),
        None => BTreeSet::from([Traffic::Arriving, Traffic::Own]),
    };
    let family = match chain.family {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => "other",
    };
    let place = format!("table {family} {}, chain {}", chain.table, chain.chain);
    Translation { protocol: rule.protocol, ports: rule.ports, target, traffic, place }
}

/// The chain to which an immediate verdict jumps: `NFTA_IMMEDIATE_DATA`, `NFTA_DATA_VERDICT`,
/// `NFTA_VERDICT_CHAIN`.
fn jump(data: Attributes<'_>) -> Option<String> {
    let verdict = Attributes(Attributes(data.get(2)?).get(2)?);
    verdict.get(2).and_then(text).map(str::to_owned)
}

/// The parsed part of a rule.
#[derive(Debug, Default)]
struct Reading {
    /// The last loaded value, to be compared.
    loaded: Option<Loaded>,
    protocol: Option<u8>,
    ports: Option<(u16, u16)>,
    target: Option<Target>,
    /// The chains to which it jumps.
    jumps: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Loaded {
    Protocol,
    Port,
}

impl Reading {
    /// Attributes are numbered in nf_tables.h: those of `meta`, `payload`, `cmp`, `range`, `nat`, `match`,
    /// `target` and `immediate`.
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
            "nat" if number(1) == Some(1) => self.target = Some(Target::Destination),
            "redir" => self.target = Some(Target::Here),
            "target" => match data.get(1).and_then(text) {
                Some("DNAT") => self.target = Some(Target::Destination),
                Some("REDIRECT") => self.target = Some(Target::Here),
                _ => {}
            },
            "immediate" => self.jumps.extend(jump(data)),
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
