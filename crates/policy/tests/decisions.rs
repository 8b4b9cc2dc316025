//! From documents to verdicts: tables in the rule language.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use xshield_policy::document::{self, Policy};
use xshield_policy::inventory::{Asset, Inventory, Source};
use xshield_policy::{
    Bound, CompileError, Compiler, Facts, Owner, Packet, Reason, Revision, Ruleset, TimeServers,
    Verdict, decide,
};

/// `name address,address key=value …` a line.
fn inventory(lines: &str) -> Inventory {
    let assets = lines.trim().lines().map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        Asset {
            id: format!("id-{name}").try_into().unwrap(),
            name: name.parse().unwrap(),
            addresses: words.next().unwrap().split(',').map(|a| a.parse().unwrap()).collect(),
            tags: words
                .map(|tag| tag.split_once('=').unwrap())
                .map(|(key, value)| (key.parse().unwrap(), value.to_owned().try_into().unwrap()))
                .collect(),
            os: "debian 12".to_owned(),
            source: Source::Spark,
        }
    });
    Inventory { assets: assets.collect() }
}

fn shop() -> Inventory {
    inventory(
        "web 10.77.0.1,fd77::1 app=shop role=web
         app 10.77.0.2,fd77::2 app=shop role=app
         db  10.77.0.3 app=shop role=db",
    )
}

const PLATFORM: &str = "10.77.0.9:8443";

fn try_compile(yaml: &str, asset: &str) -> Result<Ruleset, CompileError> {
    let policy = Policy::build(document::parse(yaml, "test.yaml").unwrap()).unwrap();
    let platform: [SocketAddr; 1] = [PLATFORM.parse().unwrap()];
    let inventory = shop();
    let compiler = Compiler::new(&policy, &inventory, Revision(3), &platform);
    compiler.ruleset(&format!("id-{asset}").try_into().unwrap())
}

fn bound(yaml: &str, asset: &str, facts: &Facts) -> Bound {
    try_compile(yaml, asset).unwrap().bind(facts).0
}

