//! Which flows have listed peers, where the firewall does not record it. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use xshield_host::log_line::LoggedThreat;
use xshield_policy::Direction;

/// Keeps the flows whose peer is in an entry. Reads each entry once.
///
/// # Errors
/// The first error among the entries; flows with peers in the entries after it are not kept.
pub(crate) fn retain_listed<E>(
    flows: &mut Vec<LoggedThreat>,
    entries: impl Iterator<Item = Result<IpNet, E>>,
) -> Result<(), E> {
    let mut whole = Ok(());
    let mut peers: BTreeMap<IpAddr, bool> = flows.iter().map(|flow| (peer(flow), false)).collect();
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                whole = Err(error);
                break;
            }
        };
        for (_, is_listed) in peers.range_mut(entry.network()..=entry.broadcast()) {
            *is_listed = true;
        }
    }
    flows.retain(|flow| peers.get(&peer(flow)).copied().unwrap_or_default());
    whole
}

fn peer(flow: &LoggedThreat) -> IpAddr {
    match flow.direction {
        Direction::Inbound => flow.source,
        Direction::Outbound => flow.destination,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshield_policy::Protocol;
    use xshield_wire::threat::ThreatAction;

    #[test]
    fn flows_with_peers_in_an_entry_are_kept() {
        let flow = |direction, source: &str, destination: &str| LoggedThreat {
            action: ThreatAction::Blocked,
            direction,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: Protocol::Tcp,
            port: 443,
            packets: 1,
            bytes: 0,
            first_seen: 1,
            last_seen: 1,
        };
        use Direction::{Inbound, Outbound};
        let flows = [
            (flow(Inbound, "198.51.100.0", "10.0.0.9"), true),
            (flow(Inbound, "198.51.100.255", "10.0.0.9"), true),
            (flow(Inbound, "198.51.101.0", "10.0.0.9"), false),
            (flow(Inbound, "203.0.113.1", "10.0.0.9"), true),
            (flow(Inbound, "10.0.0.9", "203.0.113.1"), false),
            (flow(Outbound, "10.0.0.9", "203.0.113.1"), true),
            (flow(Outbound, "fd00::9", "2001:db8:ffff::1"), true),
            (flow(Outbound, "fd00::9", "2001:db9::1"), false),
        ];
        let entries = ["198.51.100.0/24", "203.0.113.1/32", "2001:db8::/32"];
        let mut found: Vec<LoggedThreat> = flows.iter().map(|(flow, _)| flow.clone()).collect();
        fn parsed<'a>(entry: &&'a str) -> Result<IpNet, &'a str> {
            entry.parse().map_err(|_| *entry)
        }
        assert_eq!(retain_listed(&mut found, entries.iter().map(parsed)), Ok(()));
        let expected: Vec<LoggedThreat> = flows
            .iter()
            .filter(|(_, is_listed)| *is_listed)
            .map(|(flow, _)| flow.clone())
            .collect();
        assert_eq!(found, expected);
        // A list that is damaged after its first entry.
        let damaged = ["198.51.100.0/24", "damaged", "203.0.113.1/32"];
        let mut found: Vec<LoggedThreat> = flows.iter().map(|(flow, _)| flow.clone()).collect();
        assert_eq!(retain_listed(&mut found, damaged.iter().map(parsed)), Err("damaged"));
        assert_eq!(found, expected[..2]);
    }
}
