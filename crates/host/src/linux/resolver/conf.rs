//! Which DNS servers this host asks: resolv.conf(5), hosts(5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// What resolv.conf says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvConf {
    /// The servers in their order. A link-local IPv6 address stands without its interface.
    pub servers: Vec<IpAddr>,
    /// Servers that can only be asked through a named interface, which the resolver can't.
    pub scoped: BTreeSet<IpAddr>,
    /// Domains in which short names are looked up.
    pub search: Vec<String>,
    /// A name with fewer dots is looked up in [`Self::search`] first.
    pub ndots: usize,
}

/// The names of the hosts file, lower case.
pub type Hosts = BTreeMap<String, Vec<IpAddr>>;

/// Where local forwarders say whom they ask.
const UPSTREAMS: &[&str] =
    &["run/systemd/resolve/resolv.conf", "run/NetworkManager/no-stub-resolv.conf"];
/// resolv.conf(5): "currently capped at 15 silently".
const MAX_NDOTS: usize = 15;

impl ResolvConf {
    /// Reads `etc/resolv.conf` under `root`; without the file no server is known.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        Self::parse(&text(&root.join("etc/resolv.conf")))
    }

    /// Reads the text of the file. As in the C library, lines that make no sense are passed over and
    /// of several `search` or `domain` lines the last one holds.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut conf = Self { ndots: 1, ..Self::default() };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.add_server(words.next().unwrap_or_default()),
                Some("search") => conf.search = words.map(str::to_owned).collect(),
                Some("domain") => conf.search = words.take(1).map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    conf.ndots =
                        ndots.max().map_or(conf.ndots, |ndots: usize| ndots.min(MAX_NDOTS));
                }
                _ => {}
            }
        }
        conf
    }

    fn add_server(&mut self, text: &str) {
        let (address, scope) = text.split_once('%').map_or((text, None), |(a, s)| (a, Some(s)));
        let Ok(address) = address.parse() else { return };
        if scope.is_some() {
            self.scoped.insert(address);
        }
        if !self.servers.contains(&address) {
            self.servers.push(address);
        }
    }
}

/// The DNS servers whose answers this host depends on: those of resolv.conf and, when one of them is a
/// forwarder on this host, those that the forwarder asks. Empty when that isn't known: a resolver on
/// this host then asks whomever it likes, and no list would be right.
#[must_use]
pub fn resolvers(root: &Path) -> Vec<IpAddr> {
    let mut servers = ResolvConf::read(root).servers;
    if !servers.iter().any(IpAddr::is_loopback) {
        return servers;
    }
    let upstream: Vec<IpAddr> = UPSTREAMS
        .iter()
        .flat_map(|path| ResolvConf::parse(&text(&root.join(path))).servers)
        .filter(|server| !server.is_loopback())
        .collect();
    if upstream.is_empty() {
        return Vec::new();
    }
    servers.extend(upstream);
    servers.sort_unstable();
    servers.dedup();
    servers
}

/// Reads `etc/hosts` under `root`; without the file it is empty.
#[must_use]
pub fn hosts(root: &Path) -> Hosts {
    parse_hosts(&text(&root.join("etc/hosts")))
}

/// Reads the text of a hosts file: an address, then its names; `#` begins a comment.
#[must_use]
pub fn parse_hosts(text: &str) -> Hosts {
    let mut hosts = Hosts::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let addresses = hosts.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts
}

fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_resolv_conf() {
        let conf = ResolvConf::parse(
            "# comment\n; comment\ndomain old.example\nsearch a.example b.example\n\
             nameserver 10.0.0.2\nnameserver  fe80::1%eth0 # trailing\nnameserver 10.0.0.2\n\
             nameserver nonsense\nnameserver\noptions rotate ndots:99 timeout:1\n",
        );
        assert_eq!(conf.servers, addresses(&["10.0.0.2", "fe80::1"]));
        assert_eq!(conf.scoped.len(), 1);
        assert_eq!(conf.search, ["a.example", "b.example"]);
        assert_eq!(conf.ndots, 15);
        assert_eq!(ResolvConf::parse("").ndots, 1);
    }

    #[test]
    fn whom_this_host_depends_on() {
        let stub = "nameserver 127.0.0.53";
        let (systemd, network_manager) = (UPSTREAMS[0], UPSTREAMS[1]);
        #[rustfmt::skip]
        type Files<'a> = &'a [(&'a str, &'a str)];
        let table: &[(&str, Files<'_>, &[&str])] = &[
            ("no file", &[], &[]),
            ("plain", &[("etc/resolv.conf", "nameserver 10.0.0.2")], &["10.0.0.2"]),
            (
                "systemd's stub",
                &[("etc/resolv.conf", stub), (systemd, "nameserver 10.0.0.3\nnameserver 10.0.0.4")],
                &["10.0.0.3", "10.0.0.4", "127.0.0.53"],
            ),
            (
                "dnsmasq of NetworkManager",
                &[
                    ("etc/resolv.conf", "nameserver 127.0.0.1"),
                    (network_manager, "nameserver 10.0.0.3"),
                ],
                &["10.0.0.3", "127.0.0.1"],
            ),
            ("a recursive resolver here", &[("etc/resolv.conf", "nameserver ::1")], &[]),
            ("a stub that nobody explains", &[("etc/resolv.conf", stub), (systemd, "")], &[]),
        ];
        for (name, files, expected) in table {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in *files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            assert_eq!(resolvers(root.path()), addresses(expected), "{name}");
        }
    }

    #[test]
    fn a_hosts_file() {
        let hosts = parse_hosts(
            "127.0.0.1 localhost\n10.0.0.5\tDB.example. db # primary\n2001:db8::5 db\n# 1.2.3.4 no\nx y",
        );
        assert_eq!(hosts["db"], addresses(&["10.0.0.5", "2001:db8::5"]));
        assert_eq!(hosts["db.example"], addresses(&["10.0.0.5"]));
        assert_eq!(hosts.len(), 3);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC*|[a-z0-9 .:%#\n]*") {
            let conf = ResolvConf::parse(&text);
            prop_assert!(conf.ndots <= MAX_NDOTS);
            let _ = parse_hosts(&text);
        }
    }
}
