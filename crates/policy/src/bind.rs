//! Binding: a [`Ruleset`] and the host's [`Facts`] become a [`Bound`] ruleset.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::forward::BoundForwarded;
use crate::level::{Direction, Subject};
use crate::names::{Revision, RuleId};
use crate::program::LocalProgram;
use crate::range::{AddressMatch, AddressRange, RangeSet};
use crate::ruleset::{DirectionRules, Management, Peer, Peers, Rule, Ruleset, StanceRules};
use crate::service::{PortRange, Ports, Protocol, Service, Services};

/// A ruleset with all facts resolved: addresses, ports, kernel-level owners. `firewall` programs it, and
/// [`crate::decide()`] evaluates it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The revision of its ruleset.
    pub revision: Revision,
    /// The flows that no rule below can block.
    pub failsafe: BoundFailsafe,
    /// Addresses that count as intranet; everything else is internet.
    pub intranet: RangeSet,
    /// Flows opened by peers.
    pub inbound: BoundDirection,
    /// Flows opened by this host.
    pub outbound: BoundDirection,
    /// Which forwarded flows are judged, too.
    #[serde(default)]
    pub forwarded: BoundForwarded,
}

impl Bound {
    /// The rules of one direction.
    #[must_use]
    pub fn direction(&self, direction: Direction) -> &BoundDirection {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }
}

/// The failsafe with the host's own addresses. In addition, these are always accepted: loopback interfaces,
/// DHCP, ICMPv6 neighbour discovery and multicast listener discovery, IGMP, ICMP errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundFailsafe {
    /// Outbound TCP to the platform and the configured proxies.
    pub endpoints: Vec<SocketAddr>,
    /// Outbound TCP and UDP port 53 to these.
    pub resolvers: AddressMatch,
    /// Outbound UDP port 123 to these.
    #[serde(default)]
    pub time_servers: RangeSet,
    /// Outbound TCP port 4460 to these: the keys of NTS.
    #[serde(default)]
    pub time_key_servers: RangeSet,
    /// Management sources, inbound.
    pub management: Vec<Management>,
    /// Inbound TCP to these, from all sources: the addresses of the platform. Only on the platform's own host
    /// do packets arrive at one of them.
    #[serde(default)]
    pub served: Vec<SocketAddr>,
}

impl BoundFailsafe {
    /// The failsafe of a host without a ruleset: no management sources. If no resolver is known, any may be
    /// used.
    #[must_use]
    pub fn bare(mut endpoints: Vec<SocketAddr>, resolvers: &[IpAddr]) -> Self {
        endpoints.sort_unstable();
        endpoints.dedup();
        let resolvers = match resolvers {
            [] => AddressMatch::Any,
            known => AddressMatch::Only(known.iter().copied().collect()),
        };
        Self {
            endpoints,
            resolvers,
            time_servers: RangeSet::empty(),
            time_key_servers: RangeSet::empty(),
            management: Vec::new(),
            served: Vec::new(),
        }
    }
}

/// The bound rules of one direction; see [`DirectionRules`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundDirection {
    /// The enforced stance: what it denies is dropped.
    pub enforced: BoundStance,
    /// The tested stance: what it denies, and `enforced` does not, is recorded and accepted.
    pub tested: Option<BoundStance>,
}

impl BoundDirection {
    /// A direction in which nothing is tested.
    #[must_use]
    pub fn enforcing(enforced: BoundStance) -> Self {
        Self { enforced, tested: None }
    }

    /// A direction in which nothing is enforced.
    #[must_use]
    pub fn testing(tested: BoundStance) -> Self {
        Self { enforced: BoundStance::open(), tested: Some(tested) }
    }

    /// The stances, the enforced one first.
    pub fn stances(&self) -> impl Iterator<Item = &BoundStance> {
        [&self.enforced].into_iter().chain(&self.tested)
    }
}

