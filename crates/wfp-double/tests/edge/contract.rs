//! The contract of sessions and transactions: the edge, the double and the engine in memory agree.

use xshield_firewall::wfp::model::{EngineState, Filter, FilterCondition, Flags, MatchType, Value};
use xshield_firewall::wfp::names::{FilterField, Layer};
use xshield_firewall::wfp::ours::{self, Tier};
use xshield_firewall::wfp::{
    EngineFault, FilterEngine, ObjectChange, SessionKind, Transaction, trial,
};

use crate::double::{Double, by_key, host, old_and_new};

fn lasting(changes: Vec<ObjectChange>) -> Transaction {
    Transaction { session: SessionKind::Lasting, changes }
}

fn dynamic(changes: Vec<ObjectChange>) -> Transaction {
    Transaction { session: SessionKind::Dynamic, changes }
}

#[test]
fn refusals_are_those_of_the_engine_in_memory() {
    let ((_, before), (_, after)) = old_and_new();
    let kept: Vec<Filter> = before.filters_in(Tier::Kept).collect();
    let new =
        after.filters_in(Tier::Kept).find(|filter| kept.iter().all(|old| old.key != filter.key));
    let new = new.unwrap();
    let add = |filter: &Filter| ObjectChange::AddFilter(Box::new(filter.clone()));
    let elsewhere = Filter { sublayer: ours::PROVIDER.into(), ..new.clone() };
    let of_nobody = Filter { provider: Some(ours::SUBLAYER.into()), ..new.clone() };
    for transaction in [
        lasting(vec![add(&kept[0])]),
        lasting(vec![ObjectChange::AddProvider(ours::provider())]),
        lasting(vec![ObjectChange::AddSubLayer(ours::sublayer())]),
        lasting(vec![ObjectChange::DeleteFilter(new.key.clone())]),
        lasting(vec![ObjectChange::DeleteSubLayer(ours::PROVIDER.into())]),
        lasting(vec![ObjectChange::DeleteProvider(ours::SUBLAYER.into())]),
        lasting(vec![ObjectChange::DeleteSubLayer(ours::SUBLAYER.into())]),
        lasting(vec![ObjectChange::DeleteProvider(ours::PROVIDER.into())]),
        lasting(vec![add(&elsewhere)]),
        lasting(vec![add(&of_nobody)]),
        dynamic(vec![add(&new)]),
        // What comes before a refused change is not there either.
        lasting(vec![add(&new), add(&kept[0])]),
        lasting(vec![
            ObjectChange::DeleteFilter(kept[0].key.clone()),
            ObjectChange::DeleteSubLayer(ours::SUBLAYER.into()),
        ]),
    ] {
        let double = Double::holding(&before);
        let mut memory = double.state();
        let standing = memory.clone();
        let wanted = memory.commit(&transaction).unwrap_err();
        let mut engine = host();
        assert_eq!(engine.commit(&transaction), Err(wanted));
        assert_eq!(double.state(), standing);
        // Nothing is left of the transaction: the next one goes through.
        engine.commit(&lasting(vec![add(&new)])).unwrap();
    }
}

#[test]
fn errors_known_to_the_engine_are_named() {
    let ((_, plan), _) = old_and_new();
    let valid = plan
        .filters_in(Tier::Kept)
        .find(|filter| filter.layer == Layer::planned().next().unwrap())
        .unwrap();
    let with = |field, match_type, value| Filter {
        conditions: vec![FilterCondition { field, match_type, value }],
        key: ours::SUBLAYER.into(),
        ..valid.clone()
    };
    let port = |match_type, value| with(FilterField::LocalPort, match_type, value);
    let backwards = Value::Range(Box::new((Value::U16(2), Value::U16(1))));
    let twice = {
        let mut filter = port(MatchType::Equal, Value::U16(1));
        filter.conditions.push(filter.conditions[0].clone());
        filter
    };
    let both = Filter {
        flags: Flags::PERSISTENT.with(Flags::BOOT_TIME),
        ..port(MatchType::Equal, Value::U16(1))
    };
    for (filter, wanted) in [
        (port(MatchType::Equal, Value::U8(1)), "FWP_E_TYPE_MISMATCH"),
        (port(MatchType::Range, Value::U16(1)), "FWP_E_MATCH_TYPE_MISMATCH"),
        (port(MatchType::Range, backwards), "FWP_E_INVALID_RANGE"),
        (
            with(FilterField::AppId, MatchType::Equal, Value::Blob(vec![])),
            "FWP_E_ZERO_LENGTH_ARRAY",
        ),
        (
            with(
                FilterField::RemoteAddress,
                MatchType::Equal,
                Value::V4Mask { address: 0, mask: 5 },
            ),
            "FWP_E_INVALID_NET_MASK",
        ),
        (twice, "FWP_E_DUPLICATE_CONDITION"),
        (both, "FWP_E_INVALID_FLAGS"),
        (
            Filter { name: "".into(), ..port(MatchType::Equal, Value::U16(1)) },
            "FWP_E_NULL_DISPLAY_NAME",
        ),
    ] {
        let _double = Double::holding(&plan);
        let change = ObjectChange::AddFilter(Box::new(filter));
        let error = host().commit(&lasting(vec![change])).unwrap_err();
        assert!(error.to_string().contains(wanted), "want {wanted}, got {error}");
    }
}

#[test]
fn unrepresentable_values_are_refused_before_windows_is_called() {
    let ((_, plan), _) = old_and_new();
    let double = Double::holding(&plan);
    let valid = plan.filters_in(Tier::Kept).next().unwrap();
    let odd = Filter { layer: Layer::Other("FWPM_LAYER_STREAM_V4".into()), ..valid };
    let change = ObjectChange::AddFilter(Box::new(odd));
    let error = host().commit(&lasting(vec![change])).unwrap_err();
    assert!(
        matches!(&error.fault, EngineFault::Malformed(why) if why.contains("STREAM_V4")),
        "{error}"
    );
    drop(double);
}

#[test]
fn a_trial_is_recognised_and_ends() {
    let ((_, before), (_, after)) = old_and_new();
    let double = Double::holding(&before);
    let standing = by_key(&double.state());
    let mut engine = host();
    engine.end_session().unwrap();
    engine.commit(&trial::begin(&after)).unwrap();
    let on_trial = engine.read().unwrap();
    assert_eq!(on_trial.dynamic.len(), after.filters.len());
    // Another program sees the filters, and not whose they are.
    assert_eq!(host().read().unwrap(), EngineState { dynamic: [].into(), ..on_trial.clone() });
    engine.commit(&trial::keep(&after, &on_trial)).unwrap();
    engine.commit(&trial::end(&after)).unwrap();
    assert_eq!(engine.read().unwrap().dynamic, [].into());
    engine.end_session().unwrap();

    // Taken back, by a transaction or by the end of the session.
    let mut engine = host();
    for by_itself in [true, false] {
        engine.commit(&trial::begin(&before)).unwrap();
        if !by_itself {
            engine.commit(&trial::end(&before)).unwrap();
        }
        engine.end_session().unwrap();
        let state = engine.read().unwrap();
        assert_eq!(state.filters.len(), after.filters.len() * 2);
        assert_ne!(by_key(&state), standing);
    }
    // A second trial in the same session, and one that was never ended.
    engine.commit(&trial::begin(&before)).unwrap();
    engine.commit(&trial::end(&before)).unwrap();
    engine.commit(&trial::begin(&before)).unwrap();
    drop(engine);
    assert_eq!(double.state().filters.len(), after.filters.len() * 2);
}
