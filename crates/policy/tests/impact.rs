//! Compares the impact of a policy change with what happens to packets afterwards.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use xshield_policy::document::{Policy, parse};
use xshield_policy::inventory::{Asset, Inventory, Source};
use xshield_policy::names::Name;
use xshield_policy::packet::Transport;
use xshield_policy::{
    Compiler, Direction, Facts, ForwardedPacket, Impact, LocalProgram, Owner, Packet, Passage,
    Revision, Verdict, decide, decide_forwarded,
};

const NAMES: [&str; 4] = ["web-1", "web-2", "db-1", "lone"];

fn inventory() -> Inventory {
    let asset = |(at, name): (usize, &&str)| Asset {
        id: format!("as-{at}").parse().unwrap(),
        name: name.parse().unwrap(),
        tags: [(
            "role".parse().unwrap(),
            name.split('-').next().unwrap().to_owned().try_into().unwrap(),
        )]
        .into(),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(at).unwrap()))],
        os: "debian 12".to_owned(),
        source: Source::Spark,
    };
    Inventory { assets: NAMES.iter().enumerate().map(asset).collect() }
}

fn policy(text: &str) -> Policy {
    Policy::build(parse(text, "t.yaml").unwrap()).unwrap()
}

fn impact(before: &Policy, after: &Policy) -> Impact {
    let inventory = inventory();
    let compiler = |policy| Compiler::new(policy, &inventory, Revision(1), &[]);
    Impact::between(&compiler(before), &compiler(after)).unwrap()
}

fn names(set: &BTreeSet<Name>) -> String {
    set.iter().map(Name::as_str).collect::<Vec<_>>().join(" ")
}

/// An impact without the assets that remain without management, one entry per line.
fn lines(impact: &Impact) -> Vec<String> {
    let mut lines = Vec::new();
    for direction in Direction::BOTH {
        let of = impact.direction(direction);
        for (what, assets) in [
            ("loses", &of.lose_protection),
            ("gains", &of.gain_protection),
            ("opens", &of.allow_more),
            ("closes", &of.allow_less),
        ] {
            if !assets.is_empty() {
                lines.push(format!("{direction} {what}: {}", names(assets)));
            }
        }
        for change in &of.levels {
            let assets = names(&change.assets);
            lines.push(format!("{direction} {} -> {}: {assets}", change.from, change.to));
        }
    }
    for (what, assets) in
        [("leaves", &impact.leave_all_segments), ("unmanaged", &impact.lose_management)]
    {
        if !assets.is_empty() {
            lines.push(format!("{what}: {}", names(assets)));
        }
    }
    lines.extend(impact.management_removed.iter().map(|rule| format!("removed: {rule}")));
    lines
}

const MANAGED: &str = "settings: { management: [{ from: [10.9.0.0/24], services: [tcp/22] }] }";

fn web(stance: &str) -> String {
    format!("segment: {{ name: web, criteria: role = 'web', {stance} }}\n---\n{MANAGED}")
}

const CLOSED: &str = "inbound: { level: secure-all-ports, mode: enforce }";

