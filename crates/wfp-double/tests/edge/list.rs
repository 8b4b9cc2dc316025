//! The threat list beside a policy.

use ipnet::IpNet;
use xshield_firewall::plan::Digest;
use xshield_firewall::threat::{
    Counts, ListName, ListTable, Posture, ThreatError, ThreatMode, ThreatState,
};
use xshield_firewall::wfp::{FilterEngine, LIST_PROVIDER, WfpThreatTable};
use xshield_policy::BoundFailsafe;

use crate::double::{Double, host, old_and_new};

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn name(revision: u64, entries: &[IpNet]) -> ListName {
    let digest = Digest([u8::try_from(revision).unwrap(); 32]);
    ListName { revision, digest, counts: Counts::count(entries.iter().copied()) }
}

fn posture(outbound: ThreatMode) -> Posture {
    let failsafe = BoundFailsafe::bare(vec!["192.0.2.7:8443".parse().unwrap()], &[]);
    Posture { inbound: ThreatMode::Block, outbound, failsafe, live: None }
}

#[test]
fn a_list_is_loaded_changed_compared_and_removed() {
    let double = Double::holding(&old_and_new().0.1);
    let policy = double.state();
    let mut table = WfpThreatTable::new(host());
    let both = posture(ThreatMode::Block);
    assert_eq!(table.state().unwrap(), ThreatState::Absent);

    let old = nets(&["198.51.100.0/24", "203.0.113.1/32", "2001:db8::/32", "2001:db9::1/128"]);
    let load = |table: &mut WfpThreatTable<_>, revision, entries: &[IpNet], posture: &Posture| {
        table.load(&name(revision, entries), posture, &mut entries.iter().map(|it| Ok(*it)))
    };
    load(&mut table, 1, &old, &both).unwrap();
    assert_eq!(table.verify_full(&mut old.iter().copied()).unwrap(), []);
    assert_eq!(table.a_missing_entry(&mut old.iter().copied()).unwrap(), None);
    let found = table.lookup("198.51.100.9".parse().unwrap()).unwrap().unwrap();
    assert_eq!(
        (found.first.to_string(), found.last.to_string()),
        ("198.51.100.0".into(), "198.51.100.255".into())
    );

    let new = nets(&["198.51.100.0/24", "203.0.113.2/32", "2001:db8::/32", "2001:db9::1/128"]);
    let (adds, removes) = (nets(&["203.0.113.2/32"]), nets(&["203.0.113.1/32"]));
    table.apply_delta(Digest([1; 32]), &name(2, &new), &adds, &removes, &both).unwrap();
    assert_eq!(table.verify_full(&mut new.iter().copied()).unwrap(), []);
    let state = table.state().unwrap();
    assert_eq!(state.standing().map(|standing| standing.list), Some(name(2, &new)));
    table.set_posture(&both).unwrap();

    // The policy is read without the list, and was not changed.
    let of_list = |state: &xshield_firewall::wfp::model::EngineState| {
        let provider = Some(LIST_PROVIDER.into());
        state.filters.iter().filter(|filter| filter.provider == provider).count()
    };
    assert!(of_list(&double.state()) > 8);
    assert_eq!(of_list(&host().read().unwrap()), 0);

    let one_way = posture(ThreatMode::EventOnly);
    let refused = table.set_posture(&one_way).unwrap_err();
    assert!(matches!(refused, ThreatError::NotInForce { .. }), "{refused}");
    load(&mut table, 2, &new, &one_way).unwrap();
    assert_eq!(table.verify_full(&mut new.iter().copied()).unwrap(), []);

    table.remove().unwrap();
    assert_eq!(table.state().unwrap(), ThreatState::Absent);
    assert_eq!(double.state(), policy);
}

#[test]
fn a_list_of_some_size_is_loaded_in_several_transactions() {
    let double = Double::new();
    let mut table = WfpThreatTable::new(host());
    let entries: Vec<IpNet> = (0..3_000_u32)
        .map(|number| IpNet::from(std::net::IpAddr::from((0xc633_0000 + number).to_be_bytes())))
        .collect();
    let both = posture(ThreatMode::Block);
    table.load(&name(1, &entries), &both, &mut entries.iter().map(|it| Ok(*it))).unwrap();
    assert_eq!(table.verify_full(&mut entries.iter().copied()).unwrap(), []);
    let commits = double.directory.calls().unwrap();
    let commits = commits.iter().filter(|call| call.starts_with("FwpmTransactionCommit0")).count();
    assert!(commits > 2, "{commits}");
}
