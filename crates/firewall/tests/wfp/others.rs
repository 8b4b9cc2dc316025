//! Other products: the report names those that change our decisions.

use xshield_firewall::plan::Family;
use xshield_firewall::wfp::coexistence::{Certainty, Effect, coexistence};
use xshield_firewall::wfp::model::{
    CalloutKind, EngineState, Filter, FilterAction, FilterCondition, Flags, Lifetime, MatchType,
    Provider, SubLayer, Value, Weight,
};
use xshield_firewall::wfp::names::{FilterField, LOOPBACK, Layer};
use xshield_firewall::wfp::{Guid, plan};
use xshield_policy::Bound;

use crate::world::{holding, programs};

const POLICY: &str = r#"{"revision": 3,
    "failsafe": {"endpoints": [], "resolvers": "any", "management": []},
    "intranet": {"v4": [], "v6": []},
    "inbound": {"enforced": {"subject": "everything", "blocks": [], "allows": [
        {"id": "web/https", "owner": null, "services": ["tcp/443"], "peers": "any"}]}, "tested": null},
    "outbound": {"enforced": {"subject": "nothing", "blocks": [], "allows": []}, "tested": null}}"#;

/// Our policy, and one filter of "Other" in a sublayer of this weight.
fn beside(
    weight: u16,
    action: FilterAction,
    flags: Flags,
    conditions: Vec<FilterCondition>,
) -> EngineState {
    let bound: Bound = serde_json::from_str(POLICY).unwrap();
    let mut state = holding(&plan(&bound, &programs()).unwrap());
    let provider = Some(Guid(2).into());
    state.providers.push(Provider {
        key: Guid(2).into(),
        name: "Other".into(),
        service: None,
        lifetime: Lifetime::Static,
    });
    state.sublayers.push(SubLayer {
        key: Guid(3).into(),
        name: "their sublayer".into(),
        provider: provider.clone(),
        weight,
        lifetime: Lifetime::Static,
    });
    state.filters.push(Filter {
        key: Guid(4).into(),
        name: "their filter".into(),
        description: "".into(),
        flags,
        provider,
        layer: Layer::RecvAccept(Family::V4),
        sublayer: Guid(3).into(),
        weight: Weight::Exact(1),
        effective_weight: Some(1),
        conditions,
        action,
        id: Some(70_001),
    });
    state
}

#[test]
fn influences_of_other_products() {
    let port = |number| FilterCondition {
        field: FilterField::LocalPort,
        match_type: MatchType::Equal,
        value: Value::U16(number),
    };
    let interface = || FilterCondition {
        field: FilterField::named("FWPM_CONDITION_INTERFACE_TYPE"),
        match_type: MatchType::Equal,
        value: Value::U32(6),
    };
    let apart = || FilterCondition {
        field: FilterField::Flags,
        match_type: MatchType::FlagsNoneSet,
        value: Value::U32(LOOPBACK),
    };
    let callout =
        FilterAction::Callout { kind: CalloutKind::Unknown, callout: "driver".to_owned() };
    let (none, hard) = (Flags::default(), Flags::CLEAR_ACTION_RIGHT);
    let blocks = |certainty| vec![(Effect::Blocks, certainty)];
    let permits = |certainty| vec![(Effect::Permits, certainty)];
    let (certain, possible) = (Certainty::Certain, Certainty::Possible);
    for (what, state, wanted) in [
        // Above ours, a block is final.
        (
            "block above",
            beside(u16::MAX, FilterAction::Block, none, vec![port(443)]),
            blocks(certain),
        ),
        // Below ours, it depends on whether a plain permit is soft.
        ("block below", beside(5, FilterAction::Block, none, vec![]), blocks(possible)),
        (
            "block of what is denied",
            beside(5, FilterAction::Block, none, vec![port(80), apart()]),
            vec![],
        ),
        // Port 80 of the loopback is allowed.
        (
            "block of loopback",
            beside(u16::MAX, FilterAction::Block, none, vec![port(80)]),
            blocks(certain),
        ),
        ("permit below", beside(5, FilterAction::Permit, hard, vec![]), vec![]),
        // Above ours, one of the two readings makes a permit hard.
        (
            "hard permit above",
            beside(u16::MAX, FilterAction::Permit, hard, vec![port(80)]),
            permits(possible),
        ),
        (
            "permit above",
            beside(u16::MAX, FilterAction::Permit, none, vec![port(80)]),
            permits(possible),
        ),
        ("driver below", beside(5, callout.clone(), none, vec![]), blocks(possible)),
        (
            "one interface",
            beside(u16::MAX, FilterAction::Block, none, vec![interface()]),
            blocks(possible),
        ),
        ("disabled", beside(u16::MAX, FilterAction::Block, Flags::DISABLED, vec![]), vec![]),
        ("at boot", beside(u16::MAX, FilterAction::Block, Flags::BOOT_TIME, vec![]), vec![]),
    ] {
        let report = coexistence(&state, &programs());
        let found: Vec<_> =
            report.influences.iter().map(|found| (found.effect, found.certainty)).collect();
        assert_eq!(found, wanted, "{what}: {:#?}", report.influences);
        assert_eq!(report.left_out, 0);
        for influence in &report.influences {
            let text = influence.to_string();
            for part in [
                "filter \"their filter\" {00000000-0000-0000-0000-000000000004} (number 70001)",
                "of Other {00000000-0000-0000-0000-000000000002}",
                "sublayer their sublayer {00000000-0000-0000-0000-000000000003} (weight",
                "at FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4; for example in ",
            ] {
                assert!(text.contains(part), "{text}");
            }
        }
    }
}

#[test]
fn without_other_products_there_is_no_influence() {
    let bound: Bound = serde_json::from_str(POLICY).unwrap();
    let report = coexistence(&holding(&plan(&bound, &programs()).unwrap()), &programs());
    assert_eq!(report.influences, []);
    assert!(report.packets > 0);
}