#[test]
fn changes_are_reported() {
    let rules = |rules: &str| {
        format!(
            "{}\n---\ntemplate: {{ name: t, action: allow, {rules} }}",
            web(&format!("templates: [t], {CLOSED}"))
        )
    };
    let blocks = |services: &str| {
        format!(
            "{}\n---\ntemplate: {{ name: t, action: block, outbound: [{{ to: [internet], services: [{services}] }}] }}",
            web("templates: [t]")
        )
    };
    let both = "web-1 web-2";
    for (before, after, told) in [
        ("settings: {}".to_owned(), "settings: {}".to_owned(), vec![]),
        // The wrong directory.
        (
            web(CLOSED),
            "network: { name: n, cidrs: [10.0.0.0/8] }".to_owned(),
            vec![
                format!("inbound loses: {both}"),
                format!("inbound secure-all-ports (enforce) -> unsecured: {both}"),
                format!("leaves: {both}"),
                "removed: 10.9.0.0/24 tcp/22".to_owned(),
            ],
        ),
        (
            web(CLOSED),
            web(&CLOSED.replace("enforce", "test")),
            vec![
                format!("inbound loses: {both}"),
                format!("inbound secure-all-ports (enforce) -> secure-all-ports (test): {both}"),
            ],
        ),
        (
            web(&CLOSED.replace("enforce", "test")),
            web(CLOSED),
            vec![
                format!("inbound gains: {both}"),
                format!("inbound secure-all-ports (test) -> secure-all-ports (enforce): {both}"),
            ],
        ),
        (
            web(CLOSED),
            web("inbound: { level: secure-internet-ports, mode: enforce, test: secure-all-ports }"),
            vec![
                format!("inbound loses: {both}"),
                format!(
                    "inbound secure-all-ports (enforce) -> secure-internet-ports (enforce), \
                     secure-all-ports (test): {both}"
                ),
            ],
        ),
        // No one can log in any more.
        (
            "settings: {}".to_owned(),
            format!("segment: {{ name: web, criteria: role = 'web', {CLOSED} }}"),
            vec![
                format!("inbound gains: {both}"),
                format!("inbound unsecured -> secure-all-ports (enforce): {both}"),
                format!("unmanaged: {both}"),
            ],
        ),
        // Rules.
        (
            rules("ports: [{ from: [10.0.0.0/24], services: [tcp/80] }]"),
            rules("ports: [{ from: [10.0.0.0/25, 10.0.0.128/25], services: [tcp/80-80] }]"),
            vec![],
        ),
        (
            rules("ports: [{ from: [10.0.0.0/24], services: [tcp/80] }]"),
            rules("ports: [{ from: [10.0.0.0/24], services: [tcp/80-81] }]"),
            vec![format!("inbound opens: {both}")],
        ),
        (
            rules("ports: [{ from: [any], services: [tcp/80] }]"),
            rules("inbound: [{ from: [any], services: [tcp/80], process: nginx }]"),
            vec![format!("inbound closes: {both}")],
        ),
        (blocks("tcp/25, udp/53"), blocks("udp/53"), vec![format!("outbound loses: {both}")]),
        // What a level leaves open need not be allowed.
        (
            web("inbound: { level: secure-internet-ports, mode: enforce }"),
            rules("ports: [{ from: [intranet], services: [any] }]"),
            vec![
                format!("inbound gains: {both}"),
                format!(
                    "inbound secure-internet-ports (enforce) -> secure-all-ports (enforce): {both}"
                ),
            ],
        ),
        (
            web(&format!("{CLOSED}, forwarded: everything")),
            web(&format!("{CLOSED}, forwarded: published-ports")),
            vec![format!("inbound loses: {both}")],
        ),
    ] {
        let impact = impact(&policy(&before), &policy(&after));
        assert_eq!(lines(&impact), told, "{before}\n=>\n{after}");
        assert_eq!(impact.is_none(), told.is_empty());
        let loss = [" loses:", "leaves:", "unmanaged:", "removed:"];
        let is_loss = told.iter().any(|line| loss.iter().any(|word| line.contains(word)));
        assert_eq!(impact.is_loss(), is_loss, "{told:?}");
    }
}

#[test]
fn who_can_manage_an_asset() {
    let with = |rules: &str| {
        format!(
            "segment: {{ name: web, criteria: role = 'web', templates: [t], {CLOSED} }}\n---\n\
             template: {{ name: t, action: allow, ports: [{rules}] }}"
        )
    };
    for (text, managed) in [
        ("settings: {}".to_owned(), true),
        (web(CLOSED), true),
        (with("{ from: [any], services: [tcp/443] }"), false),
        (with("{ from: [10.0.0.0/8], services: [tcp/22] }"), true),
        (with("{ from: [10.0.0.0/8], services: [tcp/1-100] }"), true),
        (with("{ from: [10.0.0.0/8], services: [any] }"), true),
        (with("{ from: [10.0.0.0/8], services: [tcp/5985-5986] }"), true),
        (with("{ from: [10.0.0.0/8], services: [udp/22] }"), false),
        // A segment without assets admits no peer.
        (
            with("{ from: ['segment:none'], services: [tcp/22] }")
                + "\n---\nsegment: { name: none, criteria: role = 'none' }",
            false,
        ),
        ("segment: { name: web, criteria: role = 'web', inbound: { level: secure-internet-ports, mode: enforce } }".to_owned(), true),
        (
            "segment: { name: web, criteria: role = 'web', templates: [t] }\n---\n\
             template: { name: t, action: block, inbound: [{ from: [any], services: [tcp] }] }"
                .to_owned(),
            false,
        ),
    ] {
        let (policy, inventory) = (policy(&text), inventory());
        let compiler = Compiler::new(&policy, &inventory, Revision(1), &[]);
        assert_eq!(compiler.is_managed(&"as-0".parse().unwrap()), Some(managed), "{text}");
        let warned = compiler.warnings().iter().any(|warning| warning.to_string().contains("SSH"));
        assert_eq!(warned, !managed, "{text}");
    }
}

