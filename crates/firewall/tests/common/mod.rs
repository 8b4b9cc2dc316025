//! Random rulesets and packets in a small range of values, so that they match: 16 addresses per family, few
//! ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use xshield_policy::packet::Transport;
use xshield_policy::ruleset::Management;
use xshield_policy::{
    AddressMatch, AddressRange, Bound, BoundDirection, BoundFailsafe, BoundForwarded, BoundRule,
    BoundStance, Direction, Forwarded, ForwardedRules, ForwardedStance, IcmpType, Interfaces,
    IpProtocol, Owner, Packet, Passage, PortRange, Ports, RangeSet, Revision, Service, Subject,
    protocol,
};

fn v4(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

fn v6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into())
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![50u16..56, Just(67), Just(68), Just(546), Just(547), Just(0), Just(u16::MAX)]
}

fn icmp_number() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0u8), Just(3), Just(8), Just(11), Just(128), Just(135), Just(143), any::<u8>()]
}

/// Protocols without services of their own, some more often than others.
fn other_protocol() -> impl Strategy<Value = u8> {
    prop_oneof![Just(2u8), Just(47), Just(112), any::<u8>()]
}

fn protocol() -> impl Strategy<Value = IpProtocol> {
    other_protocol().prop_filter_map("has a service of its own", |n| IpProtocol::try_from(n).ok())
}

fn range() -> impl Strategy<Value = AddressRange> {
    prop_oneof![
        4 => (0u8..16, 0u8..3).prop_map(|(a, n)| AddressRange::V4(v4(a), v4(a + n))),
        3 => (0u8..16, 0u8..3).prop_map(|(a, n)| AddressRange::V6(v6(a), v6(a + n))),
        1 => Just(AddressRange::V4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)),
        1 => Just(AddressRange::V6(
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9),
        )),
    ]
}

fn ranges() -> impl Strategy<Value = RangeSet> {
    proptest::collection::vec(range(), 0..5).prop_map(|list| list.into_iter().collect())
}

fn peers() -> impl Strategy<Value = AddressMatch> {
    prop_oneof![1 => Just(AddressMatch::Any), 5 => ranges().prop_map(AddressMatch::Only)]
}

fn ports() -> impl Strategy<Value = Ports> {
    prop_oneof![
        1 => Just(Ports::Any),
        4 => port().prop_map(|p| Ports::Range(PortRange::single(p))),
        3 => (port(), port()).prop_map(|(a, b)| {
            Ports::Range(PortRange::new(a.min(b), a.max(b)).unwrap())
        }),
    ]
}

fn service() -> impl Strategy<Value = Service> {
    prop_oneof![
        1 => Just(Service::Any),
        5 => ports().prop_map(Service::Tcp),
        5 => ports().prop_map(Service::Udp),
        2 => ports().prop_map(Service::Sctp),
        2 => protocol().prop_map(Service::Protocol),
        1 => Just(Service::Icmp(IcmpType::Any)),
        1 => Just(Service::Icmp(IcmpType::EchoRequest)),
        2 => icmp_number().prop_map(|n| Service::Icmp(IcmpType::Number(n))),
    ]
}

fn owner() -> impl Strategy<Value = Option<Owner>> {
    prop_oneof![
        5 => Just(None),
        1 => (0u32..2).prop_map(|uid| Some(Owner::Uid(uid))),
        1 => Just(Some(Owner::Cgroup("system.slice/a.service".into()))),
    ]
}

fn rule(owned: bool) -> impl Strategy<Value = BoundRule> {
    let services = proptest::collection::vec(service(), 0..4);
    (0u8..20, peers(), services, owner()).prop_map(move |(n, peers, services, owner)| BoundRule {
        id: format!("t/r{n}").parse().unwrap(),
        peers,
        services,
        owner: owner.filter(|_| owned),
    })
}

fn stance(owned: bool) -> impl Strategy<Value = BoundStance> {
    let subject =
        prop_oneof![Just(Subject::Nothing), Just(Subject::Internet), Just(Subject::Everything)];
    let blocks = proptest::collection::vec(rule(owned), 0..4);
    let allows = proptest::collection::vec(rule(owned), 0..8);
    (subject, blocks, allows).prop_map(|(subject, blocks, allows)| BoundStance {
        subject,
        blocks,
        allows,
    })
}

