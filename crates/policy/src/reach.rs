//! The flows that rules match, as sets that can be compared.
//!
//! A comparison never reports a set as contained in another if a flow is missing there. The reverse can
//! happen: a range of ports that only two rules together cover counts as not covered.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::names::DomainName;
use crate::program::LocalProgram;
use crate::range::{AddressRange, RangeSet};
use crate::ruleset::{Management, Peer, Peers, Rule};
use crate::service::{IcmpType, Service};

/// The addresses that count as intranet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intranet {
    ranges: RangeSet,
    domains: BTreeSet<DomainName>,
}

impl Intranet {
    pub(crate) fn new(nets: &[IpNet], domains: &[DomainName]) -> Self {
        Self { ranges: nets.iter().copied().collect(), domains: domains.iter().cloned().collect() }
    }
}

/// Peers whose addresses are only known on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Unresolved {
    Domain(DomainName),
    /// The internet without the addresses of these domains and these ranges.
    InternetWithout(BTreeSet<DomainName>, Vec<AddressRange>),
}

/// The peers of flows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Scope {
    addresses: RangeSet,
    unresolved: BTreeSet<Unresolved>,
}

impl Scope {
    fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.unresolved.is_empty()
    }

    fn add(&mut self, other: &Self) {
        self.addresses = std::mem::take(&mut self.addresses).union(&other.addresses);
        self.unresolved.extend(other.unresolved.iter().cloned());
    }

    fn is_within(&self, other: &Self) -> bool {
        other.addresses == RangeSet::everything()
            || (self.unresolved.is_subset(&other.unresolved)
                && self.addresses.difference(&other.addresses).is_empty())
    }
}

/// The peers of several rules, before they are combined.
#[derive(Debug, Default)]
struct Gathered {
    any: bool,
    ranges: Vec<AddressRange>,
    unresolved: BTreeSet<Unresolved>,
}

impl Gathered {
    fn add(&mut self, peers: &Peers, intranet: &Intranet) {
        let Peers::Listed(listed) = peers else {
            self.any = true;
            return;
        };
        for peer in listed {
            match peer {
                Peer::Net(net) => self.ranges.push(AddressRange::from(*net)),
                Peer::Domain(name) => {
                    self.unresolved.insert(Unresolved::Domain(name.clone()));
                }
                Peer::Intranet => {
                    self.ranges.extend(intranet.ranges.iter());
                    let domains = intranet.domains.iter().cloned();
                    self.unresolved.extend(domains.map(Unresolved::Domain));
                }
                Peer::Internet if intranet.domains.is_empty() => {
                    self.ranges.extend(intranet.ranges.complement().iter());
                }
                Peer::Internet => {
                    let ranges = intranet.ranges.iter().collect();
                    let without = Unresolved::InternetWithout(intranet.domains.clone(), ranges);
                    self.unresolved.insert(without);
                }
            }
        }
    }

    fn scope(self) -> Scope {
        let addresses = match self.any {
            true => RangeSet::everything(),
            false => self.ranges.into_iter().collect(),
        };
        Scope { addresses, unresolved: self.unresolved }
    }
}

/// Flows of one direction: the peers by local program and service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach(BTreeMap<(Option<LocalProgram>, Service), Scope>);

impl Reach {
    /// The flows of rules.
    pub(crate) fn of<'r>(rules: impl Iterator<Item = &'r Rule>, intranet: &Intranet) -> Self {
        let mut gathered: BTreeMap<_, Gathered> = BTreeMap::new();
        for rule in rules {
            for &service in &rule.services {
                gathered.entry((rule.program(), service)).or_default().add(&rule.peers, intranet);
            }
        }
        let scopes = gathered.into_iter().map(|(key, gathered)| (key, gathered.scope()));
        Self(scopes.filter(|(_, scope)| !scope.is_empty()).collect())
    }

    /// The flows of management sources.
    pub(crate) fn of_management<'m>(rules: impl Iterator<Item = &'m Management>) -> Self {
        let mut reach = Self::default();
        for Management { from, services } in rules {
            let addresses = [AddressRange::from(*from)].into_iter().collect();
            let scope = Scope { addresses, unresolved: BTreeSet::new() };
            for &service in services {
                reach.0.entry((None, service)).or_default().add(&scope);
            }
        }
        reach
    }

    /// All flows with these peers, for any program and service.
    pub(crate) fn everything_with(peers: &Peers, intranet: &Intranet) -> Self {
        let mut gathered = Gathered::default();
        gathered.add(peers, intranet);
        let scope = gathered.scope();
        let scopes = [((None, Service::Any), scope)].into_iter();
        Self(scopes.filter(|(_, scope)| !scope.is_empty()).collect())
    }

    /// The union of both.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        for (key, scope) in &other.0 {
            self.0.entry(key.clone()).or_default().add(scope);
        }
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every flow of this is in the other.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.iter().all(|((program, service), scope)| {
            scope.is_within(&other.scope_of(program.as_ref(), *service))
        })
    }

    /// The peers of all flows that a program may have with a service.
    fn scope_of(&self, program: Option<&LocalProgram>, service: Service) -> Scope {
        let mut scope = Scope::default();
        for ((of, known), peers) in &self.0 {
            let counts = of.is_none() || of.as_ref() == program;
            if counts && covers(*known, service) {
                scope.add(peers);
            }
        }
        scope
    }

    /// The flows with a service within `wanted`, or one that contains it.
    pub(crate) fn at(&self, wanted: Service) -> Self {
        let mut at = Self::default();
        for ((program, service), scope) in &self.0 {
            let met = match (covers(*service, wanted), covers(wanted, *service)) {
                (true, _) => wanted,
                (false, true) => *service,
                (false, false) => continue,
            };
            at.0.entry((program.clone(), met)).or_default().add(scope);
        }
        at
    }
}