/// The bound rules of one stance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundStance {
    /// The flows that are denied unless allowed.
    pub subject: Subject,
    /// Rules that deny, with precedence over allow rules.
    pub blocks: Vec<BoundRule>,
    /// Rules that allow.
    pub allows: Vec<BoundRule>,
}

impl BoundStance {
    /// The stance that denies nothing.
    #[must_use]
    pub fn open() -> Self {
        Self { subject: Subject::Nothing, blocks: Vec::new(), allows: Vec::new() }
    }

    /// The stance that denies everything.
    #[must_use]
    pub fn closed() -> Self {
        Self { subject: Subject::Everything, ..Self::open() }
    }
}

/// A rule in terms that the kernel can match. Several bound rules may have the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundRule {
    /// Identifies the rule in events and hit counts.
    pub id: RuleId,
    /// The other end of the flow.
    pub peers: AddressMatch,
    /// The destination's services; an empty list matches nothing.
    pub services: Services,
    /// Outbound only: the local program, as the kernel identifies it.
    pub owner: Option<Owner>,
}

/// How the kernel identifies the program that owns a local socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The socket's user id.
    Uid(u32),
    /// The socket's cgroup v2, by path relative to the hierarchy's root, e.g.
    /// `system.slice/nginx.service`. Its level is the number of its components.
    Cgroup(String),
    /// Windows: what identifies the socket's process. At least one is there, and all that are must match.
    Windows {
        /// The executable, as an NT device path in small letters.
        executable: Option<String>,
        /// The security identifier of a user or service in its access token.
        identity: Option<String>,
    },
}

/// The reason, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unenforceable {
    /// The rule.
    pub rule: RuleId,
    /// Binds the ruleset to the host's facts. Rules that can't be enforced here are omitted from the bound
    /// ruleset and returned separately, so that they are reported and never widened.
    pub direction: Direction,
    /// Why, for the operator.
    pub reason: String,
}

impl Ruleset {
    /// Fills in the host's facts. Rules that can't be enforced here are left out of the bound ruleset
    /// and returned beside it, so that they are reported and never widened.
    #[must_use]
    pub fn bind(&self, facts: &Facts) -> (Bound, Vec<Unenforceable>) {
        let mut unenforceable = Vec::new();
        let intranet = self.intranet_addresses(facts);
        let mut direction = |direction: Direction| {
            let binder = Binder { facts, intranet: &intranet, direction };
            binder.direction_rules(self.direction(direction), &mut unenforceable)
        };
        let (inbound, outbound) = (direction(Direction::Inbound), direction(Direction::Outbound));
        let failsafe = self.bind_failsafe(facts);
        let forwarded = BoundForwarded {
            rules: self.forwarded.unwrap_or_default(),
            interfaces: facts.interfaces.clone(),
        };
        let revision = self.revision;
        let bound = Bound { revision, failsafe, intranet, inbound, outbound, forwarded };
        (bound, unenforceable)
    }

    /// The failsafe alone, as in [`Ruleset::bind`].
    #[must_use]
    pub fn bind_failsafe(&self, facts: &Facts) -> BoundFailsafe {
        let endpoints = self.failsafe.platform.iter().chain(&facts.endpoints).copied().collect();
        let management = self.failsafe.management.clone();
        // What is signed, and nothing that DNS says here.
        let served = self.failsafe.platform.iter();
        let served = served.map(|end| SocketAddr::new(end.ip().to_canonical(), end.port()));
        BoundFailsafe {
            management,
            served: served.collect(),
            time_servers: facts.time_servers.ntp.iter().copied().collect(),
            time_key_servers: facts.time_servers.nts.iter().copied().collect(),
            ..BoundFailsafe::bare(endpoints, &facts.resolvers)
        }
    }

    fn intranet_addresses(&self, facts: &Facts) -> RangeSet {
        let resolved = self.intranet_domains.iter().filter_map(|name| facts.domains.get(name));
        let nets = self.intranet.iter().copied().map(AddressRange::from);
        nets.chain(resolved.flatten().copied().map(AddressRange::from)).collect()
    }
}

