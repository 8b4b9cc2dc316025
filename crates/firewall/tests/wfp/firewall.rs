//! The policy in a filter engine, over its whole life and over every call that can fail.

use std::time::Duration;

use xshield_firewall::FirewallError;
use xshield_firewall::wfp::model::{EngineState, FilterAction};
use xshield_firewall::wfp::ours::Tier;
use xshield_firewall::wfp::{
    Guid, ObjectChange, Plan, PolicyState, SessionKind, Transaction, TrialSession, WfpFirewall,
    WfpTrial, difference, plan, trial,
};
use xshield_policy::Bound;

use crate::world::{Failing, Failure, holding, programs};

/// No limit passes in these tests.
const PROBATION: Duration = Duration::from_secs(30);

fn bound(revision: u64, allows: &str) -> Bound {
    let text = format!(
        r#"{{"revision": {revision},
            "failsafe": {{"endpoints": [], "resolvers": "any", "management": []}},
            "intranet": {{"v4": [], "v6": []}},
            "inbound": {{"enforced": {{"subject": "everything", "blocks": [], "allows": [
                {{"id": "a/b", "owner": null, "services": ["{allows}"], "peers": "any"}}]}},
                "tested": null}},
            "outbound": {{"enforced": {{"subject": "nothing", "blocks": [], "allows": []}},
                "tested": null}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn planned(revision: u64, allows: &str) -> Plan {
    plan(&bound(revision, allows), &programs()).unwrap()
}

fn is_exactly(state: &EngineState, plan: &Plan) -> bool {
    state.dynamic.is_empty() && difference(Some(plan), state) == Default::default()
}

fn in_force(firewall: &mut WfpFirewall<EngineState>) -> Option<u64> {
    match firewall.state().unwrap() {
        PolicyState::InForce(plan) => Some(plan.revision.0),
        _ => None,
    }
}

#[test]
fn a_ruleset_from_trial_to_removal() {
    let (first, second) = (planned(1, "tcp/22"), planned(2, "tcp/443"));
    let mut firewall = WfpFirewall::new(EngineState::default());
    assert_eq!(firewall.state().unwrap(), PolicyState::Absent);
    let nothing = firewall.read_back(None).unwrap_err();
    assert!(matches!(nothing, FirewallError::NothingInForce { .. }), "{nothing}");

    let tried = firewall.try_apply(&first, PROBATION).unwrap();
    let PolicyState::Trial { new, old, session } = firewall.state().unwrap() else { panic!() };
    assert_eq!((new.unwrap().digest, old), (first.digest(), None));
    assert_eq!(session, TrialSession::Own);
    let kept = firewall.keep(&tried, &first).unwrap();
    assert_eq!((kept.differences, kept.programmed.digest), (vec![], first.digest()));
    assert_eq!(in_force(&mut firewall), Some(1));

    // The same plan of a later revision is not another one.
    let later = planned(3, "tcp/22");
    assert_eq!(firewall.try_apply(&later, PROBATION).unwrap(), WfpTrial::Unchanged);
    firewall.apply_now(&later).unwrap();
    assert_eq!(firewall.read_back(Some(&later)).unwrap().differences, vec![]);
    assert_eq!(in_force(&mut firewall), Some(1));

    let tried = firewall.try_apply(&second, PROBATION).unwrap();
    assert!(!firewall.read_back(Some(&first)).unwrap().differences.is_empty());
    firewall.revert(&tried).unwrap();
    assert!(is_exactly(firewall.engine(), &first));
    let over = firewall.keep(&tried, &second).unwrap_err();
    assert!(matches!(over, FirewallError::ProbationOver), "{over}");

    firewall.apply_now(&second).unwrap();
    assert!(is_exactly(firewall.engine(), &second));
    firewall.remove().unwrap();
    assert_eq!(firewall.engine(), &EngineState::default());
    firewall.remove().unwrap();
}

#[test]
fn a_trial_of_another_session_is_recognised_and_not_changed() {
    let (old, new) = (planned(1, "tcp/22"), planned(2, "tcp/443"));
    let mut state = holding(&old);
    state.commit(&trial::begin(&new)).unwrap();
    // What another session added, this one does not know as its own.
    state.dynamic.clear();
    let mut firewall = WfpFirewall::new(state.clone());
    let PolicyState::Trial { new: found, old: below, session } = firewall.state().unwrap() else {
        panic!()
    };
    assert_eq!(found.unwrap().digest, new.digest());
    assert_eq!((below.unwrap().digest, session), (old.digest(), TrialSession::Other));
    let told = firewall.read_back(Some(&old)).unwrap().differences;
    assert_eq!(told.len(), 1, "{told:?}");
    for result in [
        firewall.try_apply(&old, PROBATION).map(|_| ()),
        firewall.apply_now(&old),
        firewall.remove(),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, FirewallError::TrialOfAnother), "{error}");
    }
    assert_eq!(firewall.engine(), &state);
}

#[test]
fn changes_are_damage_or_drift() {
    let plan = planned(1, "tcp/22");
    type Spoil = fn(&mut EngineState);
    let is_default = |state: &EngineState, at: usize| state.filters[at].conditions.is_empty();
    let cases: [(Spoil, Option<&str>); 5] = [
        (|state| state.filters.retain(|filter| !filter.conditions.is_empty()), Some("are missing")),
        (
            |state| {
                let at = state.filters.iter().position(|f| f.conditions.is_empty()).unwrap();
                state.filters[at].description = "mine".into();
            },
            Some("was changed"),
        ),
        (
            |state| {
                let other = planned(2, "tcp/443");
                let at = state.filters.iter().position(|f| f.conditions.is_empty()).unwrap();
                let theirs = other.filters_in(Tier::Kept).find(|f| f.conditions.is_empty());
                state.filters[at].description = theirs.unwrap().description;
            },
            Some("name several"),
        ),
        // These still name their plan.
        (|state| state.filters.retain(|filter| !filter.name.ends_with("a/b")), None),
        (
            |state| {
                let at = state.filters.iter().position(|f| f.conditions.is_empty()).unwrap();
                state.filters[at].action = FilterAction::Permit;
            },
            None,
        ),
    ];
    for (number, (spoil, damage)) in cases.into_iter().enumerate() {
        let mut state = holding(&plan);
        assert!((0..state.filters.len()).any(|at| is_default(&state, at)));
        spoil(&mut state);
        let mut firewall = WfpFirewall::new(state);
        match (firewall.state().unwrap(), damage) {
            (PolicyState::Damaged { what }, Some(text)) => assert!(what.contains(text), "{what}"),
            (PolicyState::InForce(_), None) => {}
            (found, _) => panic!("{number}: {found:?}"),
        }
        assert!(!firewall.read_back(Some(&plan)).unwrap().differences.is_empty(), "{number}");
        firewall.apply_now(&plan).unwrap();
        assert!(is_exactly(firewall.engine(), &plan), "{number}");
    }
}

#[test]
fn filters_of_others_are_kept() {
    let plan = planned(1, "tcp/22");
    let mut theirs = holding(&planned(2, "tcp/443")).filters.remove(0);
    theirs.provider = Some(Guid(2).into());
    theirs.key = Guid(1).into();
    let mut in_our_sublayer = theirs.clone();
    in_our_sublayer.key = Guid(4).into();
    theirs.sublayer = Guid(3).into();
    let mut state = EngineState::default();
    state.filters.push(theirs.clone());
    let before = state.clone();
    let mut firewall = WfpFirewall::new(state);
    firewall.apply_now(&plan).unwrap();
    assert_eq!(firewall.read_back(Some(&plan)).unwrap().differences, vec![]);
    firewall.remove().unwrap();
    assert_eq!(firewall.engine(), &before);

    // A filter of theirs in our sublayer is told, and keeps the sublayer from being removed.
    firewall.apply_now(&plan).unwrap();
    firewall.engine_mut().filters.push(in_our_sublayer.clone());
    let told = firewall.read_back(Some(&plan)).unwrap().differences;
    assert!(told.len() == 1 && told[0].text.contains("not ours"), "{told:?}");
    let error = firewall.remove().unwrap_err();
    assert!(error.changed_nothing(), "{error}");
    assert!(firewall.engine().filters.contains(&in_our_sublayer));
}

type Operation = fn(&mut WfpFirewall<Failing>, &Plan) -> Result<(), FirewallError>;

/// Whatever fails: once the program has ended, one of the two policies is in force, whole; nothing is left
/// on trial; and the same once more, without a fault, brings the new one in force.
#[test]
fn a_call_that_fails_leaves_one_of_the_two_policies() {
    let (old, new) = (planned(1, "tcp/22"), planned(2, "tcp/443"));
    let try_and_keep: Operation = |firewall, plan| {
        let tried = firewall.try_apply(plan, PROBATION)?;
        firewall.keep(&tried, plan).map(|_| ())
    };
    let try_and_revert: Operation = |firewall, plan| {
        let tried = firewall.try_apply(plan, PROBATION)?;
        firewall.revert(&tried)
    };
    let operations: [(Operation, bool); 4] = [
        (|firewall, plan| firewall.apply_now(plan), true),
        (try_and_keep, true),
        (try_and_revert, false),
        (|firewall, _| firewall.remove(), false),
    ];
    let mut cases = 0;
    for (number, (operation, brings)) in operations.into_iter().enumerate() {
        for failure in [Failure::Refused, Failure::Unanswered] {
            for at in 0.. {
                let engine = Failing { engine: holding(&old), calls: 0, at, failure };
                let mut firewall = WfpFirewall::new(engine);
                let result = operation(&mut firewall, &new);
                let calls = firewall.engine().calls;
                let mut state = firewall.engine().engine.clone();
                state.end_session();
                let context = format!("operation {number}, {failure:?} at {at} of {calls}");
                let (is_old, is_new) = (is_exactly(&state, &old), is_exactly(&state, &new));
                let is_gone = number == 3 && state == EngineState::default();
                assert!(is_old || (is_new && brings) || is_gone, "{context}");
                if result.is_ok() {
                    assert!(is_new == brings || is_gone, "{context}");
                }
                let mut again = WfpFirewall::new(state);
                again.apply_now(&new).unwrap();
                assert!(is_exactly(again.engine(), &new), "{context}");
                if at >= calls {
                    assert!(result.is_ok(), "{context}: {result:?}");
                    break;
                }
                cases += 1;
            }
        }
    }
    assert!(cases > 20, "{cases}");
}

#[test]
fn a_trial_ends_even_if_another_session_deleted_a_filter() {
    let (old, new) = (planned(1, "tcp/22"), planned(2, "tcp/443"));
    let mut firewall = WfpFirewall::new(holding(&old));
    let tried = firewall.try_apply(&new, PROBATION).unwrap();
    let one = new.filters_in(Tier::Trial).next().unwrap().key;
    let changes = vec![ObjectChange::DeleteFilter(one)];
    firewall.engine_mut().commit(&Transaction { session: SessionKind::Dynamic, changes }).unwrap();
    let error = firewall.keep(&tried, &new).unwrap_err();
    assert!(matches!(error, FirewallError::Overtaken { .. }), "{error}");
    firewall.revert(&tried).unwrap();
    assert!(is_exactly(firewall.engine(), &old));
}
