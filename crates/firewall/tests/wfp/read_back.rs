//! What is read back is compared with the plan, repaired, and explained.

use proptest::prelude::*;
use xshield_firewall::explain;
use xshield_firewall::wfp::attribution::{Attribution, FilterNumbers};
use xshield_firewall::wfp::model::{
    EngineState, Filter, FilterAction, Flags, Lifetime, Provider, Value, Weight,
};
use xshield_firewall::wfp::names::FilterField;
use xshield_firewall::wfp::ours::{self, Tier};
use xshield_firewall::wfp::program::Programs;
use xshield_firewall::wfp::{Guid, Plan, difference, plan, programmed};
use xshield_policy::{Bound, Owner, Reason, Verdict, decide};

use crate::common::{bound, packet};
use crate::world::{holding, programs, state};

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn a_plan_read_back_decides_like_decide(
        bound in bound(),
        packets in proptest::collection::vec(packet(), 30),
    ) {
        let plan = plan(&bound, &programs()).unwrap();
        for (tier, slot) in [(Tier::Kept, 'a'), (Tier::Trial, 'b')] {
            let state = state(plan.filters_in(tier));
            let read = programmed(&state, &programs()).unwrap();
            prop_assert_eq!((read.slot, read.revision), (slot, bound.revision));
            prop_assert_eq!(read.digest, plan.digest());
            for packet in &packets {
                let wanted = decide(&bound, packet);
                let got = explain(&read, packet);
                prop_assert_eq!(got.verdict, wanted.verdict, "{}: {}\n{}", packet, got, read);
                if let Reason::Failsafe(kind) = wanted.reason {
                    prop_assert!(got.rule.unwrap().starts_with("failsafe/"), "{:?}", kind);
                }
            }
        }
    }

    #[test]
    fn any_state_converges_to_the_plan(
        old in bound(),
        new in bound(),
        lost in proptest::collection::vec(any::<bool>(), 32),
    ) {
        let (before, after) = (plan(&old, &programs()).unwrap(), plan(&new, &programs()).unwrap());
        let mut state = holding(&before);
        let mut at = 0;
        state.filters.retain(|_| { at += 1; lost[at % 32] });
        let foreign = foreign_filter();
        state.filters.push(foreign.clone());
        let found = difference(Some(&after), &state);
        state.commit(&found.transaction()).unwrap();
        let left = difference(Some(&after), &state);
        prop_assert_eq!(left.changes, vec![]);
        prop_assert!(state.filters.contains(&foreign));
        let kept: usize = after.filters_in(Tier::Kept).count();
        prop_assert_eq!(state.filters.len(), kept + 1);

        state.commit(&difference(None, &state).transaction()).unwrap();
        prop_assert_eq!(state, EngineState { filters: vec![foreign], ..EngineState::default() });
    }
}

/// A filter of another product, in its own sublayer.
fn foreign_filter() -> Filter {
    let bound: Bound = serde_json::from_str(EXAMPLE).unwrap();
    let ours = plan(&bound, &programs()).unwrap().filters_in(Tier::Kept).next().unwrap();
    Filter {
        key: Guid(1).into(),
        name: "theirs".into(),
        provider: Some(Guid(2).into()),
        sublayer: Guid(3).into(),
        ..ours
    }
}

const EXAMPLE: &str = r#"{"revision": 3,
    "failsafe": {"endpoints": [], "resolvers": "any", "management": []},
    "intranet": {"v4": [], "v6": []},
    "inbound": {"enforced": {"subject": "everything", "blocks": [], "allows": [
        {"id": "web/https", "owner": null, "services": ["tcp/443"], "peers": "any"}]}, "tested": null},
    "outbound": {"enforced": {"subject": "everything", "blocks": [], "allows": [
        {"id": "app/any", "owner": {"uid": 0}, "services": ["any"], "peers": "any"}]}, "tested": null}}"#;

