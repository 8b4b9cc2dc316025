//! The threat list in the filter engine: verdicts under every reading, and what is left after any failure.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use xshield_firewall::plan::Digest;
use xshield_firewall::threat::{
    Counts, ListName, ListTable, Posture, ThreatError, ThreatMode, ThreatState,
};
use xshield_firewall::wfp::eval::{EnginePhase, Ruling};
use xshield_firewall::wfp::model::{EngineState, Filter, FilterAction, Flags};
use xshield_firewall::wfp::names::Layer;
use xshield_firewall::wfp::{LIST_PROVIDER, WfpThreatTable, plan, traffic};
use xshield_policy::{Bound, Direction, Packet, Reason, decide};

use crate::common::{bound, packet};
use crate::world::{Failing, Failure, difference, holding, outcomes, programs, wanted};

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn name(revision: u64, entries: &[IpNet]) -> ListName {
    let byte = u8::try_from(revision).unwrap();
    ListName {
        revision,
        digest: Digest([byte; 32]),
        counts: Counts::count(entries.iter().copied()),
    }
}

fn posture(bound: &Bound, inbound: ThreatMode, outbound: ThreatMode) -> Posture {
    Posture { inbound, outbound, failsafe: bound.failsafe.clone(), live: None }
}

fn load<E: xshield_firewall::wfp::FilterEngine>(
    table: &mut WfpThreatTable<E>,
    revision: u64,
    entries: &[IpNet],
    posture: &Posture,
) -> Result<(), ThreatError> {
    table.load(&name(revision, entries), posture, &mut entries.iter().map(|entry| Ok(*entry)))
}

/// A table over an engine that holds this policy, with a list in force.
fn loaded(bound: &Bound, entries: &[IpNet], posture: &Posture) -> WfpThreatTable<EngineState> {
    let mut table = WfpThreatTable::new(holding(&plan(bound, &programs()).unwrap()));
    load(&mut table, 1, entries, posture).unwrap();
    table
}

/// The filters of the list in an engine.
fn filters(state: &EngineState) -> Vec<&Filter> {
    let is_of = |filter: &&Filter| filter.provider == Some(LIST_PROVIDER.into());
    state.filters.iter().filter(is_of).collect()
}

fn bare() -> Bound {
    Bound {
        revision: xshield_policy::Revision(1),
        failsafe: xshield_policy::BoundFailsafe::bare(vec!["192.0.2.7:8443".parse().unwrap()], &[]),
        intranet: xshield_policy::RangeSet::empty(),
        inbound: xshield_policy::BoundDirection::enforcing(xshield_policy::BoundStance::open()),
        outbound: xshield_policy::BoundDirection::enforcing(xshield_policy::BoundStance::open()),
        forwarded: xshield_policy::BoundForwarded::default(),
    }
}

fn in_force(table: &mut WfpThreatTable<EngineState>) -> Option<u64> {
    match table.state().unwrap() {
        ThreatState::InForce(installed) => Some(installed.list.revision),
        _ => None,
    }
}

fn modes() -> impl Strategy<Value = ThreatMode> {
    prop_oneof![Just(ThreatMode::Block), Just(ThreatMode::EventOnly), Just(ThreatMode::Off)]
}

/// An entry that contains an address.
fn around(address: IpAddr, length: u8) -> IpNet {
    let most = if address.is_ipv4() { 32 } else { 128 };
    IpNet::new(address, length.clamp(1, most)).unwrap().trunc()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    #[test]
    fn listed_peers_are_blocked_and_all_others_are_left_to_the_policy(
        bound in bound(),
        packets in proptest::collection::vec(packet(), 12),
        lengths in proptest::collection::vec(8..=128_u8, 4),
        inbound in modes(),
        outbound in modes(),
    ) {
        let entries: Vec<IpNet> =
            packets.iter().zip(lengths).map(|(packet, length)| around(packet.peer, length)).collect();
        let mut entries = entries;
        entries.sort_unstable();
        entries.dedup();
        let posture = posture(&bound, inbound, outbound);
        let mut table = loaded(&bound, &entries, &posture);
        let state = table.engine_mut().clone();
        for packet in &packets {
            let is_listed = entries.iter().any(|entry| entry.contains(&packet.peer));
            let is_blocked = posture.mode(packet.direction) == ThreatMode::Block;
            let is_failsafe = matches!(decide(&bound, packet).reason, Reason::Failsafe(_));
            for form in traffic::classifications(packet, &programs()) {
                // ICMP errors pass the list: at their layers it has no filters.
                let is_error = matches!(
                    form.0,
                    Layer::InboundIcmpError(_) | Layer::OutboundIcmpError(_)
                );
                let expected = match is_listed && is_blocked && !is_failsafe && !is_error {
                    true => Ruling::Block,
                    false => wanted(&bound, packet),
                };
                for (reading, outcome) in outcomes(&state, &form, EnginePhase::Running) {
                    let got = outcome.ruling;
                    prop_assert_eq!(got, expected, "{} at {} under {:?}", packet, form.0, reading);
                }
            }
        }
    }
}

