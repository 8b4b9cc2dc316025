//! Properties that hold for every policy, tested with random ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use xshield_policy::document::{
    Action, Document, InboundRule, OutboundRule, Policy, Segment, Stance, Template,
};
use xshield_policy::inventory::{Asset, Inventory, Source};
use xshield_policy::packet::Transport;
use xshield_policy::peer::PeerRef;
use xshield_policy::{
    AssetId, Bound, Compiler, Direction, Facts, InboundLevel, Mode, OutboundLevel, Packet,
    Revision, Ruleset, Service, Verdict, decide,
};

const INBOUND: [InboundLevel; 4] = [
    InboundLevel::Unsecured,
    InboundLevel::SecureInternetPorts,
    InboundLevel::SecureAllPorts,
    InboundLevel::SecureInboundPaths,
];
const OUTBOUND: [OutboundLevel; 3] = [
    OutboundLevel::Unsecured,
    OutboundLevel::SecureInternetPaths,
    OutboundLevel::SecureIntranetPaths,
];
const ROLES: [&str; 3] = ["web", "app", "db"];

fn inventory() -> Inventory {
    let assets = ROLES.iter().enumerate().map(|(at, role)| Asset {
        id: role.parse().unwrap(),
        name: role.parse().unwrap(),
        tags: [("role".parse().unwrap(), (*role).to_owned().try_into().unwrap())].into(),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(at).unwrap()))],
        os: "debian 12".to_owned(),
        source: Source::Spark,
    });
    Inventory { assets: assets.collect() }
}