/// One stance, enforced or tested, or both. A tested one above an enforced one contains some of its rules.
fn direction(owned: bool) -> impl Strategy<Value = BoundDirection> {
    prop_oneof![
        2 => stance(owned).prop_map(BoundDirection::enforcing),
        1 => stance(owned).prop_map(BoundDirection::testing),
        3 => (stance(owned), stance(owned), any::<u16>()).prop_map(|(enforced, mut tested, shared)| {
            let shared = |at: usize| shared >> (at % 16) & 1 == 1;
            let some = |rules: &[BoundRule], from: usize| {
                let rules = rules.iter().enumerate().filter(|(at, _)| shared(at + from));
                rules.map(|(_, rule)| rule.clone()).collect::<Vec<_>>()
            };
            tested.blocks.extend(some(&enforced.blocks, 0));
            tested.allows.extend(some(&enforced.allows, 4));
            BoundDirection { enforced, tested: Some(tested) }
        }),
    ]
}

/// Removes rules of every kind.
pub(crate) fn retain(direction: &mut BoundDirection, keep: impl Fn(&BoundRule) -> bool) {
    for stance in [&mut direction.enforced].into_iter().chain(&mut direction.tested) {
        stance.blocks.retain(&keep);
        stance.allows.retain(&keep);
    }
}

fn management() -> impl Strategy<Value = Management> {
    (0u8..16, 24u8..=32, proptest::collection::vec(service(), 0..3)).prop_map(
        |(a, length, services)| Management {
            from: ipnet::IpNet::new(v4(a).into(), length).unwrap(),
            services,
        },
    )
}

/// A ruleset with rules of all kinds.
pub(crate) fn bound() -> impl Strategy<Value = Bound> {
    let endpoint = || (address(), port()).prop_map(|(a, p)| (a, p).into());
    let failsafe = (
        proptest::collection::vec(endpoint(), 0..3),
        proptest::collection::vec(endpoint(), 0..3),
        peers(),
        proptest::collection::vec(management(), 0..2),
    );
    (failsafe, ranges(), direction(false), direction(true), forwarded()).prop_map(
        |((endpoints, served, resolvers, management), intranet, inbound, outbound, forwarded)| {
            Bound {
                revision: Revision(7),
                failsafe: BoundFailsafe {
                    resolvers,
                    management,
                    served,
                    time_servers: [AddressRange::from(
                        "10.0.1.123/32".parse::<ipnet::IpNet>().unwrap(),
                    )]
                    .into_iter()
                    .collect(),
                    ..BoundFailsafe::bare(endpoints, &[])
                },
                intranet,
                inbound,
                outbound,
                forwarded,
            }
        },
    )
}

/// What is judged of forwarded traffic, with known inner interfaces and a bridge.
fn forwarded() -> impl Strategy<Value = BoundForwarded> {
    let scope = || {
        prop_oneof![
            Just(Forwarded::LeaveAlone),
            Just(Forwarded::PublishedPorts),
            Just(Forwarded::Everything),
        ]
    };
    let stance = move || (scope(), scope()).prop_map(|(a, b)| ForwardedStance::new(a, b));
    (stance(), stance()).prop_map(|(inbound, outbound)| BoundForwarded {
        rules: ForwardedRules { inbound, outbound },
        interfaces: Interfaces {
            inner: ["docker0", "virbr0"].map(|name| name.parse().unwrap()).into(),
            bridges: ["docker0", "br0"].map(|name| name.parse().unwrap()).into(),
        },
    })
}

/// How a packet passes through this host.
pub(crate) fn passage() -> impl Strategy<Value = Passage> {
    prop_oneof![Just(Passage::Translated), Just(Passage::Routed)]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        9 => (0u8..20).prop_map(|n| v4(n).into()),
        9 => (0u8..20).prop_map(|n| v6(n).into()),
        1 => any::<u8>().prop_map(|n| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n.into()).into()),
        1 => Just(Ipv4Addr::UNSPECIFIED.into()),
    ]
}

