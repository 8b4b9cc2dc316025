//! The measured rules: one list, written for Xshield, for `nft` and for iptables.
//!
//! The mixture resembles that of a large number of servers: eight of ten rules name a host and a port, three
//! of twenty a network and a range of ports, one of twenty a port that anyone may reach.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use serde_json::json;
use xshield_policy::{
    AddressMatch, Bound, BoundDirection, BoundFailsafe, BoundForwarded, BoundRule, BoundStance,
    PortRange, Ports, RangeSet, Revision, Service,
};

/// Transport protocols that the measurements use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Allows `from` to reach the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    from: Ipv4Net,
    protocol: Protocol,
    ports: (u16, u16),
}

/// The shapes of rules, and the port by which each is measured. No other rule uses these ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One address, one port.
    Host,
    /// A network, a range of ports.
    Box,
    /// Any address, one port.
    Port,
}

impl Shape {
    pub(super) const ALL: [Self; 3] = [Self::Host, Self::Box, Self::Port];

    /// The destination port of the traffic.
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Host => 61_000,
            Self::Box => 61_105,
            Self::Port => 61_200,
        }
    }

    /// The rule that allows `client`.
    pub(super) fn rule(self, client: Ipv4Addr, protocol: Protocol) -> Rule {
        let (from, ports) = match self {
            Self::Host => (Ipv4Net::from(client), (self.port(), self.port())),
            Self::Box => (net(u32::from(client), 24), (61_100, 61_109)),
            Self::Port => (Ipv4Net::default(), (self.port(), self.port())),
        };
        Rule { from, protocol, ports }
    }
}

/// A port that no rule allows.
pub(super) const CLOSED: u16 = 61_300;

/// `count` rules. The last six, three shapes for two protocols, allow `client`; no other one matches its
/// packets. Lists with different `seed`s have no other rule in common.
pub(super) fn rules(count: usize, seed: u32, client: Ipv4Addr) -> Vec<Rule> {
    let measured = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .flat_map(|protocol| Shape::ALL.map(|shape| shape.rule(client, protocol)));
    let fillers = count.saturating_sub(measured.clone().count());
    (0..).map(|index| filler(index, seed)).take(fillers).chain(measured).collect()
}

fn filler(index: u32, seed: u32) -> Rule {
    let protocol = if index.is_multiple_of(2) { Protocol::Tcp } else { Protocol::Udp };
    // Distinct pseudo-random numbers: multiplication by an odd number is a permutation modulo 2^n.
    let spread = |bits: u32, factor: u32| (index * 2 + seed % 2).wrapping_mul(factor) % (1 << bits);
    let port = |first: u32, number: u32| first + number % (60_000 - first);
    let (from, ports) = match index % 20 {
        // 10.128.0.0/10
        0..16 => {
            let port = port(1024, spread(16, 40_503));
            (net(0x0a80_0000 + spread(22, 2_654_435_761), 32), (port, port))
        }
        // 172.16.0.0/12
        16..19 => {
            let first = port(1024, spread(16, 25_033));
            let length = 20 + u8::try_from(index / 20 % 9).unwrap_or(0);
            let from = net(0xac10_0000 + (spread(20, 668_265_261)), length);
            (from, (first, (first + spread(10, 12_345)).min(60_000)))
        }
        _ => {
            let port = 1 + spread(15, 20_021);
            (Ipv4Net::default(), (port, port))
        }
    };
    let narrow = |port: u32| u16::try_from(port).unwrap_or(u16::MAX);
    Rule { from, protocol, ports: (narrow(ports.0), narrow(ports.1)) }
}

fn net(address: u32, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address.into(), length).trunc()
}