#[test]
fn losing_management_when_a_test_is_enforced_causes_a_warning() {
    let text = format!(
        "segment: {{ name: web, criteria: role = 'web', {} }}",
        CLOSED.replace("enforce", "test")
    );
    let (policy, inventory) = (policy(&text), inventory());
    let compiler = Compiler::new(&policy, &inventory, Revision(1), &[]);
    let warnings: Vec<String> = compiler.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("asset web-1 and 1 more: what is in mode 'test'"));
    assert_eq!(compiler.is_managed(&"as-0".parse().unwrap()), Some(true), "not yet");
}

/// A policy as text: any combination of levels, modes, rules, settings.
fn any_policy() -> impl Strategy<Value = String> {
    let peers = [
        "any",
        "intranet",
        "internet",
        "segment:a",
        "asset:db-1",
        "10.0.0.0/30",
        "10.0.0.2",
        "8.0.0.0/8",
        "domain:x.example",
        "network:n",
    ];
    let services =
        ["any", "tcp", "tcp/1-2", "tcp/2", "tcp/22", "udp/2", "icmp", "icmp/echo-request", "gre"];
    let picked = |from: &'static [&'static str], at: std::ops::Range<usize>| {
        vec(prop::sample::select(from), at).prop_map(|texts| texts.join(", "))
    };
    let peers: &'static [&'static str] = Vec::leak(peers.to_vec());
    let services: &'static [&'static str] = Vec::leak(services.to_vec());
    let rule = move |key: &'static str| {
        (picked(peers, 1..3), picked(services, 1..3), any::<bool>()).prop_map(
            move |(peers, services, process)| {
                let process = if process { ", process: /bin/p" } else { "" };
                format!(
                    "{{ {key}: [{}], services: [{services}]{process} }}",
                    peers.replace("segment:a", "'segment:a'").replace("asset:db-1", "'asset:db-1'")
                )
            },
        )
    };
    let template =
        (any::<bool>(), vec(rule("from"), 1..3), vec(rule("from"), 0..2), vec(rule("to"), 0..3))
            .prop_map(|(allow, ports, inbound, outbound)| {
                let list = |name: &str, rules: Vec<String>| match rules.is_empty() {
                    true => String::new(),
                    false => format!(", {name}: [{}]", rules.join(", ")),
                };
                let action = if allow { "allow" } else { "block" };
                format!(
                    "action: {action}{}{}{}",
                    list("ports", ports),
                    list("inbound", inbound),
                    list("outbound", outbound)
                )
            });
    let inbound = prop::sample::select(
        &[
            "",
            ", inbound: { level: unsecured, mode: enforce }",
            ", inbound: { level: secure-internet-ports, mode: enforce }",
            ", inbound: { level: secure-all-ports, mode: enforce }",
            ", inbound: { level: secure-inbound-paths, mode: enforce }",
            ", inbound: { level: secure-all-ports, mode: test }",
        ][..],
    );
    let outbound = prop::sample::select(
        &[
            "",
            ", outbound: { level: secure-internet-paths, mode: enforce }",
            ", outbound: { level: secure-intranet-paths, mode: enforce }",
            ", outbound: { level: secure-intranet-paths, mode: test }",
        ][..],
    );
    let forwarded =
        prop::sample::select(&["", ", forwarded: published-ports", ", forwarded: everything"][..]);
    let criteria = prop::sample::select(&["role = 'web'", "role != 'none'", "role = 'db'"][..]);
    let templates = prop::sample::subsequence(vec!["s", "t"], 0..=2);
    let segment = (criteria, templates, inbound, outbound, forwarded).prop_map(
        |(criteria, templates, inbound, outbound, forwarded)| {
            format!(
                "criteria: {criteria}, templates: [{}]{inbound}{outbound}{forwarded}",
                templates.join(", ")
            )
        },
    );
    let settings = prop::sample::select(
        &["", "\n---\nsettings: { management: [{ from: [10.0.0.2], services: [tcp/2] }] }"][..],
    );
    let network = prop::sample::select(
        &[
            "cidrs: [8.8.0.0/16]",
            "cidrs: [8.8.0.0/16], intranet: true",
            "domains: [x.example], intranet: true",
        ][..],
    );
    ((segment.clone(), segment), (template.clone(), template), settings, network).prop_map(
        |((a, b), (s, t), settings, network)| {
            format!(
                "segment: {{ name: a, {a} }}\n---\nsegment: {{ name: b, {b} }}\n---\n\
                 template: {{ name: s, {s} }}\n---\ntemplate: {{ name: t, {t} }}\n---\n\
                 network: {{ name: n, {network} }}{settings}"
            )
        },
    )
}