/// The name of a filter of the example that stays.
fn named(state: &EngineState, name: &str) -> usize {
    state.filters.iter().position(|filter| filter.name.ends_with(name)).unwrap()
}

fn texts(plan: &Plan, state: &EngineState) -> Vec<String> {
    difference(Some(plan), state).drift.into_iter().map(|drift| drift.text).collect()
}

#[test]
fn drift_is_reported_and_repaired() {
    let bound: Bound = serde_json::from_str(EXAMPLE).unwrap();
    let plan = plan(&bound, &programs()).unwrap();
    type Spoil = fn(&mut EngineState);
    let cases: [(Spoil, &str); 7] = [
        (
            |state| {
                let at = named(state, "web/https");
                state.filters.remove(at);
            },
            "FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4, web/https: missing",
        ),
        (
            |state| {
                let at = named(state, "web/https");
                state.filters[at].action = FilterAction::Block;
            },
            "web/https: changed by another program",
        ),
        (
            |state| {
                let at = named(state, "web/https");
                let more = Filter { key: Guid(9).into(), ..state.filters[at].clone() };
                state.filters.push(more);
            },
            "web/https: should not be there",
        ),
        (
            |state| {
                let at = named(state, "web/https");
                let flags = state.filters[at].flags.with(Flags::DISABLED);
                state.filters[at].flags = flags;
            },
            "web/https: disabled by Windows",
        ),
        (
            |state| {
                state.providers.push(Provider {
                    key: Guid(2).into(),
                    name: "Other".into(),
                    service: None,
                    lifetime: Lifetime::Persistent,
                });
                state.filters.push(Filter { sublayer: ours::SUBLAYER.into(), ..foreign_filter() });
            },
            "\"theirs\" at FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4 of Other",
        ),
        (|state| state.sublayers[0].weight = 7, "our sublayer has another weight"),
        (
            |state| {
                state.filters.clear();
                state.sublayers.clear();
                state.providers.clear();
            },
            "our sublayer is missing",
        ),
    ];
    for (spoil, says) in cases {
        let mut state = holding(&plan);
        assert_eq!(texts(&plan, &state), Vec::<String>::new());
        spoil(&mut state);
        let told = texts(&plan, &state);
        assert!(told.iter().any(|text| text.contains(says)), "{says}: {told:#?}");
        state.commit(&difference(Some(&plan), &state).transaction()).unwrap();
        let left = difference(Some(&plan), &state);
        assert_eq!(left.changes, [], "{says}");
        // Foreign objects, and what Windows disabled, are reported again.
        let stays = says.contains("theirs") || says.contains("disabled");
        assert_eq!(!left.drift.is_empty(), stays, "{says}: {:?}", left.drift);
    }
}

/// What Windows adds to a filter when it is read is no difference.
#[test]
fn values_computed_by_windows_are_not_drift() {
    let bound: Bound = serde_json::from_str(EXAMPLE).unwrap();
    let plan = plan(&bound, &programs()).unwrap();
    let mut state = holding(&plan);
    for (at, filter) in state.filters.iter_mut().enumerate() {
        let Weight::Exact(weight) = filter.weight else { unreachable!("our weights are exact") };
        filter.effective_weight = Some(weight);
        filter.flags = filter.flags.with(Flags::INDEXED);
        filter.id = Some(70_000 + at as u64);
    }
    assert_eq!(difference(Some(&plan), &state), Default::default());
}

/// Numbers filters from here on, as Windows does.
fn numbered(plan: &Plan, first: u64) -> EngineState {
    let mut state = holding(plan);
    for (id, filter) in (first..).zip(&mut state.filters) {
        filter.id = Some(id);
    }
    state
}

