//! Where this host's time servers are: a host whose clock is off is refused by the platform until it is
//! right again.

use std::collections::BTreeSet;
use std::net::IpAddr;

use xshield_host::linux::resolver::{Moment, Resolution};
use xshield_host::linux::time_servers::{self, Keys, Place, TimeServer};
use xshield_policy::{Grace, Span, TimeServers};

use crate::cycle::Run;
use crate::state::problem;

/// How long an address of a time server's name stays after it was last answered. A program that keeps
/// the time looks a name up when it starts, and names of pools rotate.
const GRACE: Grace = Grace { span: Span::minutes(24 * 60), while_connected: false };

impl Run<'_> {
    /// Looks at the configuration anew; names are resolved once in a run.
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
        let moment = Moment {
            now: self.cycle.surroundings.now(),
            stale: self.cycle.config.stale_answers.as_secs(),
            connected: &|| Ok(Default::default()),
        };
        let names = names.iter().map(|name| (name, GRACE));
        let answered = self.resolver.resolve(names, &mut self.progress.time_answers, moment);
        let answered = answered.unwrap_or_else(|error| {
            self.outcome.problems.push(problem("dns-failed", &error));
            Resolution::default()
        });
        let addresses = |server: &TimeServer| -> Vec<IpAddr> {
            match &server.place {
                Place::Address(address) => vec![*address],
                Place::Name(name) => {
                    let names = self.resolver.qualify(name);
                    let mut found = names.iter().filter_map(|name| answered.domains.get(name));
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
}
