//! The facts a ruleset asks for: DNS answers, listeners, owners of processes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use xshield_host::linux::connections;
use xshield_host::linux::forwarding;
use xshield_host::linux::owners::{self, CgroupMatching};
use xshield_host::linux::resolver::{Cache, Left, Moment, Resolution, Resolver};
use xshield_host::linux::sockets;
use xshield_policy::{DirectionRules, Facts, ProcessMatch, Ruleset};
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

/// What there is to say about it.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Addresses that left.
    pub(crate) left: Vec<Left>,
    /// What went wrong.
    pub(crate) problems: Vec<Problem>,
}

/// Gathers what `ruleset` asks for, and nothing else.
pub(crate) fn facts(ruleset: &Ruleset, sources: Sources<'_>) -> (Facts, Told) {
    let names = ruleset.domains().into_iter().map(|domain| (domain, ruleset.grace_of(domain)));
    let moment = Moment {
        now: sources.now,
        stale: sources.stale_answers,
        connected: &connections::connected_peers,
    };
    let answered = sources.resolver.resolve(names, sources.answers, moment);
    let answered = answered.unwrap_or_else(|error| Resolution {
        problems: vec![problem("dns-failed", &error)],
        ..Resolution::default()
    });
    let mut problems = answered.problems;
    let judges_forwarded = ruleset.forwarded.is_some_and(|forwarded| forwarded.judges());
    let interfaces = judges_forwarded.then(forwarding::interfaces).transpose();
    let interfaces = interfaces.unwrap_or_else(|error| {
        problems.push(problem("interfaces-unknown", &error));
        None
    });
    let facts = Facts {
        endpoints: sources.endpoints,
        resolvers: sources.resolvers,
        domains: answered.domains,
        listeners: sockets::listeners(sources.ports, processes(&ruleset.inbound)),
        owners: owners::owners(processes(&ruleset.outbound), sources.cgroups),
        interfaces: interfaces.unwrap_or_default(),
    };
    (facts, Told { left: answered.left, problems })
}

fn processes(rules: &DirectionRules) -> BTreeSet<&ProcessMatch> {
    rules.rules().filter_map(|rule| rule.process.as_ref()).collect()
}
