//! The facts a ruleset asks for: DNS answers, listeners, owners of processes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use xshield_host::linux::owners::{self, CgroupMatching};
use xshield_host::linux::resolver::{Cache, Resolution, Resolver};
use xshield_host::linux::sockets;
use xshield_policy::{DirectionRules, DomainName, Facts, Peer, Peers, ProcessMatch, Rule, Ruleset};
use xshield_wire::message::{ListeningPort, Problem, UnixSeconds};

use crate::state::problem;

/// What gathering takes from the run.
pub(crate) struct Sources<'a> {
    /// Where the platform and the proxies are, as this run reaches them.
    pub(crate) endpoints: Vec<SocketAddr>,
    /// The DNS servers that this host's programs ask.
    pub(crate) resolvers: Vec<IpAddr>,
    /// The host's resolver.
    pub(crate) resolver: &'a Resolver,
    /// Answers of earlier runs.
    pub(crate) answers: &'a mut Cache,
    /// How long an old answer is used while the resolver fails, in seconds.
    pub(crate) stale_answers: u64,
    /// This moment.
    pub(crate) now: UnixSeconds,
    /// What listens now.
    pub(crate) ports: &'a [ListeningPort],
    /// Whether the kernel can match cgroups.
    pub(crate) cgroups: CgroupMatching,
}

/// Gathers what `ruleset` asks for, and nothing else.
pub(crate) fn facts(ruleset: &Ruleset, sources: Sources<'_>) -> (Facts, Vec<Problem>) {
    let (now, keep) = (sources.now, sources.stale_answers);
    let answered = sources.resolver.resolve(domains(ruleset), sources.answers, now, keep);
    let answered = answered.unwrap_or_else(|error| Resolution {
        problems: vec![problem("dns-failed", &error)],
        ..Resolution::default()
    });
    let inbound = processes(ruleset.inbound.rules());
    let outbound = processes(ruleset.outbound.rules());
    let facts = Facts {
        endpoints: sources.endpoints,
        resolvers: sources.resolvers,
        domains: answered.domains,
        listeners: sockets::listeners(sources.ports, inbound),
        owners: owners::owners(outbound, sources.cgroups),
    };
    (facts, answered.problems)
}

/// Every domain that a ruleset names.
fn domains(ruleset: &Ruleset) -> BTreeSet<&DomainName> {
    let directions = [&ruleset.inbound, &ruleset.outbound];
    let rules = directions.into_iter().flat_map(DirectionRules::rules);
    let named = rules.flat_map(|rule| match &rule.peers {
        Peers::Any => &[][..],
        Peers::Listed(peers) => peers,
    });
    let named = named.filter_map(|peer| match peer {
        Peer::Domain(name) => Some(name),
        Peer::Net(_) | Peer::Intranet | Peer::Internet => None,
    });
    named.chain(&ruleset.intranet_domains).collect()
}

fn processes<'a>(rules: impl Iterator<Item = &'a Rule>) -> BTreeSet<&'a ProcessMatch> {
    rules.filter_map(|rule| rule.process.as_ref()).collect()
}