/// Whether every flow of `inner` is in `outer`.
fn covers(outer: Service, inner: Service) -> bool {
    let holds = |outer: crate::service::Ports, inner: crate::service::Ports| {
        let (outer, inner) = (outer.range(), inner.range());
        outer.first() <= inner.first() && inner.last() <= outer.last()
    };
    match (outer, inner) {
        (Service::Any, _) => true,
        (Service::Tcp(outer), Service::Tcp(inner))
        | (Service::Udp(outer), Service::Udp(inner))
        | (Service::Sctp(outer), Service::Sctp(inner)) => holds(outer, inner),
        (Service::Icmp(outer), Service::Icmp(inner)) => outer == IcmpType::Any || outer == inner,
        (Service::Protocol(outer), Service::Protocol(inner)) => outer == inner,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Services;

    fn rule(text: &str) -> Rule {
        // `PEER,… SERVICE,…`, `*` for any peer.
        let (peers, services) = text.split_once(' ').unwrap();
        let peer = |text: &str| match text {
            "intranet" => Peer::Intranet,
            "internet" => Peer::Internet,
            text if text.ends_with(".example") => Peer::Domain(text.parse().unwrap()),
            text => Peer::Net(text.parse().unwrap()),
        };
        let peers = match peers {
            "*" => Peers::Any,
            listed => Peers::Listed(listed.split(',').map(peer).collect()),
        };
        let services: Services = services.split(',').map(|text| text.parse().unwrap()).collect();
        let id = crate::names::RuleId::in_template(&"t".parse().unwrap(), "r").unwrap();
        Rule { id, peers, services, process: None, user: None, unit: None }
    }

    fn reach(rules: &[&str], domains: &[&str]) -> Reach {
        let rules: Vec<Rule> = rules.iter().map(|text| rule(text)).collect();
        let domains: Vec<DomainName> = domains.iter().map(|text| text.parse().unwrap()).collect();
        let intranet = Intranet::new(&["10.0.0.0/8".parse().unwrap()], &domains);
        Reach::of(rules.iter(), &intranet)
    }

    #[test]
    fn one_set_of_flows_contains_another() {
        for (inner, outer, within) in [
            (&["10.0.0.0/24 tcp/22"][..], &["10.0.0.0/8 tcp"][..], true),
            (&["10.0.0.0/24 tcp/22"], &["10.0.0.0/25 tcp/22", "10.0.0.128/25 any"], true),
            (&["10.0.0.0/24 tcp/22"], &["10.0.0.0/25 tcp/22", "10.0.0.128/25 udp"], false),
            (&["10.0.0.0/24 any"], &["* tcp", "* udp", "* icmp"], false),
            (&["internet tcp/1"], &["* any"], true),
            (&["* tcp/1"], &["internet tcp/1", "intranet tcp/1"], true),
            (&["a.example tcp/1"], &["* tcp/1"], true),
            (&["a.example tcp/1"], &["a.example,10.0.0.0/8 any"], true),
            (&["a.example tcp/1"], &["b.example any"], false),
            (&["* icmp/8"], &["* icmp/echo-request"], false),
            (&["* icmp/8"], &["* icmp"], true),
            // Covered only by two together: not detected, which is the safe side.
            (&["* tcp/1-2"], &["* tcp/1", "* tcp/2"], false),
            (&[], &[], true),
        ] {
            let (inner, outer) = (reach(inner, &[]), reach(outer, &[]));
            assert_eq!(inner.is_within(&outer), within, "{inner:?} in {outer:?}");
        }
    }

    #[test]
    fn intranet_names_are_resolved_only_on_the_host() {
        let (named, unnamed) = (&["a.example"][..], &[][..]);
        assert!(reach(&["internet any"], named).is_within(&reach(&["internet any"], named)));
        assert!(!reach(&["internet any"], unnamed).is_within(&reach(&["internet any"], named)));
        assert!(!reach(&["internet any"], named).is_within(&reach(&["internet any"], unnamed)));
        assert!(reach(&["intranet any"], unnamed).is_within(&reach(&["intranet any"], named)));
        assert!(!reach(&["intranet any"], named).is_within(&reach(&["intranet any"], unnamed)));
    }
}
