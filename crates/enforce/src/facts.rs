//! The facts that a ruleset needs: DNS answers, and where its programs listen and send from.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use xshield_host::resolver::{Cache, Left, Moment, Resolution, Resolver};
use xshield_policy::{DirectionRules, Facts, LocalProgram, Rule, Ruleset, TimeServers};
use xshield_wire::message::{Problem, UnixSeconds};

use crate::ineffective;
use crate::os::{self, Capabilities, ListeningSocket};
use crate::problems::problem;

/// What the collection of facts takes from the run.
pub(crate) struct Sources<'a> {
    /// The addresses of the platform and the proxies as this run resolves them.
    pub(crate) endpoints: Vec<SocketAddr>,
    /// The DNS servers that this host's programs use.
    pub(crate) resolvers: Vec<IpAddr>,
    /// The host's time servers.
    pub(crate) time_servers: TimeServers,
    /// The host's resolver.
    pub(crate) resolver: &'a Resolver,
    /// Answers of earlier runs.
    pub(crate) answers: &'a mut Cache,
    /// How long an old answer is used while the resolver fails, in seconds.
    pub(crate) stale_answers: u64,
    /// The current time.
    pub(crate) now: UnixSeconds,
    /// The listening sockets.
    pub(crate) sockets: &'a [ListeningSocket],
    /// What the kernel can do.
    pub(crate) capabilities: &'a Capabilities,
}

/// What is to be reported about the facts.
#[derive(Debug, Default)]
pub(crate) struct FactReport {
    /// Addresses that left the rules.
    pub(crate) left: Vec<Left>,
    /// The problems.
    pub(crate) problems: Vec<Problem>,
}

/// Collects the facts that `ruleset` needs, and no others.
pub(crate) fn facts(ruleset: &Ruleset, sources: Sources<'_>) -> (Facts, FactReport) {
    let names = ruleset.domains().into_iter().map(|domain| (domain, ruleset.grace_of(domain)));
    let moment =
        Moment { now: sources.now, stale: sources.stale_answers, connected: &os::connected_peers };
    let answered = sources.resolver.resolve(names, sources.answers, moment);
    let answered = answered.unwrap_or_else(|error| Resolution {
        problems: vec![problem("dns-failed", &error)],
        ..Resolution::default()
    });
    let inbound = programs(&ruleset.inbound);
    let outbound = programs(&ruleset.outbound);
    let found =
        os::recognise(ruleset, (&inbound, &outbound), sources.sockets, sources.capabilities);
    let mut problems = answered.problems;
    let judges_forwarded = ruleset.forwarded.is_some_and(|forwarded| forwarded.judges());
    let interfaces = judges_forwarded.then(os::interfaces).transpose();
    let interfaces = interfaces.unwrap_or_else(|error| {
        problems.push(problem("interfaces-unknown", &error));
        None
    });
    let facts = Facts {
        endpoints: sources.endpoints,
        resolvers: sources.resolvers,
        time_servers: sources.time_servers,
        domains: answered.domains,
        listeners: found.listeners,
        unknown: found.unknown,
        owners: found.owners,
        interfaces: interfaces.unwrap_or_default(),
    };
    problems.extend(found.problems);
    problems.extend(ineffective::rules(ruleset, &facts, &found.absent));
    (facts, FactReport { left: answered.left, problems })
}

fn programs(rules: &DirectionRules) -> BTreeSet<LocalProgram> {
    rules.rules().filter_map(Rule::program).collect()
}