/// A packet that such a ruleset may match.
pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    let transport = prop_oneof![
        4 => (port(), port()).prop_map(|(s, d)| Transport::Tcp(s, d)),
        4 => (port(), port()).prop_map(|(s, d)| Transport::Udp(s, d)),
        3 => icmp_number().prop_map(Transport::Icmp),
        2 => (port(), port()).prop_map(|(s, d)| Transport::Sctp(s, d)),
        1 => other_protocol().prop_map(Transport::Other),
    ];
    let way = prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)];
    let possible = |peer: IpAddr, transport| match transport {
        Transport::Other(protocol::TCP | protocol::UDP | protocol::SCTP) => false,
        Transport::Other(protocol::ICMP) => peer.is_ipv6(),
        Transport::Other(protocol::ICMPV6) => peer.is_ipv4(),
        _ => true,
    };
    let ends = (address(), proptest::option::of(address()));
    (way, ends, transport, proptest::bool::weighted(0.03), owner()).prop_filter_map(
        "a protocol with a transport of its own",
        move |(direction, (peer, local), transport, loopback, owner)| {
            if !possible(peer, transport) {
                return None;
            }
            let local = local.filter(|local| local.is_ipv4() == peer.is_ipv4());
            let owner = owner.filter(|_| direction == Direction::Outbound);
            let owners = owner.into_iter().collect();
            Some(Packet { direction, peer, local, transport, loopback, owners })
        },
    )
}

/// Many rules about a larger range, so that the plan splits their sets; and packets that may match them.
pub(crate) fn crowd() -> impl Strategy<Value = (Bound, Vec<Packet>)> {
    let number = || 0u16..4096;
    let far = |n: u16, v6: bool| -> IpAddr {
        match v6 {
            false => Ipv4Addr::from(0x0a00_0000 + u32::from(n)).into(),
            true => Ipv6Addr::from((0xfd << 120) + u128::from(n)).into(),
        }
    };
    let peers =
        (number(), 0u16..300, any::<bool>(), 0u8..10).prop_map(move |(n, more, v6, kind)| {
            let range = match (far(n, v6), far(n + if kind < 5 { 0 } else { more }, v6)) {
                (IpAddr::V4(first), IpAddr::V4(last)) => AddressRange::V4(first, last),
                (IpAddr::V6(first), IpAddr::V6(last)) => AddressRange::V6(first, last),
                _ => unreachable!("one family"),
            };
            match kind {
                9 => AddressMatch::Any,
                _ => AddressMatch::Only([range].into_iter().collect()),
            }
        });
    let service = (number(), 0u16..50, 0u8..20, any::<u8>()).prop_map(|(n, more, kind, icmp)| {
        let ports = |last| Ports::Range(PortRange::new(n, last).unwrap());
        match kind {
            0..7 => Service::Tcp(ports(n + more)),
            7..10 => Service::Sctp(ports(n + more)),
            10..13 => Service::Udp(ports(n + more)),
            13..17 => Service::Tcp(ports(n)),
            17 => Service::Udp(Ports::Any),
            18 => Service::Any,
            _ => Service::Icmp(IcmpType::Number(icmp)),
        }
    });
    let rules = proptest::collection::vec((peers, service), 0..500).prop_map(|list| {
        let rule = |(n, (peers, service)): (usize, (AddressMatch, Service))| BoundRule {
            id: format!("t/r{n}").parse().unwrap(),
            peers,
            services: vec![service],
            owner: None,
        };
        list.into_iter().enumerate().map(rule).collect::<Vec<_>>()
    });
    let bound = (bound(), rules.clone(), rules).prop_map(|(mut bound, blocks, allows)| {
        bound.inbound.enforced.subject = Subject::Everything;
        bound.inbound.enforced.blocks = blocks.into_iter().take(80).collect();
        if let Some(tested) = &mut bound.inbound.tested {
            tested.allows = allows.iter().skip(20).cloned().collect();
        }
        bound.inbound.enforced.allows = allows.clone();
        bound.outbound.enforced.allows = allows;
        bound
    });
    let transport = prop_oneof![
        4 => (number(), number()).prop_map(|(s, d)| Transport::Tcp(s, d)),
        4 => (number(), number()).prop_map(|(s, d)| Transport::Udp(s, d)),
        2 => (number(), number()).prop_map(|(s, d)| Transport::Sctp(s, d)),
        1 => any::<u8>().prop_map(Transport::Icmp),
    ];
    let way = prop_oneof![3 => Just(Direction::Inbound), 1 => Just(Direction::Outbound)];
    let packet = (way, 0u16..4500, any::<bool>(), transport).prop_map(
        move |(direction, n, v6, transport)| {
            let peer = far(n, v6);
            Packet { direction, peer, local: None, transport, loopback: false, owners: Vec::new() }
        },
    );
    (bound, proptest::collection::vec(packet, 60))
}
