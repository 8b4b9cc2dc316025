//! What other products hold is read, and left alone.

use xshield_firewall::plan::Family;
use xshield_firewall::wfp::model::{
    CalloutKind, EngineState, Filter, FilterAction, FilterCondition, Flags, Lifetime, MatchType,
    Provider, SubLayer, Value, Weight,
};
use xshield_firewall::wfp::names::{FilterField, Layer};
use xshield_firewall::wfp::{FilterEngine, Guid, difference};
use xshield_wfp_double::store::{RawValue, kind};

use crate::double::{Double, by_key, host, install, old_and_new};

/// A product with filters of kinds that ours never have.
fn another_product() -> EngineState {
    let (provider, sublayer) = (Guid(0xaa), Guid(0xbb));
    let callout = Guid(0xcc).to_string();
    let filter = |number: u128, weight, action, conditions| Filter {
        key: Guid(number).into(),
        name: format!("of others {number}").into(),
        description: "".into(),
        flags: Flags::default(),
        provider: number.is_multiple_of(2).then(|| provider.into()),
        layer: if number == 1 {
            Layer::Other(Guid(0xdd).to_string().into())
        } else {
            Layer::Connect(Family::V4)
        },
        sublayer: sublayer.into(),
        weight,
        effective_weight: None,
        conditions,
        action,
        id: None,
    };
    let asks = |kind| FilterAction::Callout { kind, callout: callout.clone() };
    let unknown = FilterCondition {
        field: FilterField::Other(Guid(0xee).to_string().into()),
        match_type: MatchType::Equal,
        value: Value::Sid("S-1-15-2-1".into()),
    };
    let negative = FilterCondition {
        field: FilterField::RemoteAddress,
        match_type: MatchType::NotEqual,
        value: Value::V4Mask { address: 0x7f00_0000, mask: 0xff00_0000 },
    };
    EngineState {
        providers: vec![Provider {
            key: provider.into(),
            name: "A product".into(),
            service: Some("product".into()),
            lifetime: Lifetime::Persistent,
        }],
        sublayers: vec![SubLayer {
            key: sublayer.into(),
            name: "Its filters".into(),
            provider: Some(provider.into()),
            weight: 7,
            lifetime: Lifetime::Static,
        }],
        filters: vec![
            filter(1, Weight::Automatic, asks(CalloutKind::Inspection), vec![]),
            filter(2, Weight::Within(9), asks(CalloutKind::Terminating), vec![unknown]),
            filter(3, Weight::Exact(5), asks(CalloutKind::Unknown), vec![negative]),
            filter(4, Weight::Exact(6), FilterAction::Permit, vec![]),
        ],
        dynamic: [].into(),
    }
}

#[test]
fn filters_of_others_are_read_and_not_changed() {
    let ((_, plan), _) = old_and_new();
    let double = Double::new();
    double.directory.edit(|store| store.insert(&another_product())).unwrap();
    let theirs = by_key(&another_product());
    assert_eq!(by_key(&host().read().unwrap()), theirs);
    install(&mut host(), &plan);
    assert_eq!(host().read().unwrap().filters.len(), theirs.len() + plan.filters.len() * 2);
    // Gone again, and theirs are as they were.
    let mut engine = host();
    let state = engine.read().unwrap();
    engine.commit(&difference(None, &state).transaction()).unwrap();
    let left = host().read().unwrap();
    assert_eq!((by_key(&left), left.providers.len(), left.sublayers.len()), (theirs, 1, 1));
}

/// More than the engine returns at a time, and more than 16 bits count.
#[test]
fn a_policy_comes_and_goes_among_many_filters_of_others() {
    let mut others = another_product();
    let blank = others.filters.pop().unwrap();
    let many = (0x1_0000..0x2_0000_u128).map(|number| Filter {
        key: Guid(number).into(),
        weight: Weight::Exact(u64::try_from(number).unwrap()),
        ..blank.clone()
    });
    others.filters = many.collect();
    let ((_, plan), _) = old_and_new();
    let double = Double::new();
    double.directory.edit(|store| store.insert(&others)).unwrap();
    let theirs = by_key(&others);
    let mut engine = host();
    install(&mut engine, &plan);
    let state = engine.read().unwrap();
    assert_eq!(state.filters.len(), theirs.len() + plan.filters.len() * 2);
    assert_eq!(difference(Some(&plan), &state), Default::default());
    engine.commit(&difference(None, &state).transaction()).unwrap();
    assert_eq!(by_key(&engine.read().unwrap()), theirs);
}

#[test]
fn changes_by_others_are_reported_and_repaired() {
    let ((_, plan), _) = old_and_new();
    let double = Double::holding(&plan);
    let standing = double.state();
    double
        .directory
        .edit(|store| {
            let keys: Vec<_> = store.filters.keys().cloned().collect();
            store.filters.remove(&keys[0]);
            for (key, change) in [(1, 32_u32), (2, 8)] {
                if let Some(filter) = store.filters.get_mut(&keys[key]) {
                    filter.flags |= change;
                }
            }
            if let Some(filter) = store.filters.get_mut(&keys[3]) {
                filter.action = 0x1002 + 0x1001 - filter.action;
            }
            // Of a type that does not exist.
            if let Some(filter) = store.filters.get_mut(&keys[4]) {
                filter.conditions.push(xshield_wfp_double::store::RawCondition {
                    field: Guid(1).to_string(),
                    match_type: 99,
                    value: RawValue::Number(kind::UINT8, 1),
                });
            }
        })
        .unwrap();
    let state = host().read().unwrap();
    let found = difference(Some(&plan), &state);
    let told: Vec<&str> = found.drift.iter().map(|drift| drift.text.as_str()).collect();
    let count = |what: &str| told.iter().filter(|text| text.contains(what)).count();
    assert_eq!(
        (count("missing"), count("disabled by Windows"), count("changed by")),
        (1, 1, 3),
        "{told:?}"
    );
    host().commit(&found.transaction()).unwrap();
    let mended = host().read().unwrap();
    assert_eq!(difference(Some(&plan), &mended).changes, []);
    assert_eq!(mended.filters.len(), standing.filters.len());
}

/// Another program deletes our sublayer, with all that is in it, and our provider.
#[test]
fn a_missing_sublayer_is_recreated() {
    let ((_, plan), _) = old_and_new();
    let double = Double::holding(&plan);
    double
        .directory
        .edit(|store| {
            store.filters.clear();
            store.sublayers.clear();
            store.providers.clear();
        })
        .unwrap();
    let state = host().read().unwrap();
    assert_eq!(state, EngineState::default());
    install(&mut host(), &plan);
    assert_eq!(difference(Some(&plan), &host().read().unwrap()), Default::default());
}