#[test]
fn an_entry_blocks_what_the_policy_permits_in_the_directions_that_block() {
    let bound = bare();
    let entries = nets(&["198.51.100.0/24", "203.0.113.9/32", "2001:db8::/32"]);
    use ThreatMode::{Block, EventOnly, Off};
    for (inbound, outbound) in [(Block, Block), (Block, Off), (EventOnly, Block), (Off, EventOnly)]
    {
        let posture = posture(&bound, inbound, outbound);
        let mut table = loaded(&bound, &entries, &posture);
        let state = table.engine_mut().clone();
        for direction in Direction::BOTH {
            for (peer, is_listed) in [
                ("198.51.100.77", true),
                ("203.0.113.9", true),
                ("203.0.113.10", false),
                ("2001:db8::1", true),
                ("2001:db9::1", false),
            ] {
                let packet = Packet {
                    direction,
                    peer: peer.parse().unwrap(),
                    local: None,
                    transport: xshield_policy::packet::Transport::Tcp(50_000, 443),
                    loopback: false,
                    owners: Vec::new(),
                };
                let unlisted = holding(&plan(&bound, &programs()).unwrap());
                difference(&unlisted, &packet, EnginePhase::Running, Ruling::Permit).unwrap();
                let blocks = is_listed && posture.mode(direction) == Block;
                let expected = if blocks { Ruling::Block } else { Ruling::Permit };
                difference(&state, &packet, EnginePhase::Running, expected).unwrap();
            }
        }
        let state = table.engine_mut();
        assert!(filters(state).iter().all(|filter| filter.flags == Flags::PERSISTENT));
        // Exactly the list is there, and nothing is missing in a sample.
        let mut whole = entries.iter().copied();
        assert_eq!(table.verify_full(&mut whole).unwrap(), []);
        assert_eq!(table.a_missing_entry(&mut entries.iter().copied()).unwrap(), None);
        let found = table.lookup("198.51.100.77".parse().unwrap()).unwrap();
        let is_looked_up = inbound == Block || outbound == Block;
        assert_eq!(found.map(|found| found.first), is_looked_up.then(|| entries[0].network()));
    }
}

/// Whether a filter blocks an entry.
fn is_block(filter: &Filter) -> bool {
    filter.provider == Some(LIST_PROVIDER.into()) && filter.action == FilterAction::Block
}

/// The entries of an engine's list, in both directions.
fn entries_in(state: &EngineState) -> Vec<String> {
    let blocks = state.filters.iter().filter(|filter| is_block(filter));
    let mut found: Vec<String> =
        blocks.map(|filter| format!("{} {}", filter.layer, filter.conditions[0])).collect();
    found.sort();
    found
}

