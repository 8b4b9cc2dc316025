//! How a host resolves names: resolv.conf(5) and hosts(5), or the same settings of another system.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The needed settings of resolv.conf.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvConf {
    /// The servers in their order; a link-local IPv6 address without its interface.
    pub servers: Vec<IpAddr>,
    /// Servers that can only be reached through a named interface, which the resolver can't do.
    pub scoped: BTreeSet<IpAddr>,
    /// Domains in which short names are resolved.
    pub search: Vec<String>,
    /// A name with fewer dots is resolved in [`Self::search`] first.
    pub ndots: usize,
}

/// The names of the hosts file, lower case.
pub type Hosts = BTreeMap<String, Vec<IpAddr>>;

/// resolv.conf(5): "currently capped at 15 silently".
const MAX_NDOTS: usize = 15;

impl ResolvConf {
    /// Parses the file. As in the C library, invalid lines are ignored, and the last of several `search` or
    /// `domain` lines counts.
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

/// Parses a hosts file: an address, then its names; `#` starts a comment.
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
