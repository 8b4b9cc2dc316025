//! The addresses of this host's time servers: the platform refuses a host whose clock is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use xshield_host::resolver::{Moment, Resolution, ResolverTimeouts};
use xshield_host::time_server::{Keys, Place, TimeServer};
use xshield_policy::{DomainName, Grace, Span, TimeServers};

use crate::os;
use crate::problems::problem;
use crate::run::Run;
use crate::time_answers::TimeAnswers;

/// How long an address of a time server's name stays admitted after it was last resolved. Time programs
/// resolve a name when they start, and names of pools rotate.
const GRACE: Grace = Grace { span: Span::minutes(24 * 60), while_connected: false };
/// How long a run waits for them. Many hosts name time servers that they can't resolve; a run must not wait
/// long for those.
const TIMEOUTS: ResolverTimeouts =
    ResolverTimeouts { one_try: Duration::from_secs(1), retries: 0, total: Duration::from_secs(1) };

/// Reads the configuration; resolves the names once in a while, and when they have changed.
pub(crate) fn time_servers(run: &mut Run<'_>) -> TimeServers {
    if let Some(known) = &run.time_servers {
        return known.clone();
    }
    let configured = os::configured_time_servers(&run.environment.root);
    let names: BTreeSet<_> = configured
        .iter()
        .filter_map(|server| match &server.place {
            Place::Name(name) => Some(run.resolver.qualify(name)),
            Place::Address(_) => None,
        })
        .flatten()
        .collect();
    let answers = answers_for(run, &names);
    let addresses = |server: &TimeServer| -> Vec<IpAddr> {
        match &server.place {
            Place::Address(address) => vec![*address],
            Place::Name(name) => {
                let names = run.resolver.qualify(name);
                let mut found = names.iter().filter_map(|name| answers.get(name));
                found.find(|found| !found.is_empty()).cloned().unwrap_or_default()
            }
        }
    };
    let of = |wanted: fn(&TimeServer) -> bool| {
        let servers = configured.iter().filter(|server| wanted(server));
        let all: BTreeSet<IpAddr> = servers.flat_map(addresses).collect();
        all.into_iter().collect()
    };
    let servers = TimeServers { ntp: of(|_| true), nts: of(|server| server.keys == Keys::Nts) };
    run.time_servers = Some(servers.clone());
    servers
}

fn answers_for(
    run: &mut Run<'_>,
    names: &BTreeSet<DomainName>,
) -> BTreeMap<DomainName, Vec<IpAddr>> {
    let now = run.now();
    if let Some(asked) = run.progress.time_asked.as_ref().filter(|a| a.holds(names, now)) {
        return asked.answers.clone();
    }
    let moment = Moment {
        now,
        stale: run.config.stale_answers.as_secs(),
        connected: &|| Ok(Default::default()),
    };
    let resolver = run.environment.os.resolver(TIMEOUTS);
    let asked = names.iter().map(|name| (name, GRACE));
    let answered = resolver.resolve(asked, &mut run.progress.time_answers, moment);
    let mut found = answered.unwrap_or_else(|error| {
        run.problems.push(problem("dns-failed", &error));
        Resolution::default()
    });
    let mut answer = |name: &DomainName| found.domains.remove(name).unwrap_or_default();
    let answers: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), answer(name))).collect();
    run.progress.time_asked = Some(TimeAnswers { at: now, answers: answers.clone() });
    answers
}
