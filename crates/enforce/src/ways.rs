//! The ways out that nothing may cut: platform, proxies, DNS servers, time servers. They are where the
//! host's own configuration says, and that changes between two runs.

use std::net::{IpAddr, SocketAddr};

use xshield_firewall::Firewall;
use xshield_host::linux::resolver;
use xshield_policy::Facts;

use crate::cycle::{CycleError, Run};
use crate::outcome::Change;

impl Run<'_> {
    /// Lets through what this host was pointed to since the last run. This comes before the check-in:
    /// the rules in force would keep the host from ever hearing of better ones, where it has another
    /// proxy, where the platform's name resolves to another address, and where the DNS server that is to
    /// tell so is another one.
    pub(crate) fn let_new_ways_through(
        &mut self,
        firewall: &mut Firewall,
    ) -> Result<(), CycleError> {
        if self.known_good.is_none() {
            return Ok(());
        }
        // First what is known without asking anyone; the rest is asked by way of it.
        let proxies = self.cycle.config.proxies.as_slice().iter();
        let proxies: Vec<_> = proxies.filter_map(|proxy| proxy.address.address()).collect();
        let resolvers = resolver::resolvers(&self.cycle.surroundings.root);
        self.let_through(firewall, |facts| {
            add(&mut facts.endpoints, &proxies);
            admit_resolvers(&mut facts.resolvers, &resolvers);
        })?;
        let endpoints = self.endpoints(&[]);
        let time_servers = self.time_servers();
        self.let_through(firewall, |facts| {
            add(&mut facts.endpoints, &endpoints);
            add(&mut facts.time_servers.ntp, &time_servers.ntp);
            add(&mut facts.time_servers.nts, &time_servers.nts);
        })
    }

    /// Puts the rules in force with more ways out, if they are more.
    fn let_through(
        &mut self,
        firewall: &mut Firewall,
        admit: impl FnOnce(&mut Facts),
    ) -> Result<(), CycleError> {
        let Some(mut known) = self.known_good.clone() else { return Ok(()) };
        let before = known.facts.clone();
        admit(&mut known.facts);
        if known.facts == before {
            return Ok(());
        }
        firewall.apply_now(&known.plan(firewall.capabilities()))?;
        self.state.save_last_known_good(&known)?;
        self.outcome.change = Change::Applied;
        self.known_good = Some(known);
        Ok(())
    }

    /// The platform and the proxies, as this host reaches them: also where the platform's name led in
    /// the last half hour, and, while the name can't be resolved, those that are known (`stand_in`). So
    /// neither a failing resolver nor one that answers otherwise each time closes the way.
    pub(crate) fn endpoints(&mut self, stand_in: &[SocketAddr]) -> Vec<SocketAddr> {
        let found = self.client.endpoints();
        let mut addresses = found.addresses;
        let whereabouts = &mut self.progress.whereabouts;
        whereabouts.note(&found.by_name, self.cycle.surroundings.now());
        if !found.by_name.is_empty() || !found.unresolved.is_empty() {
            add(&mut addresses, &whereabouts.addresses().collect::<Vec<_>>());
        }
        if !found.unresolved.is_empty() {
            add(&mut addresses, stand_in);
        }
        addresses
    }
}

/// Adds what is not there yet; the list is in order afterwards.
fn add<T: Ord + Copy>(addresses: &mut Vec<T>, new: &[T]) {
    addresses.extend_from_slice(new);
    addresses.sort_unstable();
    addresses.dedup();
}

/// Lets the rules' DNS servers be these as well. No known server means that any may be asked: from there,
/// a list would take away, and to there, everything is admitted.
fn admit_resolvers(admitted: &mut Vec<IpAddr>, resolvers: &[IpAddr]) {
    if admitted.is_empty() {
        return;
    }
    if resolvers.is_empty() {
        admitted.clear();
        return;
    }
    for resolver in resolvers {
        if !admitted.contains(resolver) {
            admitted.push(*resolver);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_only_added() {
        let list = |texts: &str| -> Vec<IpAddr> {
            texts.split_whitespace().map(|text| text.parse().unwrap()).collect()
        };
        for (admitted, configured, expected) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.2", "10.0.0.1 10.0.0.2"),
            ("10.0.0.1 fd00::1", "fd00::1 fd00::2", "10.0.0.1 fd00::1 fd00::2"),
            // No list is every server.
            ("", "10.0.0.2", ""),
            ("10.0.0.1", "", ""),
        ] {
            let mut list_of_rules = list(admitted);
            admit_resolvers(&mut list_of_rules, &list(configured));
            assert_eq!(list_of_rules, list(expected), "{admitted} and {configured}");
        }
    }
}
