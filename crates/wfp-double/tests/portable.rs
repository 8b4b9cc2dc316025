//! What of the double needs no Windows: whose objects a session may touch, what lasts, and what is read of
//! the directory on other systems.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use xshield_firewall::wfp::model::{EngineState, Filter};
use xshield_firewall::wfp::ours::{self, Tier};
use xshield_firewall::wfp::program::Programs;
use xshield_firewall::wfp::{Plan, plan};
use xshield_policy::Bound;
use xshield_wfp_double::Directory;
use xshield_wfp_double::contract::{By, code};
use xshield_wfp_double::store::{RawFilter, Store};

fn a_plan() -> Plan {
    let bound: Bound = serde_json::from_str(
        r#"{"revision": 1,
            "failsafe": {"endpoints": ["[2001:db8::1]:8443"], "resolvers": "any", "management": []},
            "intranet": {"v4": [], "v6": []},
            "inbound": {"enforced": {"subject": "everything", "blocks": [], "allows": []}, "tested": null},
            "outbound": {"enforced": {"subject": "nothing", "blocks": [], "allows": []}, "tested": null}}"#,
    )
    .unwrap();
    plan(&bound, &Programs::new()).unwrap()
}

fn holding(plan: &Plan) -> EngineState {
    EngineState {
        providers: vec![ours::provider()],
        sublayers: vec![ours::sublayer()],
        filters: plan.filters_in(Tier::Kept).collect(),
        dynamic: [].into(),
    }
}

/// Without what the engine adds.
fn bare(state: &EngineState) -> Vec<Filter> {
    let bare = |filter: &Filter| Filter { id: None, effective_weight: None, ..filter.clone() };
    state.filters.iter().map(bare).collect()
}

#[test]
fn a_stored_state_is_read_back() {
    let place = tempfile::tempdir().unwrap();
    let directory = Directory::at(place.path()).unwrap();
    assert_eq!(directory.load().unwrap(), Store::default());
    let state = holding(&a_plan());
    directory.edit(|store| store.insert(&state)).unwrap();
    let read = directory.load().unwrap().state();
    assert_eq!(bare(&read), state.filters);
    assert_eq!((read.providers, read.sublayers), (state.providers, state.sublayers));
}

/// A filter of a session, or one that stays until the engine stops.
fn added(store: &mut Store, key: &str, by: By) -> Result<u64, u32> {
    let plan = a_plan();
    let mut example = Store::default();
    example.insert(&EngineState {
        filters: plan.filters_in(Tier::Trial).take(1).collect(),
        ..EngineState::default()
    });
    let filter = example.filters.into_values().next().unwrap();
    store.add_filter(RawFilter { key: key.to_owned(), ..filter }, by)
}

#[test]
fn a_session_deletes_its_own_objects() {
    let (one, two) = (By::Dynamic(1), By::Dynamic(2));
    for (adds, deletes, wanted) in [
        (one, one, Ok(())),
        (one, two, Err(code::WRONG_SESSION)),
        (one, By::Lasting, Err(code::WRONG_SESSION)),
        (By::Lasting, one, Err(code::DYNAMIC_SESSION_IN_PROGRESS)),
        (By::Lasting, By::Lasting, Ok(())),
    ] {
        let mut store = Store::default();
        store.insert(&holding(&a_plan()));
        added(&mut store, "{x}", adds).unwrap();
        assert_eq!(added(&mut store, "{x}", adds), Err(code::ALREADY_EXISTS));
        assert_eq!(store.delete_filter("{x}", deletes), wanted, "{adds:?}, {deletes:?}");
    }
}

#[test]
fn sessions_and_restarts_remove_temporary_objects() {
    let mut store = Store::default();
    store.insert(&holding(&a_plan()));
    let lasting = store.filters.len();
    for (key, by) in [("{1}", By::Dynamic(1)), ("{2}", By::Dynamic(2)), ("{s}", By::Lasting)] {
        added(&mut store, key, by).unwrap();
    }
    assert_eq!(store.sessions(), [1, 2]);
    assert_eq!(store.state().dynamic.len(), 2);
    store.end(1);
    assert_eq!((store.sessions(), store.filters.len()), (vec![2], lasting + 2));
    store.restart();
    assert_eq!((store.sessions(), store.filters.len()), (vec![], lasting));
    assert_eq!((store.providers.len(), store.sublayers.len()), (1, 1));
}

/// The program of session 3 never was: what it added is gone.
#[test]
fn objects_of_a_dead_program_are_removed_on_reading() {
    let place = tempfile::tempdir().unwrap();
    let directory = Directory::at(place.path()).unwrap();
    let mut store = Store::default();
    store.insert(&holding(&a_plan()));
    let lasting = store.filters.len();
    added(&mut store, "{3}", By::Dynamic(3)).unwrap();
    directory.save(&store).unwrap();
    assert_eq!(directory.load().unwrap().filters.len(), lasting);
}
