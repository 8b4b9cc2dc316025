//! A short notation for bound rulesets.

use xshield_policy::{
    AddressMatch, Bound, BoundDirection, BoundFailsafe, BoundForwarded, BoundRule, BoundStance,
    Revision, Service, Subject,
};

/// Nothing is closed.
pub(crate) fn open() -> BoundDirection {
    BoundDirection::enforcing(BoundStance::open())
}

/// Everything is closed except what these rules allow.
pub(crate) fn closed(allows: &[&str]) -> BoundDirection {
    BoundDirection::enforcing(BoundStance { allows: rules(allows), ..BoundStance::closed() })
}

/// `id services peers`, both lists comma-separated; peers may be `any`.
pub(crate) fn rules(lines: &[&str]) -> Vec<BoundRule> {
    let rule = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let peers = match words[2] {
            "any" => AddressMatch::Any,
            nets => AddressMatch::Only(
                nets.split(',').map(|net| net.parse::<ipnet::IpNet>().unwrap()).collect(),
            ),
        };
        let services = words[1].split(',').map(|s| s.parse::<Service>().unwrap()).collect();
        BoundRule { id: words[0].parse().unwrap(), peers, services, owner: None }
    };
    lines.iter().map(rule).collect()
}

pub(crate) fn bound(revision: u64, inbound: BoundDirection, outbound: BoundDirection) -> Bound {
    Bound {
        revision: Revision(revision),
        failsafe: BoundFailsafe {
            endpoints: vec!["192.0.2.1:443".parse().unwrap()],
            resolvers: AddressMatch::Only(
                ["192.0.2.53/32".parse::<ipnet::IpNet>().unwrap()].into_iter().collect(),
            ),
            time_servers: xshield_policy::RangeSet::empty(),
            time_key_servers: xshield_policy::RangeSet::empty(),
            management: Vec::new(),
            served: Vec::new(),
        },
        intranet: ["10.0.0.0/8".parse::<ipnet::IpNet>().unwrap(), "fd00::/8".parse().unwrap()]
            .into_iter()
            .collect(),
        inbound,
        outbound,
        forwarded: BoundForwarded::default(),
    }
}

/// Rules of all kinds.
pub(crate) fn varied(revision: u64) -> Bound {
    let mut inbound = closed(&[
        "web/https tcp/443 any",
        "web/admin tcp/22,tcp/8000-8010 10.0.1.0/24,10.0.2.7/32,fd00:1::/64",
        "web/ping icmp/echo-request any",
        "app/all any 10.9.0.0/16",
        "app/udp udp 10.0.3.1/32",
        "app/host tcp/5432,udp/514 10.0.4.1/32,10.0.4.9/32,fd00::9/128",
    ]);
    inbound.enforced.blocks = rules(&["bad/net any 10.66.0.0/16", "bad/host tcp/443 10.0.4.1/32"]);
    let mut outbound =
        closed(&["out/dns udp/53 10.0.0.53/32", "out/web tcp/80,tcp/443 any"]).enforced;
    outbound.subject = Subject::Internet;
    outbound.allows[1].owner = Some(xshield_policy::Owner::Uid(33));
    bound(revision, inbound, BoundDirection::testing(outbound))
}

/// So many rules that the plan splits their sets.
pub(crate) fn crowded(revision: u64) -> Bound {
    let rule = |n: u32| {
        let (port, net) = (1000 + n * 7, format!("10.{}.{}.0/24", n % 200, n / 200));
        match n % 8 {
            0 => format!("c/r{n} tcp/{port}-{} {net}", port + 20),
            1 => format!("c/r{n} udp/{port}-{} {net},fd00:{n}::/64", port + 2),
            2 => format!("c/r{n} tcp/{port} any"),
            3 => format!("c/r{n} udp/{port}-{} any", port + 3),
            4 => format!("c/r{n} any {net}"),
            5 => format!("c/r{n} icmp/{} {net}", n % 250),
            _ => format!("c/r{n} tcp/{port} 10.1.{}.7/32", n % 250),
        }
    };
    let lines: Vec<String> = (0..1200).map(rule).collect();
    let inbound = closed(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    bound(revision, inbound, open())
}
