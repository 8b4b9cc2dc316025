//! Network adapters, and what follows from them: this host's addresses and whom it asks for names.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use xshield_wire::telemetry::{Interface, LinkState};

use crate::resolver::ResolvConf;

/// A network adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Its name for people, e.g. `Ethernet`.
    pub name: String,
    /// Whether it leads to other computers.
    pub reach: Reach,
    /// Whether it can be used.
    pub state: LinkState,
    /// Hardware address; empty where there is none.
    pub mac: Vec<u8>,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// The smaller, the earlier it is used.
    pub metric: u32,
    /// Its addresses, without those that another computer turned out to have.
    pub addresses: Vec<IpAddr>,
    /// The DNS servers that are asked through it.
    pub name_servers: Vec<IpAddr>,
    /// The domain in which short names are looked up through it; may be empty.
    pub suffix: String,
}

/// Whom an adapter leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// This host alone.
    Loopback,
    /// Others, too.
    Others,
}

/// What Windows shows for an adapter without IPv6 name servers; nothing answers there (RFC 3879).
const SITE_LOCAL_SERVERS: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfec0, 0, 0, 0xffff, 0, 0, 0, 1),
    Ipv6Addr::new(0xfec0, 0, 0, 0xffff, 0, 0, 0, 2),
    Ipv6Addr::new(0xfec0, 0, 0, 0xffff, 0, 0, 0, 3),
];

/// The domains in which short names are looked up: the list, if there is one, else the host's own domain
/// and those of its adapters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suffixes {
    /// The list, from group policy or from the settings of TCP/IP; with commas or spaces between them.
    pub list: String,
    /// The domain of the host.
    pub own: String,
}

/// Whom this host asks for names: the servers of adapters in use, those of the preferred adapter first.
#[must_use]
pub fn resolv_conf(adapters: &[Adapter], suffixes: &Suffixes) -> ResolvConf {
    let mut used: Vec<&Adapter> =
        adapters.iter().filter(|adapter| adapter.state != LinkState::Down).collect();
    used.sort_by_key(|adapter| adapter.metric);
    let mut conf = ResolvConf { ndots: 1, ..ResolvConf::default() };
    for &server in used.iter().flat_map(|adapter| &adapter.name_servers) {
        let is_nobody = matches!(server, IpAddr::V6(v6) if SITE_LOCAL_SERVERS.contains(&v6));
        if is_nobody || server.is_unspecified() || conf.servers.contains(&server) {
            continue;
        }
        // Only reached through its adapter, which the resolver can't name.
        if matches!(server, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            conf.scoped.insert(server);
        }
        conf.servers.push(server);
    }
    let listed = suffixes.list.split([',', ' ']);
    let found = used.iter().map(|adapter| adapter.suffix.as_str());
    let own = std::iter::once(suffixes.own.as_str()).chain(found);
    let is_listed = suffixes.list.split([',', ' ']).any(|domain| !domain.is_empty());
    let domains: Vec<&str> = if is_listed { listed.collect() } else { own.collect() };
    for domain in domains {
        let domain = domain.trim_matches('.').to_ascii_lowercase();
        if !domain.is_empty() && !conf.search.contains(&domain) {
            conf.search.push(domain);
        }
    }
    conf
}

/// Every address, loopback included.
#[must_use]
pub fn all_addresses(adapters: &[Adapter]) -> Vec<IpAddr> {
    let all: BTreeSet<IpAddr> =
        adapters.iter().flat_map(|adapter| &adapter.addresses).copied().collect();
    all.into_iter().collect()
}

/// The addresses under which others can reach this host, sorted: without loopback and link-local ones,
/// and without those of adapters that are down.
#[must_use]
pub fn own_addresses(adapters: &[Adapter]) -> Vec<IpAddr> {
    let used = adapters
        .iter()
        .filter(|adapter| adapter.reach == Reach::Others && adapter.state != LinkState::Down);
    let all: BTreeSet<IpAddr> = used
        .flat_map(|adapter| &adapter.addresses)
        .copied()
        .filter(|&address| is_own(address))
        .collect();
    all.into_iter().collect()
}