/// The rules as input of Xshield's firewall, as JSON: nothing else is allowed inbound, everything outbound.
pub(super) fn bound(rules: &[Rule], revision: u64) -> Result<String> {
    let bound_rule = |(index, rule): (usize, &Rule)| -> Result<BoundRule> {
        let ports =
            PortRange::new(rule.ports.0, rule.ports.1).context("the port range is reversed")?;
        let service = match rule.protocol {
            Protocol::Tcp => Service::Tcp(Ports::Range(ports)),
            Protocol::Udp => Service::Udp(Ports::Range(ports)),
        };
        let peers = match rule.from.prefix_len() {
            0 => AddressMatch::Any,
            _ => AddressMatch::Only([ipnet::IpNet::from(rule.from)].into_iter().collect()),
        };
        let id = format!("bench/r{index}").parse()?;
        Ok(BoundRule { id, peers, services: vec![service], owner: None })
    };
    let allows = rules.iter().enumerate().map(bound_rule).collect::<Result<_>>()?;
    let inbound = BoundStance { allows, ..BoundStance::closed() };
    let bound = Bound {
        revision: Revision(revision),
        failsafe: BoundFailsafe {
            endpoints: Vec::new(),
            resolvers: AddressMatch::Any,
            time_servers: xshield_policy::RangeSet::empty(),
            time_key_servers: xshield_policy::RangeSet::empty(),
            management: Vec::new(),
            served: Vec::new(),
        },
        intranet: RangeSet::empty(),
        inbound: BoundDirection::enforcing(inbound),
        outbound: BoundDirection::enforcing(BoundStance::open()),
        forwarded: BoundForwarded::default(),
    };
    Ok(json!(bound).to_string())
}

/// The rules as input of `nft -f`, replacing the previous ones.
pub(super) fn nft_lines(rules: &[Rule]) -> String {
    let mut text = String::from(
        "table inet lines\ndelete table inet lines\ntable inet lines {\n chain input {\n  \
         type filter hook input priority 0; policy drop;\n",
    );
    for rule in rules {
        let from = match rule.from.prefix_len() {
            0 => String::new(),
            _ => format!("ip saddr {} ", rule.from),
        };
        let protocol = rule.protocol.name();
        let _infallible =
            writeln!(text, "  {from}{protocol} dport {} counter accept", ports(rule, '-'));
    }
    text + " }\n}\n"
}

/// The rules as input of `iptables-restore`.
pub(super) fn iptables_lines(rules: &[Rule]) -> String {
    let mut text =
        String::from("*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n");
    for rule in rules {
        let from = match rule.from.prefix_len() {
            0 => String::new(),
            _ => format!("-s {} ", rule.from),
        };
        let protocol = rule.protocol.name();
        let ports = ports(rule, ':');
        let _infallible =
            writeln!(text, "-A INPUT {from}-p {protocol} -m {protocol} --dport {ports} -j ACCEPT");
    }
    text + "COMMIT\n"
}

fn ports(rule: &Rule, between: char) -> String {
    match rule.ports {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}{between}{last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

    #[test]
    fn rule_sets_share_only_the_measured_rules() {
        let sets = [0, 1].map(|seed| rules(10_000, seed, CLIENT));
        let sets = sets.map(|rules| rules.into_iter().collect::<BTreeSet<_>>());
        assert_eq!(sets.each_ref().map(BTreeSet::len), [10_000; 2]);
        assert_eq!(sets[0].intersection(&sets[1]).count(), 6, "the measured ones alone");
    }

    #[test]
    fn only_the_last_rules_match_the_client() {
        for seed in [0, 1] {
            let rules = rules(10_000, seed, CLIENT);
            let matches = |rule: &&Rule, port: u16| {
                rule.from.contains(&CLIENT) && (rule.ports.0..=rule.ports.1).contains(&port)
            };
            for port in Shape::ALL.map(Shape::port) {
                assert_eq!(rules[..9994].iter().filter(|rule| matches(rule, port)).count(), 0);
                assert_eq!(rules[9994..].iter().filter(|rule| matches(rule, port)).count(), 2);
            }
            assert!(rules.iter().all(|rule| !matches(&rule, CLOSED)));
        }
    }

    #[test]
    fn lines() {
        let rules = Shape::ALL.map(|shape| shape.rule(CLIENT, Protocol::Udp));
        let nft = nft_lines(&rules);
        for line in [
            "  ip saddr 10.77.0.11/32 udp dport 61000 counter accept\n",
            "  ip saddr 10.77.0.0/24 udp dport 61100-61109 counter accept\n",
            "  udp dport 61200 counter accept\n",
        ] {
            assert!(nft.contains(line), "{nft}");
        }
        let iptables = iptables_lines(&rules);
        for line in [
            "-A INPUT -s 10.77.0.11/32 -p udp -m udp --dport 61000 -j ACCEPT\n",
            "-A INPUT -s 10.77.0.0/24 -p udp -m udp --dport 61100:61109 -j ACCEPT\n",
            "-A INPUT -p udp -m udp --dport 61200 -j ACCEPT\n",
        ] {
            assert!(iptables.contains(line), "{iptables}");
        }
    }
}
