use xshield_firewall::plan::Family;
use xshield_firewall::wfp::model::{EngineState, Filter, FilterAction, Flags, ObjectKey, Weight};
use xshield_firewall::wfp::names::Layer;
use xshield_firewall::wfp::{FilterEngine as _, WfpFirewall, plan};
use xshield_policy::{Bound, BoundDirection, BoundStance};

use super::*;

const NOW: UnixSeconds = 1_800_000_000;
const HERE: &str = "10.0.0.9";

/// Numbers of the filters of a host on which `web/https` is the only allow rule, and the tested stance allows
/// nothing.
fn numbers() -> (FilterNumbers, Numbers) {
    let rule = |id: &str, service: &str| xshield_policy::BoundRule {
        id: id.parse().unwrap(),
        peers: xshield_policy::AddressMatch::Any,
        services: vec![service.parse().unwrap()],
        owner: None,
    };
    let closed = BoundStance::closed();
    let inbound = BoundStance {
        allows: vec![rule("web/https", "tcp/443"), rule("web/http", "tcp/80")],
        ..closed.clone()
    };
    let tested = BoundStance { allows: vec![rule("web/https", "tcp/443")], ..closed.clone() };
    let bound = Bound {
        revision: xshield_policy::Revision(1),
        failsafe: xshield_policy::BoundFailsafe::bare(Vec::new(), &[]),
        intranet: xshield_policy::RangeSet::empty(),
        inbound: BoundDirection { tested: Some(tested), ..BoundDirection::enforcing(inbound) },
        outbound: BoundDirection::enforcing(closed),
        forwarded: xshield_policy::BoundForwarded::default(),
    };
    let mut firewall = WfpFirewall::new(EngineState::default());
    firewall.apply_now(&plan(&bound, &Default::default()).unwrap()).unwrap();
    for (at, filter) in (70_000..).zip(&mut firewall.engine_mut().filters) {
        filter.id = Some(at);
    }
    firewall.engine_mut().filters.push(others_filter());
    firewall.state().unwrap();
    let state = firewall.engine_mut().read().unwrap();
    let id = |name: &str, layer: Layer, action: FilterAction| {
        let is_it = |filter: &&Filter| {
            *filter.name == *format!("Xshield {name}")
                && (&filter.layer, &filter.action) == (&layer, &action)
                && !filter.flags.contains(Flags::BOOT_TIME)
        };
        state.filters.iter().find(is_it).and_then(|filter| filter.id).unwrap()
    };
    let inbound = Layer::RecvAccept(Family::V4);
    let found = Numbers {
        https: id("web/https", inbound.clone(), FilterAction::Permit),
        tested: id("default/closed", inbound, FilterAction::Permit),
        outbound: id("default/closed", Layer::Connect(Family::V4), FilterAction::Block),
        other: 9,
    };
    (firewall.numbers().clone(), found)
}

struct Numbers {
    https: u64,
    tested: u64,
    outbound: u64,
    /// A filter of another product.
    other: u64,
}

fn others_filter() -> Filter {
    Filter {
        key: ObjectKey::BuiltIn("other".into()),
        name: "Xshield web/https".into(),
        description: "".into(),
        flags: Flags::default(),
        provider: None,
        layer: Layer::RecvAccept(Family::V4),
        sublayer: ObjectKey::BuiltIn("other".into()),
        weight: Weight::Automatic,
        effective_weight: Some(1),
        conditions: Vec::new(),
        action: FilterAction::Block,
        id: Some(9),
    }
}

/// A flow between this host and 10.0.0.5; the ports as this host's and the peer's.
fn flow(
    outcome: FlowOutcome,
    direction: Direction,
    protocol: u8,
    ports: (u16, u16),
    filter: u64,
) -> FlowEvent {
    FlowEvent {
        outcome,
        direction,
        ends: Ends::Peer {
            local: (HERE.parse().unwrap(), ports.0),
            remote: ("10.0.0.5".parse().unwrap(), ports.1),
        },
        protocol,
        application: Some(r"\device\harddiskvolume2\srv\nginx.exe".to_owned()),
        process: Some(77),
        filter: Some(filter),
        time: Some(1_700_000_000_500),
    }
}

fn tally(events: &[FlowEvent], numbers: &FilterNumbers) -> FlowTally {
    let mut tally = FlowTally::default();
    for event in events {
        tally.add(&Event::Flow(event.clone()), numbers, NOW);
    }
    tally
}