#[test]
fn events_name_rules_even_of_the_previous_ruleset() {
    let mut bound: Bound = serde_json::from_str(EXAMPLE).unwrap();
    let before = numbered(&plan(&bound, &programs()).unwrap(), 70_000);
    bound.inbound.tested = Some(bound.inbound.enforced.clone());
    bound.inbound.enforced = xshield_policy::BoundStance::open();
    let after = numbered(&plan(&bound, &programs()).unwrap(), 80_000);
    let mut numbers = FilterNumbers::default();
    numbers.learn(&before);
    numbers.learn(&after);
    let of = |state: &EngineState, name: &str| state.filters[named(state, name)].id;
    let rule = |rule, verdict| Attribution::Rule { rule, verdict };
    for (id, wanted) in [
        (of(&before, "web/https"), rule("web/https", Verdict::Allow)),
        (of(&after, "web/https"), rule("web/https", Verdict::Allow)),
        (of(&before, "default/closed"), rule("default/closed", Verdict::Deny)),
        (of(&after, "default/closed"), rule("default/closed", Verdict::WouldDeny)),
        (Some(66_000), Attribution::Unknown(66_000)),
        (Some(0), Attribution::Unnamed),
        (None, Attribution::Unnamed),
    ] {
        assert_eq!(numbers.of(id), wanted);
    }
    let stored = serde_json::to_string(&numbers).unwrap();
    let mut read: FilterNumbers = serde_json::from_str(&stored).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), stored);
    // What was known before is no change.
    assert!(numbers.has_changed() && !read.has_changed());
    read.learn(&after);
    assert!(!read.has_changed());
}

#[test]
fn remembered_filters_are_limited_and_include_all_present_ones() {
    let bound: Bound = serde_json::from_str(EXAMPLE).unwrap();
    let plan = plan(&bound, &programs()).unwrap();
    let rule = holding(&plan).filters.swap_remove(0);
    let mut numbers = FilterNumbers::default();
    let many = |first: u64, count: u64| {
        state((first..first + count).map(|id| Filter { id: Some(id), ..rule.clone() }))
    };
    for (first, count) in [(1, 90_000), (100_000, 90_000), (200_000, 90_000)] {
        numbers.learn(&many(first, count));
    }
    let is_known = |numbers: &FilterNumbers, id| numbers.of(Some(id)) != Attribution::Unknown(id);
    assert_eq!([1, 100_000, 200_000].map(|id| is_known(&numbers, id)), [false, true, true]);
    numbers.learn(&many(300_000, 250_000));
    assert_eq!([200_000, 300_000, 549_999].map(|id| is_known(&numbers, id)), [false, true, true]);
}

#[test]
fn programs_are_read_back_and_ambiguous_filters_make_explanations_uncertain() {
    let bound: Bound = serde_json::from_str(EXAMPLE).unwrap();
    let plan = plan(&bound, &programs()).unwrap();
    let mut packet: xshield_policy::Packet = "out tcp :1 -> 10.0.0.9:443".parse().unwrap();
    packet.owners = vec![Owner::Uid(0)];
    let known = programmed(&holding(&plan), &programs()).unwrap();
    let explained = explain(&known, &packet);
    assert_eq!((explained.rule.as_deref(), explained.uncertain), (Some("app/any"), false));
    // Without a table, the filter itself says which identity it asks for.
    let identity = Some("S-1-5-80-0".to_owned());
    packet.owners = vec![Owner::Windows { executable: None, identity }];
    let explained = explain(&programmed(&holding(&plan), &Programs::new()).unwrap(), &packet);
    assert_eq!((explained.rule.as_deref(), explained.uncertain), (Some("app/any"), false));
    let mut state = holding(&plan);
    let conditions = state.filters.iter_mut().flat_map(|filter| &mut filter.conditions);
    for condition in conditions.filter(|condition| condition.field == FilterField::UserId) {
        let two = "O:SYG:SYD:(A;;CCRC;;;S-1-5-80-0)(A;;CCRC;;;S-1-5-18)".to_owned();
        condition.value = Value::SecurityDescriptor(two);
    }
    assert!(explain(&programmed(&state, &Programs::new()).unwrap(), &packet).uncertain);
    assert!(programmed(&EngineState::default(), &programs()).is_none());
}