fn is_own(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

/// The adapters that lead to others, as they are reported.
#[must_use]
pub fn interfaces(adapters: &[Adapter]) -> Vec<Interface> {
    let others = adapters.iter().filter(|adapter| adapter.reach == Reach::Others);
    let mut interfaces: Vec<Interface> = others
        .map(|adapter| {
            let mut addresses = adapter.addresses.clone();
            addresses.sort_unstable();
            let hex: Vec<String> = adapter.mac.iter().map(|byte| format!("{byte:02x}")).collect();
            Interface {
                name: adapter.name.clone(),
                mac: adapter.mac.iter().any(|&byte| byte != 0).then(|| hex.join(":")),
                addresses,
                state: adapter.state,
                mtu: adapter.mtu,
            }
        })
        .collect();
    interfaces.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &str) -> Vec<IpAddr> {
        texts.split_whitespace().map(|text| text.parse().unwrap()).collect()
    }

    fn adapter(name: &str, metric: u32, addresses: &str, servers: &str, suffix: &str) -> Adapter {
        Adapter {
            name: name.to_owned(),
            reach: Reach::Others,
            state: LinkState::Up,
            mac: vec![0x52, 0x54, 0, 0x12, 0x34, 0x56],
            mtu: 1500,
            metric,
            addresses: list(addresses),
            name_servers: list(servers),
            suffix: suffix.to_owned(),
        }
    }

    fn adapters() -> Vec<Adapter> {
        let slow = adapter("WLAN", 50, "192.168.1.7", "192.168.1.1 10.0.0.2", "home.example");
        let fast = adapter(
            "Ethernet",
            10,
            "10.0.0.5 fe80::5 2001:db8::5 169.254.7.7",
            "10.0.0.2 fec0:0:0:ffff::1 fe80::1 0.0.0.0",
            "Corp.Example.",
        );
        let down = Adapter {
            state: LinkState::Down,
            ..adapter("Off", 1, "172.16.0.9", "172.16.0.1", "off.example")
        };
        let loopback =
            Adapter { reach: Reach::Loopback, ..adapter("Loopback", 75, "127.0.0.1 ::1", "", "") };
        vec![slow, down, fast, loopback]
    }

    #[test]
    fn name_servers_of_adapters() {
        let table = [
            ("", "Corp.example", "corp.example home.example"),
            ("", "", "corp.example home.example"),
            ("a.example,B.example, a.example", "corp.example", "a.example b.example"),
            (" , ", "own.example", "own.example corp.example home.example"),
        ];
        for (searched, own, expected) in table {
            let suffixes = Suffixes { list: searched.to_owned(), own: own.to_owned() };
            let conf = resolv_conf(&adapters(), &suffixes);
            assert_eq!(conf.servers, list("10.0.0.2 fe80::1 192.168.1.1"));
            assert_eq!(conf.scoped, list("fe80::1").into_iter().collect());
            assert_eq!(conf.search.join(" "), expected, "{searched:?} {own:?}");
            assert_eq!(conf.ndots, 1);
        }
    }

    #[test]
    fn addresses_of_adapters() {
        assert_eq!(own_addresses(&adapters()), list("10.0.0.5 192.168.1.7 2001:db8::5"));
        let all = all_addresses(&adapters());
        for address in list("127.0.0.1 ::1 169.254.7.7 172.16.0.9 fe80::5") {
            assert!(all.contains(&address), "{address}");
        }
    }

    #[test]
    fn adapters_become_interfaces() {
        let found = interfaces(&adapters());
        let names: Vec<&str> = found.iter().map(|interface| interface.name.as_str()).collect();
        assert_eq!(names, ["Ethernet", "Off", "WLAN"]);
        assert_eq!(found[0].mac.as_deref(), Some("52:54:00:12:34:56"));
        let without = Adapter { mac: vec![0; 6], ..adapters().remove(0) };
        assert_eq!(interfaces(&[without])[0].mac, None);
    }
}