#[test]
fn an_event_is_attributed_to_the_rule_of_the_filter_that_decided() {
    use Direction::{Inbound, Outbound};
    use EventKind::{Accepted, Denied, WouldDeny};
    use FlowOutcome::{ConnectionBlocked, PacketDropped, Permitted};
    let (numbers, at) = numbers();
    // Outcome, direction, ports of this host and of the peer, filter; kind, port, rule.
    #[rustfmt::skip]
    let table = [
        (Permitted, Inbound, (443, 50_000), at.https, Some((Accepted, 443, Some("web/https")))),
        (Permitted, Inbound, (80, 50_000), at.tested, Some((WouldDeny, 80, None))),
        (ConnectionBlocked, Outbound, (50_000, 25), at.outbound, Some((Denied, 25, None))),
        (PacketDropped, Outbound, (50_000, 25), at.outbound, Some((Denied, 25, None))),
        // Of TCP that is permitted without a condition on ports, Windows names no filter.
        (Permitted, Inbound, (443, 50_000), 0, Some((Accepted, 443, None))),
        (Permitted, Outbound, (50_000, 443), at.other, Some((Accepted, 443, None))),
        // What others blocked is not ours to report, also where they call a filter as we do.
        (ConnectionBlocked, Inbound, (443, 50_000), at.other, None),
        (PacketDropped, Inbound, (443, 50_000), 0, None),
    ];
    for (outcome, direction, ports, filter, expected) in table {
        let tally = tally(&[flow(outcome, direction, 6, ports, filter)], &numbers);
        let events = tally.events();
        let found = events
            .first()
            .map(|event| (event.kind, event.port, event.rule.as_ref().map(|rule| rule.as_str())));
        assert_eq!(found, expected, "{outcome:?} {direction:?} {filter}");
        for event in &events {
            let ends = (event.source.to_string(), event.destination.to_string());
            let expected = match direction {
                Inbound => ("10.0.0.5".to_owned(), HERE.to_owned()),
                Outbound => (HERE.to_owned(), "10.0.0.5".to_owned()),
            };
            assert_eq!(ends, expected);
            assert_eq!((event.from, event.packets, event.bytes), (EventSource::SecurityLog, 1, 0));
            assert_eq!((event.first_seen, event.last_seen), (1_700_000_000, 1_700_000_000));
            assert_eq!(event.process.as_deref(), Some("nginx.exe"));
        }
    }
}

#[test]
fn the_same_flow_is_one_event_and_hits_count_each_time() {
    let (numbers, at) = numbers();
    let one = flow(FlowOutcome::Permitted, Direction::Inbound, 6, (443, 50_000), at.https);
    let later = FlowEvent { time: Some(1_700_000_060_000), ..one.clone() };
    let other_port = FlowEvent {
        ends: Ends::Peer {
            local: (HERE.parse().unwrap(), 443),
            remote: ("10.0.0.5".parse().unwrap(), 50_001),
        },
        ..one.clone()
    };
    let tally = tally(&[one, later, other_port], &numbers);
    let events = tally.events();
    let seen: Vec<_> =
        events.iter().map(|event| (event.packets, event.first_seen, event.last_seen)).collect();
    assert_eq!(seen, [(3, 1_700_000_000, 1_700_000_060)]);
    let hits = tally.hits();
    let told: Vec<_> =
        hits.iter().map(|hits| (hits.rule.as_str(), hits.direction, hits.packets)).collect();
    assert_eq!(told, [("web/https", Direction::Inbound, 3)]);
    let paths = tally.paths(|path| {
        path.strip_prefix(r"\device\harddiskvolume2").map(|rest| format!("C:{rest}"))
    });
    let told: Vec<_> =
        paths.iter().map(|path| (path.connections, path.process.as_deref())).collect();
    assert_eq!(told, [(3, Some(r"C:\srv\nginx.exe"))]);
}