#[test]
fn any_failure_leaves_a_complete_list_and_the_next_load_succeeds() {
    let bound = bare();
    let both = posture(&bound, ThreatMode::Block, ThreatMode::Block);
    let old = nets(&["198.51.100.0/24", "203.0.113.1/32", "2001:db8::/32"]);
    let new = nets(&["198.51.100.0/24", "203.0.113.2/32", "2001:db8:1::/48"]);
    let whole = |entries: &[IpNet]| entries_in(loaded(&bound, entries, &both).engine_mut());
    let (of_old, of_new) = (whole(&old), whole(&new));
    type Operation =
        fn(&mut WfpThreatTable<Failing>, &[IpNet], &Posture) -> Result<(), ThreatError>;
    let by_load: Operation = |table, new, posture| load(table, 2, new, posture);
    let by_delta: Operation = |table, new, posture| {
        let adds = nets(&["203.0.113.2/32", "2001:db8:1::/48"]);
        let removes = nets(&["203.0.113.1/32", "2001:db8::/32"]);
        table.apply_delta(Digest([1; 32]), &name(2, new), &adds, &removes, posture)
    };
    let mut cases = 0;
    for (operation, what) in [(by_load, "load"), (by_delta, "delta")] {
        for failure in [Failure::Refused, Failure::Unanswered] {
            for at in 0.. {
                let engine = loaded(&bound, &old, &both).engine_mut().clone();
                let mut table = WfpThreatTable::new(Failing { engine, calls: 0, at, failure });
                let result = operation(&mut table, &new, &both);
                let (calls, left) = (table.engine_mut().calls, table.engine_mut().engine.clone());
                let context = format!("{what}, {failure:?} at {at} of {calls}");
                let found = entries_in(&left);
                let mut after = WfpThreatTable::new(left);
                let expected = match in_force(&mut after) {
                    Some(1) => &of_old,
                    Some(2) => &of_new,
                    other => panic!("{context}: {other:?}"),
                };
                assert!(expected.iter().all(|entry| found.contains(entry)), "{context}");
                load(&mut after, 2, &new, &both).unwrap();
                assert_eq!(entries_in(after.engine_mut()), of_new, "{context}");
                assert_eq!(after.verify_full(&mut new.iter().copied()).unwrap(), [], "{context}");
                if at >= calls {
                    assert!(result.is_ok(), "{context}: {result:?}");
                    assert_eq!(found, of_new, "{context}");
                    break;
                }
                cases += 1;
            }
        }
    }
    assert!(cases > 20, "{cases}");
}

#[test]
fn a_list_that_can_not_be_used_changes_nothing() {
    let bound = bare();
    let both = posture(&bound, ThreatMode::Block, ThreatMode::Block);
    let old = nets(&["198.51.100.0/24"]);
    let new = nets(&["203.0.113.2/32"]);
    let everything = nets(&["203.0.113.2/32", "0.0.0.0/0"]);
    let mut table = loaded(&bound, &old, &both);
    let before = table.engine_mut().clone();
    let unreadable = |_: &IpNet| Err("the file ends early".into());
    let results = [
        table.load(&name(2, &old), &both, &mut everything.iter().map(|entry| Ok(*entry))),
        table.load(&name(2, &everything), &both, &mut new.iter().map(|entry| Ok(*entry))),
        table.load(&name(2, &new), &both, &mut new.iter().map(unreadable)),
        table.apply_delta(Digest([7; 32]), &name(2, &new), &new, &old, &both),
        table.apply_delta(Digest([1; 32]), &name(2, &new), &new, &[], &both),
        table.apply_delta(Digest([1; 32]), &name(2, &everything), &everything, &old, &both),
    ];
    let expected =
        ["Everything", "Miscounted", "Unreadable", "WrongBase", "Miscounted", "Everything"];
    for (result, expected) in results.into_iter().zip(expected) {
        let error = format!("{:?}", result.unwrap_err());
        assert!(error.starts_with(expected), "{error}, not {expected}");
    }
    assert_eq!(entries_in(table.engine_mut()), entries_in(&before));
    assert_eq!(in_force(&mut table), Some(1));
}

#[test]
fn other_modes_need_the_entries_and_another_failsafe_does_not() {
    let bound = bare();
    let both = posture(&bound, ThreatMode::Block, ThreatMode::Block);
    let entries = nets(&["198.51.100.0/24", "2001:db8::/32"]);
    let mut table = loaded(&bound, &entries, &both);
    let inbound_only = posture(&bound, ThreatMode::Block, ThreatMode::EventOnly);
    let refused = table.set_posture(&inbound_only).unwrap_err();
    assert!(matches!(refused, ThreatError::NotInForce { .. }), "{refused}");
    load(&mut table, 1, &entries, &inbound_only).unwrap();
    assert_eq!(entries_in(table.engine_mut()).len(), 2);
    let moved = Posture {
        failsafe: xshield_policy::BoundFailsafe::bare(vec!["192.0.2.8:8443".parse().unwrap()], &[]),
        ..inbound_only
    };
    table.set_posture(&moved).unwrap();
    assert_eq!((entries_in(table.engine_mut()).len(), in_force(&mut table)), (2, Some(1)));
    // The same once more changes nothing; a guard that another program deleted or changed is put right.
    let before = table.engine_mut().clone();
    table.set_posture(&moved).unwrap();
    assert_eq!(*table.engine_mut(), before);
    let guard = |filter: &Filter| {
        filter.provider == Some(LIST_PROVIDER.into())
            && filter.action == FilterAction::Permit
            && filter.description.is_empty()
    };
    let at = table.engine_mut().filters.iter().position(guard).unwrap();
    table.engine_mut().filters.remove(at);
    table.set_posture(&moved).unwrap();
    assert_eq!(table.engine_mut().filters.len(), before.filters.len());
    let at = table.engine_mut().filters.iter().position(guard).unwrap();
    table.engine_mut().filters[at].action = FilterAction::Block;
    table.set_posture(&moved).unwrap();
    let is_held = |wanted: &Filter| table.engine_mut().filters.contains(wanted);
    assert!(before.filters.iter().all(is_held));
    assert_eq!(table.engine_mut().filters.len(), before.filters.len());
}