fn packets() -> impl Strategy<Value = Packet> {
    let peers = ["10.0.0.0", "10.0.0.2", "10.0.0.9", "8.8.8.8", "9.9.9.9", "2001:db8::1"];
    let transport = prop_oneof![
        prop::sample::select(vec![1u16, 2, 3, 22]).prop_map(|port| Transport::Tcp(9, port)),
        (1u16..4).prop_map(|port| Transport::Udp(9, port)),
        prop::sample::select(vec![8u8, 128]).prop_map(Transport::Icmp),
        prop::sample::select(vec![47u8, 112]).prop_map(Transport::Other),
    ];
    let direction = prop::sample::select(Direction::BOTH.to_vec());
    let owners = prop::sample::select(vec![None, Some(Owner::Uid(7))]);
    (direction, prop::sample::select(peers.to_vec()), transport, owners).prop_map(
        |(direction, peer, transport, owner)| Packet {
            direction,
            peer: peer.parse().unwrap(),
            local: None,
            transport,
            loopback: false,
            owners: owner.into_iter().collect(),
        },
    )
}

/// A host's facts: a domain's address, and where a program listens.
fn facts() -> Facts {
    let program: LocalProgram =
        xshield_policy::ProcessMatch::try_from("/bin/p".to_owned()).unwrap().into();
    let listens = |protocol, port| xshield_policy::facts::Listener { protocol, port };
    Facts {
        domains: BTreeMap::from([("x.example".parse().unwrap(), vec!["9.9.9.9".parse().unwrap()])]),
        listeners: BTreeMap::from([(
            program.clone(),
            vec![
                listens(xshield_policy::Protocol::Tcp, 2),
                listens(xshield_policy::Protocol::Udp, 2),
            ],
        )]),
        owners: BTreeMap::from([(program, Ok(vec![Owner::Uid(7)]))]),
        resolvers: vec!["10.0.0.53".parse().unwrap()],
        ..Facts::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// If a flow is no longer denied, its asset is listed as losing protection or allowing more; if it is
    /// newly denied, as gaining protection or allowing less.
    #[test]
    fn every_changed_verdict_is_in_the_impact(
        (before, after) in (any_policy(), any_policy()),
        packets in vec(packets(), 40),
    ) {
        let (before, after) = (policy(&before), policy(&after));
        let told = impact(&before, &after);
        let (inventory, facts) = (inventory(), facts());
        for asset in &inventory.assets {
            let bound = |policy: &Policy| {
                let compiler = Compiler::new(policy, &inventory, Revision(1), &[]);
                compiler.ruleset(&asset.id).map(|ruleset| ruleset.bind(&facts).0)
            };
            // A block rule may block management: such a policy is refused.
            let (Ok(was), Ok(is)) = (bound(&before), bound(&after)) else { continue };
            for packet in &packets {
                let mut fates = vec![(decide(&was, packet), decide(&is, packet))];
                fates.extend(Passage::BOTH.map(|passage| {
                    let forwarded = ForwardedPacket { packet: packet.clone(), passage };
                    (decide_forwarded(&was, &forwarded), decide_forwarded(&is, &forwarded))
                }));
                let of = told.direction(packet.direction);
                for (was, is) in fates {
                    let denied = (was.verdict == Verdict::Deny, is.verdict == Verdict::Deny);
                    let said = match denied {
                        (true, false) => of.lose_protection.contains(&asset.name) || of.allow_more.contains(&asset.name),
                        (false, true) => of.gain_protection.contains(&asset.name) || of.allow_less.contains(&asset.name),
                        _ => true,
                    };
                    prop_assert!(said, "{} {packet}: {was:?} -> {is:?}\n{:?}", asset.name, lines(&told));
                }
            }
        }
    }

    /// The reverse change has the opposite impact, and no change has none.
    #[test]
    fn the_impact_of_reverting_is_the_opposite((before, after) in (any_policy(), any_policy())) {
        let (before, after) = (policy(&before), policy(&after));
        let (there, back) = (impact(&before, &after), impact(&after, &before));
        for direction in Direction::BOTH {
            let (there, back) = (there.direction(direction), back.direction(direction));
            prop_assert_eq!(&there.lose_protection, &back.gain_protection);
            prop_assert_eq!(&there.gain_protection, &back.lose_protection);
            prop_assert_eq!(&there.allow_more, &back.allow_less);
            prop_assert_eq!(&there.allow_less, &back.allow_more);
            let turned: BTreeSet<_> = back.levels.iter().map(|c| (c.to, c.from, c.assets.clone())).collect();
            let levels: BTreeSet<_> = there.levels.iter().map(|c| (c.from, c.to, c.assets.clone())).collect();
            prop_assert_eq!(levels, turned);
        }
        prop_assert!(impact(&before, &before).is_none());
        prop_assert!(there.lose_management.is_subset(&there.without_management));
    }
}