fn peer() -> impl Strategy<Value = PeerRef> {
    let texts =
        ["any", "intranet", "internet", "segment:web", "segment:db", "asset:app", "10.0.0.0/30"];
    prop::sample::select(texts.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn service() -> impl Strategy<Value = Service> {
    let texts = ["any", "tcp", "tcp/1", "tcp/1-2", "udp/2-3", "icmp", "icmp/echo-request"];
    prop::sample::select(texts.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn template(name: &'static str, action: Action) -> impl Strategy<Value = Template> {
    let inbound = || (vec(peer(), 1..3), vec(service(), 1..3));
    (vec(inbound(), 1..4), vec(inbound(), 0..4), vec(inbound(), 0..4)).prop_map(
        move |(ports, paths, outbound)| {
            let rule = |(from, services): (Vec<PeerRef>, _)| InboundRule {
                name: None,
                from: from.into_iter().map(Into::into).collect(),
                services,
                process: None,
                user: None,
                unit: None,
            };
            Template {
                name: name.parse::<xshield_policy::names::Name>().unwrap().into(),
                action,
                ports: ports.into_iter().map(rule).collect(),
                inbound: paths.into_iter().map(rule).collect(),
                outbound: outbound
                    .into_iter()
                    .map(|(to, services)| OutboundRule {
                        name: None,
                        to: to.into_iter().map(Into::into).collect(),
                        services,
                        process: None,
                        user: None,
                        unit: None,
                    })
                    .collect(),
            }
        },
    )
}

#[derive(Debug, Clone)]
struct Case {
    inbound: InboundLevel,
    outbound: OutboundLevel,
    templates: Vec<Template>,
}

fn case() -> impl Strategy<Value = Case> {
    let inbound = prop::sample::select(INBOUND.to_vec());
    let outbound = prop::sample::select(OUTBOUND.to_vec());
    let templates =
        (template("a", Action::Allow), template("b", Action::Block), template("c", Action::Allow));
    (inbound, outbound, templates).prop_map(|(inbound, outbound, (a, b, c))| Case {
        inbound,
        outbound,
        templates: vec![a, b, c],
    })
}

fn documents(case: &Case, mode: Mode) -> Vec<Document> {
    let segment = |name: &str, criteria: &str, attached: bool| {
        let templates = case.templates.iter().filter(|_| attached);
        Document::Segment(Segment {
            name: name.parse::<xshield_policy::names::Name>().unwrap().into(),
            criteria: criteria.parse().unwrap(),
            templates: templates.map(|template| template.name.clone()).collect(),
            inbound: attached.then_some(Stance::new(case.inbound, mode)),
            outbound: attached.then_some(Stance::new(case.outbound, mode)),
            forwarded: None,
        })
    };
    let mut documents = vec![
        segment("all", "role != 'none'", true),
        segment("web", "role = 'web'", false),
        segment("db", "role = 'db'", false),
    ];
    documents.extend(case.templates.iter().cloned().map(Document::Template));
    documents
}

fn ruleset(documents: Vec<Document>) -> Ruleset {
    let policy = Policy::build(documents).unwrap();
    let inventory = inventory();
    let app: AssetId = "app".parse().unwrap();
    Compiler::new(&policy, &inventory, Revision(1), &[]).ruleset(&app).unwrap()
}

fn bound(documents: Vec<Document>) -> Bound {
    ruleset(documents).bind(&Facts::default()).0
}

fn packet() -> impl Strategy<Value = Packet> {
    let peers = ["10.0.0.0", "10.0.0.2", "10.0.0.9", "8.8.8.8", "2001:db8::1", "fd00::1"];
    let transport = prop_oneof![
        (0u16..5).prop_map(|port| Transport::Tcp(9, port)),
        (0u16..5).prop_map(|port| Transport::Udp(9, port)),
        prop::sample::select(vec![8u8, 128, 3, 135]).prop_map(Transport::Icmp),
        (0u16..5).prop_map(|port| Transport::Sctp(9, port)),
        prop::sample::select(vec![2u8, 47, 112]).prop_map(Transport::Other),
    ];
    let direction = prop::sample::select(Direction::BOTH.to_vec());
    (direction, prop::sample::select(peers.to_vec()), transport).prop_map(
        |(direction, peer, transport)| Packet {
            direction,
            peer: peer.parse().unwrap(),
            local: None,
            transport,
            loopback: false,
            owners: Vec::new(),
        },
    )
}

proptest! {
    #[test]
    fn the_order_of_documents_does_not_matter(
        (case, seed) in (case(), any::<u64>()),
        packets in vec(packet(), 20),
    ) {
        let ordered = documents(&case, Mode::Enforce);
        let mut shuffled = ordered.clone();
        let length = shuffled.len();
        for at in 0..length {
            let other = usize::try_from(seed >> (at * 3)).unwrap() % length;
            shuffled.swap(at, other);
        }
        let (ordered, shuffled) = (bound(ordered), bound(shuffled));
        for packet in packets {
            prop_assert_eq!(decide(&ordered, &packet), decide(&shuffled, &packet));
        }
    }

    #[test]
    fn test_mode_never_denies_and_names_what_enforce_mode_would_deny(
        case in case(),
        packets in vec(packet(), 20),
    ) {
        let enforce = bound(documents(&case, Mode::Enforce));
        let test = bound(documents(&case, Mode::Test));
        for packet in packets {
            let (enforced, tested) = (decide(&enforce, &packet), decide(&test, &packet));
            prop_assert_ne!(tested.verdict, Verdict::Deny);
            prop_assert_eq!(
                tested.verdict == Verdict::WouldDeny,
                enforced.verdict == Verdict::Deny
            );
            prop_assert_eq!(tested.reason, enforced.reason);
        }
    }

    #[test]
    fn a_segment_in_test_mode_changes_no_verdict(
        case in case(),
        (inbound, outbound, tested) in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), template("d", Action::Allow)),
        blocking in any::<bool>(),
        packets in vec(packet(), 40),
    ) {
        let before = documents(&case, Mode::Enforce);
        let mut tested = tested;
        tested.action = if blocking { Action::Block } else { Action::Allow };
        let mut after = before.clone();
        after.push(Document::Segment(Segment {
            name: "tested".parse::<xshield_policy::names::Name>().unwrap().into(),
            criteria: "role != 'none'".parse().unwrap(),
            templates: vec![tested.name.clone()],
            inbound: Some(Stance::new(*inbound.get(&INBOUND), Mode::Test)),
            outbound: Some(Stance::new(*outbound.get(&OUTBOUND), Mode::Test)),
            forwarded: None,
        }));
        after.push(Document::Template(tested));
        let (before, after) = (bound(before), bound(after));
        for packet in packets {
            let (was, is) = (decide(&before, &packet), decide(&after, &packet));
            let denied = |verdict| verdict == Verdict::Deny;
            prop_assert_eq!(denied(was.verdict), denied(is.verdict), "{}: {:?}", packet, is);
            if denied(was.verdict) {
                prop_assert_eq!(was.reason, is.reason);
            }
        }
    }

    #[test]
    fn allow_templates_only_allow_and_block_templates_only_deny(
        case in case(),
        packets in vec(packet(), 20),
    ) {
        let without = |name: &str| {
            let mut less = case.clone();
            less.templates.retain(|template| template.name.as_str() != name);
            bound(documents(&less, Mode::Enforce))
        };
        let whole = bound(documents(&case, Mode::Enforce));
        let (no_allow, no_block) = (without("a"), without("b"));
        for packet in packets {
            let denied = |bound: &Bound| decide(bound, &packet).verdict == Verdict::Deny;
            prop_assert!(!denied(&whole) || denied(&no_allow), "{packet}");
            prop_assert!(!denied(&no_block) || denied(&whole), "{packet}");
        }
    }

    #[test]
    fn a_higher_level_only_denies_more(case in case(), packets in vec(packet(), 20)) {
        let inbound = INBOUND.map(|level| bound(documents(&Case { inbound: level, ..case.clone() }, Mode::Enforce)));
        for packet in packets.iter().filter(|packet| packet.direction == Direction::Inbound) {
            let denied: Vec<bool> =
                inbound.iter().map(|b| decide(b, packet).verdict == Verdict::Deny).collect();
            prop_assert!(denied.is_sorted(), "{packet}: {denied:?}");
        }
    }

    #[test]
    fn a_ruleset_round_trips_through_json(case in case()) {
        let ruleset = ruleset(documents(&case, Mode::Enforce));
        let json = serde_json::to_vec(&ruleset).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Ruleset>(&json).unwrap(), ruleset);
    }
}