#[test]
fn what_others_change_is_found() {
    let bound = bare();
    let both = posture(&bound, ThreatMode::Block, ThreatMode::Block);
    let entries = nets(&["198.51.100.0/24", "203.0.113.2/32", "2001:db8::/32"]);
    type Change = fn(&mut Vec<Filter>);
    fn block(filters: &[Filter]) -> usize {
        filters.iter().position(is_block).unwrap()
    }
    let changes: [(&str, Change, bool); 3] = [
        (
            "an entry deleted",
            |filters| {
                let at = block(filters);
                filters.remove(at);
            },
            true,
        ),
        (
            "an entry that permits",
            |filters| {
                let at = block(filters);
                filters[at].action = FilterAction::Permit;
            },
            true,
        ),
        (
            "the name deleted",
            |filters| {
                let named = |filter: &Filter| filter.description.starts_with("list ");
                let at = filters.iter().position(named).unwrap();
                filters.remove(at);
            },
            false,
        ),
    ];
    for (what, change, is_named) in changes {
        let mut table = loaded(&bound, &entries, &both);
        change(&mut table.engine_mut().filters);
        assert_eq!(in_force(&mut table).is_some(), is_named, "{what}");
        if is_named {
            let missing = table.a_missing_entry(&mut entries.iter().copied()).unwrap();
            assert!(missing.is_some(), "{what}");
            let different = table.verify_full(&mut entries.iter().copied()).unwrap();
            assert_eq!(different.len(), 1, "{what}");
        }
        load(&mut table, 1, &entries, &both).unwrap();
        assert_eq!(table.verify_full(&mut entries.iter().copied()).unwrap(), [], "{what}");
        assert_eq!(in_force(&mut table), Some(1), "{what}");
    }
}

#[test]
fn a_removed_list_leaves_the_policy_and_what_belongs_to_others() {
    let bound = bare();
    let both = posture(&bound, ThreatMode::Block, ThreatMode::Block);
    let before = holding(&plan(&bound, &programs()).unwrap());
    let mut table = loaded(&bound, &nets(&["198.51.100.0/24"]), &both);
    table.remove().unwrap();
    assert_eq!(*table.engine_mut(), before);
    assert_eq!(table.state().unwrap(), ThreatState::Absent);
    table.remove().unwrap();
    assert_eq!(*table.engine_mut(), before);
}

#[test]
fn a_policy_comes_and_goes_beside_the_list() {
    use xshield_firewall::wfp::{FilterEngine as _, WfpFirewall};
    let bound = bare();
    let both = posture(&bound, ThreatMode::Block, ThreatMode::Block);
    let entries = nets(&["198.51.100.0/24"]);
    let engine = loaded(&bound, &entries, &both).engine_mut().clone();
    let mut firewall = WfpFirewall::new(engine);
    let listed = filters(firewall.engine()).len();
    assert!(
        firewall
            .engine_mut()
            .read()
            .unwrap()
            .filters
            .iter()
            .all(|filter| { filter.provider != Some(LIST_PROVIDER.into()) })
    );
    firewall.remove().unwrap();
    assert_eq!(filters(firewall.engine()).len(), listed);
    let mut table = WfpThreatTable::new(firewall.engine().clone());
    assert_eq!(in_force(&mut table), Some(1));
    assert_eq!(table.verify_full(&mut entries.iter().copied()).unwrap(), []);
}
