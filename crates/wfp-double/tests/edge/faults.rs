//! Calls that fail: nothing is left half done, and the error says what to do.

use std::time::Duration;

use xshield_firewall::wfp::eval::EnginePhase;
use xshield_firewall::wfp::{EngineError, EngineFault, FilterEngine, Plan, difference, trial};

use crate::double::{Double, decides, host, old_and_new, places};

/// A change as the cycle makes it: on trial, kept, ended.
fn change(engine: &mut impl FilterEngine, plan: &Plan) -> Result<(), EngineError> {
    let state = engine.read()?;
    if let Some(prepare) = trial::prepare(&state) {
        engine.commit(&prepare)?;
    }
    engine.commit(&trial::begin(plan))?;
    let state = engine.read()?;
    engine.commit(&trial::keep(plan, &state))?;
    engine.commit(&trial::end(plan))?;
    engine.end_session()
}

#[test]
fn a_fault_at_any_call_leaves_one_complete_policy() {
    let ((old, before), (new, after)) = old_and_new();
    let calls = {
        let double = Double::holding(&before);
        let standing = double.directory.calls().unwrap().len();
        change(&mut host(), &after).unwrap();
        double.directory.calls().unwrap().split_off(standing)
    };
    let points = places(&calls, 60);
    assert!(points.len() > 25, "{points:?} of {} calls", calls.len());
    let mut failed = 0;
    // A call that does nothing, and one whose answer is lost.
    let faults = ["0x80320035", "after 1726"];
    for (at, how) in points.iter().flat_map(|at| faults.map(|how| (at + 1, how))) {
        let double = Double::holding(&before);
        let done = double.directory.calls().unwrap().len();
        double.directory.set_faults(&format!("at {} {how}", done + at)).unwrap();
        let mut engine = host();
        let result = change(&mut engine, &after);
        let running = [EnginePhase::Running];
        // While the program still runs: one of both policies, whole.
        let state = double.state();
        let now = decides(&state, &old, &running).or_else(|_| decides(&state, &new, &running));
        now.unwrap_or_else(|why| panic!("call {at} {how}: {result:?}: {why}"));
        drop(engine);
        // And after it: the same at boot, and nothing of the trial is left.
        double.directory.set_faults("").unwrap();
        let state = host().read().unwrap();
        let is = |bound, plan| {
            difference(Some(plan), &state) == Default::default()
                && decides(&state, bound, &EnginePhase::ALL).is_ok()
        };
        assert!(is(&old, &before) || is(&new, &after), "call {at} {how}: {result:?}");
        if let Err(error) = result {
            failed += 1;
            assert!(error.to_string().starts_with("could not "), "{error}");
        }
        // What failed can be done again.
        if at % 4 != 0 {
            continue;
        }
        change(&mut host(), &after)
            .unwrap_or_else(|error| panic!("call {at} {how}, again: {error}"));
    }
    assert!(failed > points.len(), "{failed} of {} faults were noticed", points.len() * 2);
}

#[test]
fn a_held_lock_is_awaited_within_limits() {
    let ((_, plan), _) = old_and_new();
    let double = Double::holding(&plan);
    let transaction = trial::begin(&plan);
    let begins = || {
        let calls = double.directory.calls().unwrap();
        calls.iter().filter(|call| call.as_str() == "FwpmTransactionBegin0 0x80320012").count()
    };
    let lock = double.directory.lock(true, Duration::ZERO).unwrap().unwrap();
    let error = host().read().unwrap_err();
    assert_eq!((&error.fault, begins()), (&EngineFault::TimedOut, 3), "{error}");
    assert!(error.fault.is_transient());
    drop(lock);
    // Readers do not wait for each other; who changes something does.
    let lock = double.directory.lock(false, Duration::ZERO).unwrap().unwrap();
    host().read().unwrap();
    let mut engine = host();
    assert!(engine.commit(&transaction).is_err());
    drop(lock);
    engine.commit(&transaction).unwrap();
}

#[test]
fn a_lock_released_in_time_is_no_error() {
    let ((_, plan), _) = old_and_new();
    let double = Double::holding(&plan);
    let done = double.directory.calls().unwrap().len();
    double
        .directory
        .set_faults(&format!("at {} 0x80320012\nat {} 0x80320012", done + 2, done + 3))
        .unwrap();
    host().read().unwrap();
    double.directory.set_faults("").unwrap();
}

#[test]
fn errors_say_what_to_do() {
    let ((_, plan), _) = old_and_new();
    for (faults, wanted) in [
        (
            "FwpmEngineOpen0 1753",
            "could not open a session with the filter engine: the Base Filtering Engine is not running; start the service BFE",
        ),
        ("FwpmEngineOpen0 1062", "the Base Filtering Engine is not running"),
        (
            "FwpmEngineOpen0 5",
            "access denied; run this program as SYSTEM or as an elevated administrator",
        ),
        ("FwpmFilterEnum0 5", "could not read the filters of the filter engine: access denied"),
        (
            "FwpmTransactionBegin0 0x80320012",
            "could not begin a transaction with the filter engine: another program kept the filter engine locked",
        ),
        ("FwpmProviderEnum0 1726", "the filter engine ended the session; try again"),
        (
            "FwpmSubLayerEnum0 0x8032001d",
            "the filter engine answered FWP_E_INVALID_ENUMERATOR (0x8032001d)",
        ),
    ] {
        let double = Double::holding(&plan);
        double.directory.set_faults(faults).unwrap();
        let error = host().read().unwrap_err().to_string();
        assert!(error.contains(wanted), "{faults}: {error}");
        double.directory.set_faults("").unwrap();
        host().read().unwrap();
    }
}
