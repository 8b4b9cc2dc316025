//! The DNS servers that this host uses: resolv.conf(5), hosts(5).

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::resolver::{Hosts, ResolvConf, Resolver, ResolverTimeouts, parse_hosts};

/// Files in which local forwarders name their upstream servers.
const UPSTREAMS: &[&str] =
    &["run/systemd/resolve/resolv.conf", "run/NetworkManager/no-stub-resolv.conf"];

/// A resolver configured by `etc/resolv.conf` and `etc/hosts` under `root` (`/` on a real host).
#[must_use]
pub fn resolver(root: &Path, timeouts: ResolverTimeouts) -> Resolver {
    Resolver::new(conf(root), hosts(root), timeouts)
}

/// Reads `etc/resolv.conf` under `root`; without the file there are no servers.
fn conf(root: &Path) -> ResolvConf {
    ResolvConf::parse(&text(&root.join("etc/resolv.conf")))
}

/// The DNS servers whose answers this host depends on: those of resolv.conf and, if one of them is a
/// forwarder on this host, its upstream servers. Empty if they are not known: a recursive resolver on this
/// host may use any server, so no list would be right.
#[must_use]
pub fn resolvers(root: &Path) -> Vec<IpAddr> {
    let mut servers = conf(root).servers;
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
fn hosts(root: &Path) -> Hosts {
    parse_hosts(&text(&root.join("etc/hosts")))
}

fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn name_servers_of_this_host() {
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
}
