//! A program that is killed in the middle of a change: its session ends, and one policy stands whole.

use std::process::Command;

use xshield_firewall::wfp::eval::EnginePhase;
use xshield_firewall::wfp::{FilterEngine, difference, trial};
use xshield_wfp_double::DIRECTORY;

use crate::double::{Double, decides, host, old_and_new, places};

/// Not a test: the program that is killed. It makes the change that its parent waits for.
#[test]
#[ignore = "run by the tests below, as a program of its own"]
fn a_program_that_changes_the_policy() {
    let (_, (_, after)) = old_and_new();
    let mut engine = host();
    let state = engine.read().unwrap();
    assert_eq!(trial::prepare(&state), None);
    engine.commit(&trial::begin(&after)).unwrap();
    let state = engine.read().unwrap();
    engine.commit(&trial::keep(&after, &state)).unwrap();
    engine.commit(&trial::end(&after)).unwrap();
    engine.end_session().unwrap();
}

fn run(double: &Double) -> bool {
    let program = std::env::current_exe().unwrap();
    let arguments = ["--exact", "killed::a_program_that_changes_the_policy", "--ignored"];
    let mut child = Command::new(program);
    let output = child.args(arguments).env(DIRECTORY, double.path()).output().unwrap();
    output.status.success()
}

#[test]
fn a_kill_at_any_point_leaves_one_complete_policy() {
    let ((old, before), (new, after)) = old_and_new();
    let double = Double::holding(&before);
    let standing = double.directory.calls().unwrap().len();
    assert!(run(&double), "the change goes through when nobody kills it");
    let calls = double.directory.calls().unwrap().split_off(standing);
    drop(double);
    let points = places(&calls, 150);
    assert!(points.len() > 20, "{points:?}");
    let mut stands_new = 0;
    for at in points {
        let double = Double::holding(&before);
        double.directory.set_faults(&format!("at {} kill", at + 1)).unwrap();
        assert!(!run(&double), "call {at}, {}: the program was not killed", calls[at]);
        double.directory.set_faults("").unwrap();
        let state = host().read().unwrap();
        let is = |bound, plan| {
            difference(Some(plan), &state) == Default::default()
                && decides(&state, bound, &EnginePhase::ALL).is_ok()
        };
        let (is_old, is_new) = (is(&old, &before), is(&new, &after));
        assert!(is_old != is_new, "killed at call {at}, {}", calls[at]);
        stands_new += usize::from(is_new);
        assert!(double.state().dynamic.is_empty());
    }
    assert!(stands_new > 0, "some kills come after the change");
}