#[test]
fn what_is_reported_twice_or_says_nothing_about_a_service_is_left_out() {
    use Direction::{Inbound, Outbound};
    use FlowOutcome::{ConnectionBlocked, PacketDropped};
    let (numbers, at) = numbers();
    let of = |outcome, direction, protocol, ports| {
        flow(outcome, direction, protocol, ports, at.outbound)
    };
    let this_host =
        FlowEvent { ends: Ends::ThisHost, ..of(ConnectionBlocked, Outbound, 6, (50_000, 80)) };
    let unplaced = FlowEvent {
        ends: Ends::Unplaced {
            source: ("10.0.0.5".parse().unwrap(), 1),
            destination: ("10.0.0.8".parse().unwrap(), 2),
        },
        ..of(ConnectionBlocked, Inbound, 6, (1, 2))
    };
    #[rustfmt::skip]
    let table: [(&str, &[FlowEvent], u64, u64); 5] = [
        ("a drop that two events report", &[
            of(ConnectionBlocked, Outbound, 6, (50_000, 25)),
            of(PacketDropped, Outbound, 6, (50_000, 25)),
        ], 1, 0),
        ("an attempt and its repetition", &[
            of(ConnectionBlocked, Outbound, 6, (50_000, 25)),
            of(ConnectionBlocked, Outbound, 6, (50_000, 25)),
        ], 2, 0),
        ("a late answer of a name server", &[of(PacketDropped, Inbound, 17, (50_000, 53))], 0, 0),
        ("loopback", &[this_host], 0, 0),
        ("an address that this host no longer has", &[unplaced], 0, 1),
    ];
    for (what, events, packets, unplaced) in table {
        let tally = tally(events, &numbers);
        let counted: u64 = tally.events().iter().map(|event| event.packets).sum();
        assert_eq!((counted, tally.unplaced), (packets, unplaced), "{what}");
    }
}

#[test]
fn denied_flows_are_no_paths_and_icmp_has_its_type() {
    let (numbers, at) = numbers();
    let denied =
        flow(FlowOutcome::ConnectionBlocked, Direction::Outbound, 6, (50_000, 25), at.outbound);
    let echo = flow(FlowOutcome::Permitted, Direction::Inbound, 1, (8, 0), 0);
    let tally = tally(&[denied, echo], &numbers);
    assert_eq!(tally.events().len(), 2);
    let paths = tally.paths(|_| None);
    let told: Vec<_> = paths.iter().map(|path| (path.protocol, path.port)).collect();
    assert_eq!(told, [(Protocol::Icmp, 8)]);
    // A path that no drive leads to stays as Windows has it.
    let process = paths[0].process.as_deref();
    assert_eq!(process, Some(r"\device\harddiskvolume2\srv\nginx.exe"));
}

#[test]
fn what_there_is_no_room_for_is_counted_as_lost() {
    let (numbers, _) = numbers();
    let mut tally = FlowTally::default();
    for number in 0..u32::try_from(MOST_FLOWS).unwrap() + 7 {
        let port = u16::try_from(number % 60_000).unwrap();
        let remote = std::net::Ipv4Addr::from(0x0a01_0000 + number / 60_000);
        let event = FlowEvent {
            ends: Ends::Peer {
                local: (HERE.parse().unwrap(), 50_000),
                remote: (remote.into(), port),
            },
            ..flow(FlowOutcome::Permitted, Direction::Outbound, 6, (1, 1), 0)
        };
        tally.add(&Event::Flow(event), &numbers, NOW);
    }
    assert_eq!((tally.events().len(), tally.lost), (MOST_FLOWS, 7));
}

#[test]
fn flows_blocked_by_filters_that_are_not_the_policys_may_be_the_threat_lists() {
    use Direction::Inbound;
    use FlowOutcome::{ConnectionBlocked, Permitted};
    let (numbers, at) = numbers();
    let events = [
        flow(Permitted, Inbound, 6, (443, 50_000), at.https),
        flow(ConnectionBlocked, Inbound, 6, (444, 50_000), at.other),
        flow(ConnectionBlocked, Direction::Outbound, 6, (50_000, 25), at.outbound),
    ];
    let tally = tally(&events, &numbers);
    let mut found: Vec<_> =
        tally.with_peers().into_iter().map(|flow| (flow.port, flow.action)).collect();
    found.sort_by_key(|(port, _)| *port);
    let expected =
        [(25, ThreatAction::Recorded), (443, ThreatAction::Recorded), (444, ThreatAction::Blocked)];
    assert_eq!(found, expected);
    // The policy denied one of them.
    let denied = tally.events().iter().filter(|event| event.kind == EventKind::Denied).count();
    assert_eq!(denied, 1);
}