/// What binding a rule needs to know.
struct Binder<'a> {
    facts: &'a Facts,
    intranet: &'a RangeSet,
    direction: Direction,
}

impl Binder<'_> {
    fn direction_rules(
        &self,
        rules: &DirectionRules,
        unenforceable: &mut Vec<Unenforceable>,
    ) -> BoundDirection {
        let enforced = self.stance(&rules.enforced, unenforceable);
        let tested = rules.tested.as_ref().map(|rules| self.stance(rules, unenforceable));
        BoundDirection { enforced, tested }
    }

    fn stance(&self, rules: &StanceRules, unenforceable: &mut Vec<Unenforceable>) -> BoundStance {
        let mut bound =
            |rules: &[Rule]| rules.iter().flat_map(|rule| self.rule(rule, unenforceable)).collect();
        BoundStance {
            subject: rules.subject,
            blocks: bound(&rules.blocks),
            allows: bound(&rules.allows),
        }
    }

    /// What a rule comes to here: one bound rule; for a program with several owners, one for each;
    /// none where it can't be enforced.
    fn rule(&self, rule: &Rule, unenforceable: &mut Vec<Unenforceable>) -> Vec<BoundRule> {
        let bound = |services: Services, owner: Option<Owner>| BoundRule {
            id: rule.id.clone(),
            peers: self.peers(&rule.peers),
            services,
            owner,
        };
        let Some(program) = rule.program() else {
            return vec![bound(rule.services.clone(), None)];
        };
        let refused = match self.direction {
            Direction::Inbound => match self.facts.unknown.get(&program) {
                None => return vec![bound(self.open_ports(rule, &program), None)],
                Some(reason) => reason.as_str(),
            },
            Direction::Outbound => match self.facts.owners.get(&program) {
                Some(Ok(owners)) if !owners.is_empty() => {
                    let owners = owners.iter().cloned();
                    return owners.map(|o| bound(rule.services.clone(), Some(o))).collect();
                }
                Some(Err(reason)) => reason.as_str(),
                _ => "the host has no facts to identify it",
            },
        };
        let reason = format!("{program}: {refused}");
        let (rule, direction) = (rule.id.clone(), self.direction);
        let told = Unenforceable { rule, direction, reason };
        // The ports of the rule's services on which the program listens.
        if !unenforceable.contains(&told) {
            unenforceable.push(told);
        }
        Vec::new()
    }

    /// The ports within the rule's services on which the program listens.
    fn open_ports(&self, rule: &Rule, program: &LocalProgram) -> Services {
        let listeners = self.facts.listeners.get(program).map_or(&[][..], Vec::as_slice);
        let within = listeners
            .iter()
            .filter(|listener| rule.services.iter().any(|&service| listener.is_within(service)));
        within.filter_map(|listener| exactly(listener.protocol, listener.port)).collect()
    }

    fn peers(&self, peers: &Peers) -> AddressMatch {
        let Peers::Listed(listed) = peers else { return AddressMatch::Any };
        let mut ranges = Vec::new();
        let mut classes = RangeSet::empty();
        for peer in listed {
            match peer {
                Peer::Net(net) => ranges.push(AddressRange::from(*net)),
                Peer::Domain(name) => {
                    let answers = self.facts.domains.get(name).into_iter().flatten();
                    ranges.extend(answers.copied().map(AddressRange::from));
                }
                Peer::Intranet => classes = classes.union(self.intranet),
                Peer::Internet => classes = classes.union(&self.intranet.complement()),
            }
        }
        AddressMatch::Only(ranges.into_iter().collect::<RangeSet>().union(&classes))
    }
}

/// The service of exactly one port; `None` for protocols without ports.
fn exactly(protocol: Protocol, port: u16) -> Option<Service> {
    let ports = Ports::Range(PortRange::single(port));
    match protocol {
        Protocol::Tcp => Some(Service::Tcp(ports)),
        Protocol::Udp => Some(Service::Udp(ports)),
        Protocol::Icmp | Protocol::Other(_) => None,
    }
}
