//! Assets as peers of other assets' rules, with the addresses that the platform has accepted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use xshield_policy::document::{self, Policy};
use xshield_policy::inventory::{Asset, Inventory, Source};
use xshield_policy::{Compiler, Peer, Peers, Revision};

/// `name address,address role` a line.
fn inventory(lines: &str) -> Inventory {
    let assets = lines.trim().lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Asset {
            id: format!("id-{}", words[0]).try_into().unwrap(),
            name: words[0].parse().unwrap(),
            addresses: words[1].split(',').map(|a| a.parse().unwrap()).collect(),
            tags: [("role".parse().unwrap(), words[2].to_owned().try_into().unwrap())].into(),
            os: "debian 12".to_owned(),
            source: Source::Spark,
        }
    });
    Inventory { assets: assets.collect() }
}

fn policy(yaml: &str) -> Policy {
    Policy::build(document::parse(yaml, "test.yaml").unwrap()).unwrap()
}

const QUARANTINE: &str = "
segment: { name: quarantine, criteria: role = 'bad' }
---
segment: { name: all, criteria: role = 'good', templates: [no-quarantine] }
---
template:
  name: no-quarantine
  action: block
  inbound: [{ name: from, from: ['segment:quarantine'], services: [any] }]
  outbound: [{ name: to, to: ['asset:bad'], services: [any] }]
---
settings:
  management:
    - { from: [10.9.9.9, 10.8.0.0/16], services: [tcp/22] }
";

#[test]
fn addresses_of_one_host_cannot_block_a_commit_or_the_failsafe() {
    let platform: [SocketAddr; 1] = ["10.0.0.9:8443".parse().unwrap()];
    // The host claims the platform's address, a management address, and is in a management network.
    let inventory = inventory("bad 10.1.0.1,10.0.0.9,10.9.9.9,10.8.0.1 bad\ngood 10.1.0.2 good");
    let policy = policy(QUARANTINE);
    let compiler = Compiler::new(&policy, &inventory, Revision(1), &platform);
    let ruleset = compiler.ruleset(&"id-good".parse().unwrap()).unwrap();
    let blocked = |rules: &[xshield_policy::Rule]| -> Vec<String> {
        let Peers::Listed(listed) = &rules[0].peers else { panic!("{rules:?}") };
        let net = |peer: &Peer| match peer {
            Peer::Net(net) => net.to_string(),
            other => panic!("{other:?}"),
        };
        listed.iter().map(net).collect()
    };
    let left = ["10.1.0.1/32", "10.8.0.1/32"];
    assert_eq!(
        blocked(&ruleset.inbound.enforced.blocks),
        left,
        "a wide management network stays blocked"
    );
    assert_eq!(blocked(&ruleset.outbound.enforced.blocks), left);
    let warnings: Vec<String> = compiler.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 4, "each rule and address is named: {warnings:?}");
    assert!(
        warnings[0].starts_with(
            "rule no-quarantine/from does not block asset bad at 10.0.0.9: that is the address of \
             the platform"
        ),
        "{warnings:?}"
    );
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("10.9.9.9: that is the address of management"))
    );
}

#[test]
fn a_policy_lists_the_asset_names_that_it_uses() {
    let policy = policy(
        "
asset: { name: db-1, inbound: { level: secure-all-ports, mode: enforce } }
---
segment: { name: s, criteria: \"role = 'x' and not (asset.name in ('web-1', 'web-2'))\" }
---
template:
  name: t
  action: allow
  ports: [{ name: a, from: ['asset:bastion'], services: [tcp/22] }]
  outbound: [{ name: b, to: ['asset:mail'], services: [tcp/25] }]
",
    );
    for (name, named) in [
        ("db-1", true),
        ("web-1", true),
        ("web-2", true),
        ("bastion", true),
        ("mail", true),
        ("web", false),
        ("x", false),
        ("s", false),
    ] {
        assert_eq!(policy.names_asset(&name.parse().unwrap()), named, "{name}");
    }
}
#[test]
fn claimed_addresses_are_accepted_in_private_or_configured_networks() {
    let nets = |yaml: &str| -> Vec<String> {
        policy(yaml).settings().address_networks().iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        nets("settings: { management: [{ from: [10.0.0.1], services: [tcp/22] }] }"),
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
    );
    let named = "settings: { addresses: [10.1.0.0/16, '2001:db8::/32'] }";
    assert_eq!(nets(named), ["10.1.0.0/16", "2001:db8::/32"]);
}
