//! What is detected on a host that forwards, with rules created by nft and iptables.

use std::fs;
use std::process::Command;

use xshield_host::linux::forwarding::{Forwarding, Translations};

use crate::world::{in_own_network, nft, run};

/// A bridge with a container, and a network card.
fn network() {
    run("ip", &["link", "add", "docker0", "type", "bridge"]);
    run("ip", &["link", "add", "veth7", "type", "veth", "peer", "name", "inside"]);
    run("ip", &["link", "set", "veth7", "master", "docker0"]);
    run("ip", &["link", "set", "docker0", "up"]);
    run("ip", &["link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]);
}

#[test]
fn a_host_without_forwarding_is_not_inspected() {
    in_own_network(|| {
        network();
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        nft("table ip nat { chain pre { type nat hook prerouting priority -100;
             tcp dport 18080 dnat to 172.17.0.2:80; }
             }");
        let found = Forwarding::inspect().unwrap();
        assert_eq!(found, Forwarding::default());
        assert!(!found.serves_others());
    });
}

#[test]
fn published_ports_and_inner_networks_are_found() {
    in_own_network(|| {
        network();
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let found = Forwarding::inspect().unwrap();
        let inner: Vec<String> = found.interfaces.inner.iter().map(ToString::to_string).collect();
        assert_eq!(inner, ["docker0", "inside"]);
        assert!(found.serves_others() && found.translations.is_empty(), "{found}");

        nft("table inet others {
               chain pre { type nat hook prerouting priority -100;
                 tcp dport 18080 dnat ip to 172.17.0.2:80
                 udp dport 5000-5010 dnat ip to 172.17.0.2
                 tcp dport 2222 redirect to :22
                 ip daddr 10.96.0.1 dnat ip to 172.17.0.9; }
               chain post { type nat hook postrouting priority 100; masquerade; }
             }");
        let found = Forwarding::inspect().unwrap();
        let published = found.translations.of(6, 18080).unwrap();
        assert_eq!(published.place, "table inet others, chain pre");
        assert!(found.translations.of(17, 5005).is_some());
        for (protocol, port) in [(17, 18080), (6, 18081), (6, 2222), (6, 22), (17, 4999)] {
            assert_eq!(found.translations.of(protocol, port), None, "{protocol}/{port}");
        }
        let text = found.to_string();
        assert!(text.starts_with("IPv4") && text.contains("docker0"), "{text}");
        assert!(text.contains("2 published ports: tcp/18080, udp/5000-5010"), "{text}");
    });
}

#[test]
fn rules_of_iptables_are_read() {
    in_own_network(|| {
        if Command::new("iptables-nft").arg("-V").output().is_err() {
            eprintln!("SKIPPED: iptables is not installed; run: apt-get install -y iptables");
            return;
        }
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        for (protocol, port) in [("tcp", "18080"), ("udp", "5000:5010")] {
            let to = ["-j", "DNAT", "--to-destination", "172.17.0.2:80"];
            let rule = ["-t", "nat", "-A", "PREROUTING", "-p", protocol, "--dport", port];
            run("iptables-nft", &[&rule[..], &to[..]].concat());
        }
        let found = Forwarding::inspect().unwrap().translations;
        let place = &found.of(6, 18080).unwrap().place;
        assert_eq!(place, "table ip nat, chain PREROUTING");
        assert!(found.of(17, 5010).is_some() && found.of(17, 5011).is_none(), "{found:?}");
    });
}

/// Redirections, and whose packets reach them: directly, by a jump, by a chain that both reach.
#[test]
fn translations_name_whose_packets_they_concern() {
    in_own_network(|| {
        nft("table inet others {
               chain shared { tcp dport 8443 dnat ip to 172.17.0.9:443; }
               chain mesh { meta l4proto tcp redirect to :15001; }
               chain pre { type nat hook prerouting priority -100;
                 tcp dport 80 redirect to :8080
                 jump shared; }
               chain out { type nat hook output priority -100;
                 udp dport 53 redirect to :5353
                 jump mesh
                 jump shared; }
             }");
        let found = Translations::read().unwrap();
        let place = |found: Option<&xshield_host::linux::forwarding::Translation>| {
            found.and_then(|rule| rule.place.rsplit_once(' ')).map(|(_, chain)| chain.to_owned())
        };
        let cases = [
            (6, 80, None, Some("pre"), Some("mesh")),
            (6, 8443, Some("shared"), None, Some("mesh")),
            (17, 53, None, None, Some("out")),
            (17, 54, None, None, None),
        ];
        for (protocol, port, published, redirected, own) in cases {
            assert_eq!(place(found.of(protocol, port)).as_deref(), published, "{protocol}/{port}");
            let seen = place(found.redirecting(protocol, port));
            assert_eq!(seen.as_deref(), redirected, "{protocol}/{port}");
            assert_eq!(place(found.of_own(protocol, port)).as_deref(), own, "{protocol}/{port}");
        }
        nft("flush table inet others");
        if Command::new("iptables-nft").arg("-V").output().is_err() {
            eprintln!("SKIPPED: iptables is not installed; run: apt-get install -y iptables");
            return;
        }
        let to = ["-j", "REDIRECT", "--to-ports", "9040"];
        for (chain, port) in [("OUTPUT", "443"), ("PREROUTING", "80")] {
            let rule = ["-t", "nat", "-A", chain, "-p", "tcp", "--dport", port];
            run("iptables-nft", &[&rule[..], &to[..]].concat());
        }
        let found = Translations::read().unwrap();
        assert_eq!(place(found.of_own(6, 443)).as_deref(), Some("OUTPUT"));
        assert_eq!(found.of_own(6, 80), None);
        assert_eq!(place(found.redirecting(6, 80)).as_deref(), Some("PREROUTING"));
    });
}