/// `packet => verdict reason` per line; prints every wrong line.
fn check(bound: &Bound, table: &str) {
    let mut wrong = String::new();
    let lines: Vec<&str> = table.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(!lines.is_empty());
    for line in lines {
        let (packet, expected) = line.split_once(" => ").unwrap();
        let got = decide(bound, &packet.trim().parse::<Packet>().unwrap());
        let verdict = match got.verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
            Verdict::WouldDeny => "would-deny",
        };
        let reason = match got.reason {
            Reason::Failsafe(kind) => format!("failsafe {kind:?}"),
            Reason::Block(id) | Reason::Allow(id) => id.to_string(),
            Reason::NotSubject => "not-subject".to_owned(),
            Reason::NoRule => "no-rule".to_owned(),
            Reason::LeftAlone => "left-alone".to_owned(),
        };
        let got = format!("{verdict} {reason}");
        if got != expected.trim() {
            wrong.push_str(&format!("{packet}: got {got}, want {expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// A policy in which only the stance of `web` varies.
fn with_stance(inbound: &str, outbound: &str) -> String {
    format!(
        "
segment: {{ name: web, criteria: role = 'web', templates: [web, never],
           inbound: {inbound}, outbound: {outbound} }}
---
segment: {{ name: app, criteria: role = 'app' }}
---
network: {{ name: office, cidrs: [203.0.113.0/24], intranet: true }}
---
template:
  name: web
  action: allow
  ports:
    - {{ name: https, from: [any], services: [tcp/443] }}
  inbound:
    - {{ name: admin, from: [network:office], services: [tcp/22, icmp] }}
  outbound:
    - {{ name: to-app, to: [segment:app], services: [tcp/8080-8090] }}
    - {{ name: repo, to: ['domain:repo.example.com'], services: [tcp/443] }}
---
template:
  name: never
  action: block
  inbound:
    - {{ name: bad, from: [198.51.100.0/24], services: [any] }}
  outbound:
    - {{ name: smtp, to: [internet], services: [tcp/25] }}
---
settings: {{ management: [ {{ from: [10.77.0.8], services: [tcp/22] }} ] }}
"
    )
}

fn facts() -> Facts {
    Facts {
        endpoints: vec!["10.77.0.10:3128".parse().unwrap()],
        resolvers: vec!["10.77.0.53".parse().unwrap()],
        time_servers: TimeServers {
            ntp: vec!["10.77.0.123".parse().unwrap(), "fd77::123".parse().unwrap()],
            nts: vec!["10.77.0.123".parse().unwrap()],
        },
        domains: [("repo.example.com".parse().unwrap(), vec!["93.184.216.34".parse().unwrap()])]
            .into(),
        ..Facts::default()
    }
}

fn web(inbound: &str, outbound: &str) -> Bound {
    let stance = |text: &str| {
        let (level, mode) = text.split_once(' ').unwrap();
        format!("{{ level: {level}, mode: {mode} }}")
    };
    bound(&with_stance(&stance(inbound), &stance(outbound)), "web", &facts())
}

#[test]
fn levels_inbound() {
    check(
        &web("unsecured enforce", "unsecured enforce"),
        "in tcp 10.0.0.5:40000 -> :5432 => allow not-subject
         in tcp 8.8.8.8:40000 -> :5432 => allow not-subject
         in tcp 198.51.100.7:40000 -> :443 => deny never/bad",
    );
    check(
        &web("secure-internet-ports enforce", "unsecured enforce"),
        "in tcp 10.0.0.5:40000 -> :5432 => allow not-subject
         in tcp 203.0.113.5:40000 -> :5432 => allow not-subject
         in tcp 8.8.8.8:40000 -> :5432 => deny no-rule
         in tcp 8.8.8.8:40000 -> :443 => allow web/https
         in tcp [2001:db8::1]:40000 -> :5432 => deny no-rule
         in proto gre 8.8.8.8 => deny no-rule
         in sctp 8.8.8.8:40000 -> :443 => deny no-rule
         in udp 0.0.0.0:68 -> :67 => allow not-subject
         in icmp :: type 200 => allow not-subject
         in udp 0.0.0.1:68 -> :67 => deny no-rule",
    );
    check(
        &web("secure-all-ports enforce", "unsecured enforce"),
        "in tcp 10.0.0.5:40000 -> :5432 => deny no-rule
         in tcp 10.0.0.5:40000 -> :443 => allow web/https
         in tcp [fd00::5]:40000 -> :443 => allow web/https
         in tcp 203.0.113.5:40000 -> :22 => allow web/admin
         in icmp 203.0.113.5 type 8 => allow web/admin
         in icmp 10.0.0.5 type 8 => deny no-rule",
    );
    check(
        &web("secure-inbound-paths enforce", "unsecured enforce"),
        "in tcp 10.0.0.5:40000 -> :443 => deny no-rule
         in tcp 203.0.113.5:40000 -> :22 => allow web/admin
         in tcp 198.51.100.7:40000 -> :22 => deny never/bad",
    );
}

#[test]
fn levels_outbound() {
    check(
        &web("unsecured enforce", "unsecured enforce"),
        "out tcp -> 8.8.8.8:443 => allow not-subject
         out tcp -> 8.8.8.8:25 => deny never/smtp
         out tcp -> 10.0.0.1:25 => allow not-subject",
    );
    check(
        &web("unsecured enforce", "secure-internet-paths enforce"),
        "out tcp -> 8.8.8.8:443 => deny no-rule
         out tcp -> 93.184.216.34:443 => allow web/repo
         out tcp -> 10.0.0.1:443 => allow not-subject",
    );
    check(
        &web("unsecured enforce", "secure-intranet-paths enforce"),
        "out tcp -> 10.0.0.1:443 => deny no-rule
         out tcp -> 10.77.0.2:8085 => allow web/to-app
         out tcp -> [fd77::2]:8085 => allow web/to-app
         out tcp -> 10.77.0.2:8091 => deny no-rule
         out udp -> 10.77.0.2:8085 => deny no-rule",
    );
}

#[test]
fn test_mode_is_enforce_mode_with_another_last_verdict() {
    let packets = [
        "in tcp 10.0.0.5:40000 -> :5432",
        "in tcp 10.0.0.5:40000 -> :443",
        "in tcp 198.51.100.7:40000 -> :443",
        "out tcp -> 8.8.8.8:25",
        "out tcp -> 10.0.0.1:443",
        "out udp -> 10.77.0.53:53",
    ];
    let enforce = web("secure-all-ports enforce", "secure-intranet-paths enforce");
    let test = web("secure-all-ports test", "secure-intranet-paths test");
    for packet in packets.map(|packet| packet.parse().unwrap()) {
        let (enforced, tested) = (decide(&enforce, &packet), decide(&test, &packet));
        assert_eq!(enforced.reason, tested.reason, "{packet}");
        let expected = match enforced.verdict {
            Verdict::Deny => Verdict::WouldDeny,
            other => other,
        };
        assert_eq!(tested.verdict, expected, "{packet}");
    }
}

#[test]
fn the_failsafe_comes_first() {
    let closed = web("secure-inbound-paths enforce", "secure-intranet-paths enforce");
    check(
        &closed,
        "out tcp -> 10.77.0.9:8443 => allow failsafe Platform
         out tcp -> 10.77.0.9:8444 => deny no-rule
         out udp -> 10.77.0.9:8443 => deny no-rule
         out tcp -> 10.77.0.10:3128 => allow failsafe Platform
         out udp -> 10.77.0.53:53 => allow failsafe Dns
         out tcp -> 10.77.0.53:53 => allow failsafe Dns
         out udp -> 10.77.0.54:53 => deny no-rule
         in udp 10.77.0.53:53 -> :53 => deny no-rule
         out udp -> 10.77.0.123:123 => allow failsafe Ntp
         out udp -> [fd77::123]:123 => allow failsafe Ntp
         out udp -> 10.77.0.124:123 => deny no-rule
         out udp -> 10.77.0.123:124 => deny no-rule
         out tcp -> 10.77.0.123:123 => deny no-rule
         out tcp -> 10.77.0.123:4460 => allow failsafe Ntp
         out tcp -> [fd77::123]:4460 => deny no-rule
         out udp -> 10.77.0.123:4460 => deny no-rule
         in udp 10.77.0.123:123 -> :123 => deny no-rule
         out udp :68 -> 255.255.255.255:67 => allow failsafe Dhcp
         in udp 10.77.0.254:67 -> :68 => allow failsafe Dhcp
         in udp 10.77.0.254:68 -> :67 => deny no-rule
         out udp :546 -> [ff02::1:2]:547 => allow failsafe Dhcp
         in udp [fe80::1]:547 -> :546 => allow failsafe Dhcp
         in udp [fe80::1]:49152 -> :546 => allow failsafe Dhcp
         in udp [2001:db8::1]:547 -> :546 => allow failsafe Dhcp
         in udp [2001:db8::1]:49152 -> :546 => deny no-rule
         in tcp [fe80::1]:49152 -> :546 => deny no-rule
         in udp [fe80::1]:546 -> :547 => deny no-rule
         out udp :546 -> [fe80::1]:49152 => deny no-rule
         in udp 169.254.0.1:49152 -> :68 => deny no-rule
         in proto igmp 10.77.0.254 => allow failsafe Igmp
         out proto igmp 224.0.0.22 => allow failsafe Igmp
         in proto igmp fe80::1 => deny no-rule
         in proto pim 10.77.0.254 => deny no-rule
         out tcp -> 127.0.0.1:3128 => allow failsafe Loopback
         in icmp fe80::1 type 135 => allow failsafe NeighbourDiscovery
         out icmp ff02::16 type 143 => allow failsafe NeighbourDiscovery
         in icmp 10.0.0.1 type 135 => deny no-rule
         in icmp 10.0.0.1 type 3 => allow failsafe IcmpError
         out icmp 10.0.0.1 type 11 => allow failsafe IcmpError
         in icmp 2001:db8::1 type 2 => allow failsafe IcmpError
         in icmp 2001:db8::1 type 128 => deny no-rule
         in tcp 10.77.0.8:40000 -> :22 => allow failsafe Management
         in tcp 10.77.0.8:40000 -> :23 => deny no-rule
         in tcp 10.77.0.7:40000 -> :22 => deny no-rule
         in tcp 198.51.100.7:40000 -> 10.77.0.9:8443 => allow failsafe Platform
         in tcp 10.77.0.7:40000 -> 10.77.0.9:8443 => allow failsafe Platform
         in tcp 10.77.0.7:40000 -> 10.77.0.1:8443 => deny no-rule
         in tcp 10.77.0.7:40000 -> :8443 => deny no-rule
         in tcp 10.77.0.7:40000 -> 10.77.0.9:8444 => deny no-rule
         in udp 10.77.0.7:40000 -> 10.77.0.9:8443 => deny no-rule
         in tcp 10.77.0.7:40000 -> 10.77.0.10:3128 => deny no-rule",
    );
    let mut loopback: Packet = "in tcp 127.0.0.1:1 -> :22".parse().unwrap();
    loopback.loopback = true;
    assert_eq!(decide(&closed, &loopback).verdict, Verdict::Allow);
    let unknown_resolvers = bound(
        &with_stance(
            "{ level: unsecured, mode: enforce }",
            "{ level: secure-intranet-paths, mode: enforce }",
        ),
        "web",
        &Facts::default(),
    );
    check(&unknown_resolvers, "out udp -> 10.77.0.54:53 => allow failsafe Dns");
}

#[test]
fn sctp_has_ports_and_other_protocols_go_by_number() {
    let policy = "
segment: { name: web, criteria: role = 'web', templates: [core, never],
           inbound: { level: secure-all-ports, mode: enforce } }
---
template:
  name: core
  action: allow
  inbound:
    - { name: s1, from: [10.0.0.0/8], services: [sctp/36412, sctp/1-10] }
    - { name: tunnel, from: [10.0.0.0/8], services: [gre, esp, proto/253] }
    - { name: all-sctp, from: [10.1.0.0/16], services: [proto/132] }
---
template:
  name: never
  action: block
  inbound:
    - { name: tunnel, from: [10.9.0.0/16], services: [gre] }
";
    check(
        &bound(policy, "web", &facts()),
        "in sctp 10.0.0.5:4000 -> :36412 => allow core/s1
         in sctp 10.0.0.5:4000 -> :10 => allow core/s1
         in sctp 10.0.0.5:4000 -> :11 => deny no-rule
         in sctp 10.1.0.5:4000 -> :11 => allow core/all-sctp
         in tcp 10.0.0.5:4000 -> :36412 => deny no-rule
         in proto gre 10.0.0.5 => allow core/tunnel
         in proto esp 10.0.0.5 => allow core/tunnel
         in proto 253 10.0.0.5 => allow core/tunnel
         in proto ah 10.0.0.5 => deny no-rule
         in proto gre 10.9.0.5 => deny never/tunnel
         in proto esp 10.9.0.5 => allow core/tunnel",
    );
}

#[test]
fn a_block_rule_that_would_cut_the_failsafe_is_refused_by_name() {
    let policy = |rule: &str| {
        format!(
            "
segment: {{ name: all, criteria: app = 'shop', templates: [b] }}
---
template: {{ name: b, action: block, {rule} }}
---
settings: {{ management: [ {{ from: [10.77.0.8/30], services: [tcp/22] }} ] }}
"
        )
    };
    for (rule, expected) in [
        (
            "outbound: [ { name: x, to: [any], services: [any] } ]",
            Some("b/x would block the platform at 10.77.0.9:8443"),
        ),
        (
            "outbound: [ { to: [10.77.0.0/16], services: [tcp/8000-9000] } ]",
            Some("b/outbound-1 would block the platform"),
        ),
        ("outbound: [ { to: [intranet], services: [tcp] } ]", Some("would block the platform")),
        ("outbound: [ { to: [10.77.0.9], services: [udp/8443] } ]", None),
        ("outbound: [ { to: [internet], services: [any] } ]", None),
        (
            "inbound: [ { from: [10.77.0.10], services: [tcp/1-100] } ]",
            Some("would block management from 10.77.0.8/30"),
        ),
        (
            "ports: [ { from: [any], services: [tcp/22] } ]",
            Some("b/ports-1 would block management"),
        ),
        ("ports: [ { from: [any], services: [tcp/23] } ]", None),
    ] {
        let got = try_compile(&policy(rule), "web").map(|_| ()).map_err(|error| error.to_string());
        match (expected, &got) {
            (None, Ok(())) => {}
            (Some(expected), Err(got)) if got.contains(expected) => {}
            _ => panic!("{rule}\n got {got:?}\nwant {expected:?}"),
        }
    }
}

#[test]
fn a_block_rule_that_would_cut_the_platform_on_its_own_host_is_refused_by_name() {
    let policy = |rule: &str| {
        let yaml = format!(
            "
segment: {{ name: all, criteria: app = 'shop', templates: [b] }}
---
template: {{ name: b, action: block, {rule} }}
"
        );
        Policy::build(document::parse(&yaml, "test.yaml").unwrap()).unwrap()
    };
    // The platform's host, and another one in the same segments.
    let inventory = inventory(
        "controller 10.77.0.9,fd77::9 app=shop
         db         10.77.0.3         app=shop",
    );
    let refused =
        Some("b/x would block the platform at 10.77.0.9:8443, which runs on asset controller");
    for (rule, expected) in [
        ("inbound: [ { name: x, from: [10.77.0.0/16], services: [any] } ]", refused),
        ("inbound: [ { name: x, from: [198.51.100.1], services: [tcp/8000-9000] } ]", refused),
        ("ports: [ { name: x, from: [internet], services: [tcp/8443] } ]", refused),
        ("inbound: [ { name: x, from: [any], services: [tcp/1-8442, udp] } ]", None),
        ("outbound: [ { name: x, to: [10.77.0.3], services: [any] } ]", None),
    ] {
        let policy = policy(rule);
        for (asset, expected) in [("controller", expected), ("db", None)] {
            let id = format!("id-{asset}").try_into().unwrap();
            let platform = [PLATFORM.parse().unwrap()];
            let got = xshield_policy::compile(&policy, &inventory, &id, Revision(3), &platform);
            let got = got.map(|_| ()).map_err(|error| error.to_string());
            match (expected, &got) {
                (None, Ok(())) => {}
                (Some(expected), Err(got)) if got.contains(expected) => {}
                _ => panic!("{rule} on {asset}\n got {got:?}\nwant {expected:?}"),
            }
        }
    }
}

#[test]
fn a_segment_without_assets_admits_nobody() {
    let yaml = "
segment: { name: all, criteria: app = 'shop', templates: [t], inbound: { level: secure-all-ports, mode: enforce } }
---
segment: { name: nobody, criteria: role = 'ghost' }
---
template: { name: t, action: allow, inbound: [ { from: [segment:nobody, asset:gone], services: [any] } ] }
";
    check(&bound(yaml, "web", &Facts::default()), "in tcp 10.0.0.1:1 -> :1 => deny no-rule");
    let policy = Policy::build(document::parse(yaml, "t").unwrap()).unwrap();
    let inventory = shop();
    let warnings = Compiler::new(&policy, &inventory, Revision(1), &[]).warnings();
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.pop().is_some_and(|last| last.starts_with("asset app and 2 more: ")));
    assert_eq!(warnings, ["segment nobody matches no asset", "asset gone does not exist"]);
}

#[test]
fn processes_narrow_and_never_widen() {
    let yaml = "
segment: { name: all, criteria: app = 'shop', templates: [t],
           inbound: { level: secure-all-ports, mode: enforce },
           outbound: { level: secure-intranet-paths, mode: enforce } }
---
template:
  name: t
  action: allow
  inbound: [ { name: in, from: [any], services: [tcp/1-1000, icmp], process: nginx } ]
  outbound: [ { name: out, to: [any], services: [tcp/443], process: /usr/bin/curl } ]
";
    let ruleset = try_compile(yaml, "web").unwrap();
    let (nothing, reported) = ruleset.bind(&Facts::default());
    check(
        &nothing,
        "in tcp 10.0.0.1:1 -> :80 => deny no-rule
         in icmp 10.0.0.1 type 8 => deny no-rule
         out tcp -> 10.0.0.1:443 => deny no-rule",
    );
    assert_eq!(reported.len(), 1);
    assert!(reported[0].reason.contains("/usr/bin/curl"), "{reported:?}");

    let facts: Facts = serde_json::from_str(
        r#"{"endpoints":[],"resolvers":[],"domains":{},
            "listeners":{"nginx":[{"protocol":"tcp","port":80},{"protocol":"tcp","port":8080},{"protocol":"udp","port":80}]},
            "owners":{"/usr/bin/curl":{"Ok":[{"uid":1000},{"uid":1002}]}}}"#,
    )
    .unwrap();
    let (narrowed, reported) = ruleset.bind(&facts);
    assert!(reported.is_empty());
    assert_eq!(narrowed.outbound.enforced.allows.len(), 2, "a bound rule for each owner");
    check(
        &narrowed,
        "in tcp 10.0.0.1:1 -> :80 => allow t/in
         in tcp 10.0.0.1:1 -> :8080 => deny no-rule
         in udp 10.0.0.1:1 -> :80 => deny no-rule
         in icmp 10.0.0.1 type 8 => deny no-rule
         out tcp -> 10.0.0.1:443 => deny no-rule",
    );
    let mut packet: Packet = "out tcp -> 10.0.0.1:443".parse().unwrap();
    for (owner, verdict) in [(1000, Verdict::Allow), (1001, Verdict::Deny), (1002, Verdict::Allow)]
    {
        packet.owners = vec![Owner::Uid(owner)];
        assert_eq!(decide(&narrowed, &packet).verdict, verdict);
    }
}

#[test]
fn the_default_decision_denies() {
    assert_eq!(Verdict::default(), Verdict::Deny);
    let nothing_said = xshield_policy::DirectionRules::default();
    assert_eq!(nothing_said.enforced.subject, xshield_policy::Subject::Everything);
    assert_eq!(nothing_said.tested, None);
}

#[test]
fn a_ruleset_survives_json() {
    let yaml = with_stance(
        "{ level: secure-all-ports, mode: test }",
        "{ level: secure-internet-paths, mode: enforce }",
    );
    let ruleset = try_compile(&yaml, "web").unwrap();
    let json = serde_json::to_string(&ruleset).unwrap();
    assert_eq!(serde_json::from_str::<Ruleset>(&json).unwrap(), ruleset);
}

#[test]
fn users_and_units_narrow_like_processes() {
    let yaml = "
segment: { name: all, criteria: app = 'shop', templates: [t],
           inbound: { level: secure-all-ports, mode: enforce },
           outbound: { level: secure-intranet-paths, mode: enforce } }
---
template:
  name: t
  action: allow
  inbound:
    - { name: web, from: [any], services: [tcp], process: nginx, user: www-data, unit: nginx.service }
    - { name: own, from: [any], services: [tcp], user: 1001 }
    - { name: who, from: [any], services: [tcp], user: nobody-knows }
  outbound:
    - { name: job, to: [any], services: [tcp/443], unit: backup@1.service }
";
    let ruleset = try_compile(yaml, "web").unwrap();
    let json = serde_json::to_string(&ruleset).unwrap();
    assert!(
        json.contains(r#""process":"nginx","user":"www-data","unit":"nginx.service""#),
        "{json}"
    );
    assert_eq!(serde_json::from_str::<Ruleset>(&json).unwrap(), ruleset);

    let (nothing, reported) = ruleset.bind(&Facts::default());
    check(
        &nothing,
        "in tcp 10.0.0.1:1 -> :80 => deny no-rule
         out tcp -> 10.0.0.1:443 => deny no-rule",
    );
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(reported[0].reason.starts_with("unit backup@1.service: "), "{reported:?}");

    let facts: Facts = serde_json::from_str(
        r#"{"endpoints":[],"resolvers":[],"domains":{},
            "listeners":{"\tprocess=nginx\tuser=www-data\tunit=nginx.service":[{"protocol":"tcp","port":80}],
                         "\tuser=1001":[{"protocol":"tcp","port":8080}],
                         "nginx":[{"protocol":"tcp","port":81}]},
            "unknown":{"\tuser=nobody-knows":"is not known"},
            "owners":{"\tunit=backup@1.service":{"Ok":[{"cgroup":"system.slice/backup@1.service"}]}}}"#,
    )
    .unwrap();
    let (narrowed, reported) = ruleset.bind(&facts);
    check(
        &narrowed,
        "in tcp 10.0.0.1:1 -> :80 => allow t/web
         in tcp 10.0.0.1:1 -> :8080 => allow t/own
         in tcp 10.0.0.1:1 -> :81 => deny no-rule
         out tcp -> 10.0.0.1:443 => deny no-rule",
    );
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert_eq!(reported[0].reason, "user nobody-knows: is not known");
    let mut packet: Packet = "out tcp -> 10.0.0.1:443".parse().unwrap();
    packet.owners = vec![Owner::Cgroup("system.slice/backup@1.service".to_owned())];
    assert_eq!(decide(&narrowed, &packet).verdict, Verdict::Allow);
}

/// A ruleset without new features is the one that hosts of earlier versions accept.
#[test]
fn rulesets_leave_out_what_they_do_not_need() {
    let yaml = "
segment: { name: all, criteria: app = 'shop', templates: [t],
           inbound: { level: secure-all-ports, mode: enforce } }
---
template: { name: t, action: allow, inbound: [ { from: [any], services: [tcp], process: nginx } ] }
";
    let json = serde_json::to_string(&try_compile(yaml, "web").unwrap()).unwrap();
    assert!(
        json.contains("\"process\"") && !json.contains("\"user\"") && !json.contains("\"unit\"")
    );
}
