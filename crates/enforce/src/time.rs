//! Where this host's time servers are: a host whose clock is off is refused by the platform until it is
//! right again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xshield_host::linux::resolver::{Moment, Patience, Resolution, Resolver};
use xshield_host::linux::time_servers::{self, Keys, Place, TimeServer};
use xshield_policy::{DomainName, Grace, Span, TimeServers};
use xshield_wire::message::UnixSeconds;

use crate::cycle::Run;
use crate::state::problem;

/// How long an address of a time server's name stays after it was last answered. A program that keeps
/// the time looks a name up when it starts, and names of pools rotate.
const GRACE: Grace = Grace { span: Span::minutes(24 * 60), while_connected: false };
/// How soon the names are asked for again, in seconds.
const AGAIN: u64 = 3600;
/// The same when nobody answered for one of them.
const AFTER_SILENCE: u64 = 600;
/// How long a run waits for them. Many hosts name time servers that they can't resolve, and a run is not
/// to be held up by those.
const PATIENCE: Patience =
    Patience { one_try: Duration::from_secs(1), retries: 0, total: Duration::from_secs(1) };

/// What names of time servers led to when they were last asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeAsked {
    at: UnixSeconds,
    /// Each name that was asked for; empty where nobody answered.
    answers: BTreeMap<DomainName, Vec<IpAddr>>,
}

impl TimeAsked {
    /// Whether these names need not be asked for at `now`. A clock that went back asks.
    fn holds(&self, names: &BTreeSet<DomainName>, now: UnixSeconds) -> bool {
        let silent = self.answers.values().any(Vec::is_empty);
        let until = self.at.saturating_add(if silent { AFTER_SILENCE } else { AGAIN });
        self.answers.keys().eq(names) && (self.at..until).contains(&now)
    }
}

impl Run<'_> {
    /// Looks at the configuration anew; names are resolved once in a while, and when they are others.
    pub(crate) fn time_servers(&mut self) -> TimeServers {
        if let Some(known) = &self.time_servers {
            return known.clone();
        }
        let configured = time_servers::configured(&self.cycle.surroundings.root);
        let names: BTreeSet<_> = configured
            .iter()
            .filter_map(|server| match &server.place {
                Place::Name(name) => Some(self.resolver.qualify(name)),
                Place::Address(_) => None,
            })
            .flatten()
            .collect();
        let answers = self.answers_for(&names);
        let addresses = |server: &TimeServer| -> Vec<IpAddr> {
            match &server.place {
                Place::Address(address) => vec![*address],
                Place::Name(name) => {
                    let names = self.resolver.qualify(name);
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
        self.time_servers = Some(servers.clone());
        servers
    }

    fn answers_for(&mut self, names: &BTreeSet<DomainName>) -> BTreeMap<DomainName, Vec<IpAddr>> {
        let now = self.cycle.surroundings.now();
        if let Some(asked) = self.progress.time_asked.as_ref().filter(|a| a.holds(names, now)) {
            return asked.answers.clone();
        }
        let moment = Moment {
            now,
            stale: self.cycle.config.stale_answers.as_secs(),
            connected: &|| Ok(Default::default()),
        };
        let resolver = Resolver::of_system(&self.cycle.surroundings.root, PATIENCE);
        let asked = names.iter().map(|name| (name, GRACE));
        let answered = resolver.resolve(asked, &mut self.progress.time_answers, moment);
        let mut found = answered.unwrap_or_else(|error| {
            self.outcome.problems.push(problem("dns-failed", &error));
            Resolution::default()
        });
        let mut answer = |name: &DomainName| found.domains.remove(name).unwrap_or_default();
        let answers: BTreeMap<_, _> =
            names.iter().map(|name| (name.clone(), answer(name))).collect();
        self.progress.time_asked = Some(TimeAsked { at: now, answers: answers.clone() });
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_asked_for_once_in_a_while() {
        let names = |texts: &[&str]| -> BTreeSet<DomainName> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let known: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap()];
        let asked = |answers: [&[IpAddr]; 2]| TimeAsked {
            at: 10_000,
            answers: names(&["a.example", "b.example"])
                .into_iter()
                .zip(answers.map(<[IpAddr]>::to_vec))
                .collect(),
        };
        let (whole, silent) = (asked([&known, &known]), asked([&known, &[]]));
        #[rustfmt::skip]
        let table = [
            (&whole, &["a.example", "b.example"][..], 10_000, true),
            (&whole, &["a.example", "b.example"], 13_599, true),
            (&whole, &["a.example", "b.example"], 13_600, false),
            (&whole, &["a.example", "b.example"], 9_999, false),
            (&whole, &["a.example"], 10_001, false),
            (&whole, &["a.example", "b.example", "c.example"], 10_001, false),
            (&silent, &["a.example", "b.example"], 10_599, true),
            (&silent, &["a.example", "b.example"], 10_600, false),
        ];
        for (asked, wanted, now, expected) in table {
            assert_eq!(asked.holds(&names(wanted), now), expected, "{wanted:?} at {now}");
        }
    }
}
