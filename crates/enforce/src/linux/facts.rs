//! The facts a ruleset asks for: DNS answers, and where its programs listen and send from.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use xshield_host::linux::connections;
use xshield_host::linux::forwarding;
use xshield_host::linux::local::{self, CgroupMatching, Impostor, Impostors};
use xshield_host::linux::sockets::ListeningSocket;
use xshield_host::resolver::{Cache, Left, Moment, Resolution, Resolver};
use xshield_policy::{DirectionRules, Facts, LocalProgram, Rule, Ruleset, TimeServers};
use xshield_wire::message::{Problem, UnixSeconds};

use crate::linux::ineffective;
use crate::problems::problem;

/// What gathering takes from the run.
pub(crate) struct Sources<'a> {
    /// Where the platform and the proxies are, as this run reaches them.
    pub(crate) endpoints: Vec<SocketAddr>,
    /// The DNS servers that this host's programs ask.
    pub(crate) resolvers: Vec<IpAddr>,
    /// The host's time servers.
    pub(crate) time_servers: TimeServers,
    /// The host's resolver.
    pub(crate) resolver: &'a Resolver,
    /// Answers of earlier runs.
    pub(crate) answers: &'a mut Cache,
    /// How long an old answer is used while the resolver fails, in seconds.
    pub(crate) stale_answers: u64,
    /// This moment.
    pub(crate) now: UnixSeconds,
    /// What listens now.
    pub(crate) sockets: &'a [ListeningSocket],
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
    let inbound = programs(&ruleset.inbound);
    let outbound = programs(&ruleset.outbound);
    let found = local::recognise(&inbound, &outbound, sources.sockets, sources.cgroups);
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
        time_servers: sources.time_servers,
        domains: answered.domains,
        listeners: found.listeners,
        unknown: found.unknown,
        owners: found.owners,
        interfaces: interfaces.unwrap_or_default(),
    };
    problems.extend(impostors(ruleset, &found.impostors));
    problems.extend(ineffective::rules(ruleset, &facts, &found.absent));
    (facts, Told { left: answered.left, problems })
}

fn programs(rules: &DirectionRules) -> BTreeSet<LocalProgram> {
    rules.rules().filter_map(Rule::program).collect()
}

/// Impostors that are told in one run; the rest is counted.
const MOST_IMPOSTORS: usize = 20;

/// What looks like a program of a rule and is not taken for it, as problems.
fn impostors(ruleset: &Ruleset, found: &[Impostors]) -> Vec<Problem> {
    let mut told = Vec::new();
    let mut more = 0;
    for impostors in found {
        let Impostors { program, direction, .. } = impostors;
        let meant = ruleset
            .direction(*direction)
            .rules()
            .filter(|rule| rule.program().as_ref() == Some(program));
        let rule = meant.map(|rule| rule.id.as_str()).next().unwrap_or("-");
        more += impostors.more;
        for Impostor { pid, user, executable, reason } in &impostors.told {
            if told.len() == MOST_IMPOSTORS {
                more += 1;
                continue;
            }
            told.push(format!(
                "rule {rule} ({direction}) is for {program}: process {pid} (user {user}, {executable}) \
                 looks like it and is not: {reason}"
            ));
        }
    }
    if more > 0 {
        told.push(format!("{more} more processes look like a program of a rule and are not"));
    }
    let problem = |text| Problem { code: "process-impostor".to_owned(), text };
    told.into_iter().map(problem).collect()
}
