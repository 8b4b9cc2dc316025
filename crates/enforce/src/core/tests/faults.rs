//! Every fault at every call of a run, from every initial state, with every behaviour of the platform.

use std::collections::BTreeSet;

use super::fake::{Behaviour, Brings, Call, Fault, Model, Nft, Wfp, World, all_open, verdicts_of};
use crate::core::result::{Change, RunStatus};
use crate::step::Step;

/// The initial state, with what is in force: revision 2, or nothing.
#[derive(Debug, Clone, Copy)]
enum Begin {
    New,
    InForce,
    Rebooted,
    TableGone,
    Disturbed,
    /// A run was killed with revision 3 on trial.
    OnTrial,
    /// The same, and the trial has expired.
    TrialOver,
    /// The platform's name resolves to another address.
    Moved,
}

const BEGINS: [Begin; 8] = [
    Begin::New,
    Begin::InForce,
    Begin::Rebooted,
    Begin::TableGone,
    Begin::Disturbed,
    Begin::OnTrial,
    Begin::TrialOver,
    Begin::Moved,
];

const BEHAVIOURS: [Behaviour; 9] = [
    Behaviour { answers: true, wants: Some(4), brings: Brings::Wanted },
    Behaviour { answers: true, wants: Some(2), brings: Brings::Wanted },
    Behaviour { answers: true, wants: None, brings: Brings::Nothing },
    Behaviour { answers: true, wants: Some(4), brings: Brings::Older(1) },
    Behaviour { answers: true, wants: Some(4), brings: Brings::Forged },
    Behaviour { answers: true, wants: Some(4), brings: Brings::OfAnotherHost },
    Behaviour { answers: true, wants: Some(4), brings: Brings::Cut },
    Behaviour { answers: true, wants: Some(4), brings: Brings::Nothing },
    Behaviour { answers: false, wants: None, brings: Brings::Nothing },
];

fn begin<M: Model>(begin: Begin) -> World<M> {
    if matches!(begin, Begin::New) {
        return World::new();
    }
    let world = World::with(2);
    match begin {
        Begin::New | Begin::InForce => {}
        Begin::Rebooted => world.reboot(),
        Begin::TableGone => world.table_is_removed(),
        Begin::Disturbed => world.table_is_disturbed(),
        Begin::OnTrial | Begin::TrialOver => {
            world.set(|sim| sim.behaviour = Behaviour::well(3));
            let tried = calls_of_a_run(&world, Behaviour::well(3));
            let at = tried.iter().position(|call| *call == Call::Step(Step::Tried)).unwrap();
            world.set(|sim| sim.fault = Some((at, Fault::Killed)));
            assert_eq!(world.run(), None);
            world.set(|sim| sim.fault = None);
            if matches!(begin, Begin::TrialOver) {
                world.time_passes();
            }
        }
        Begin::Moved => world.set(|sim| sim.endpoint = "192.0.2.201:8443".parse().unwrap()),
    }
    world
}

/// The calls of a run from here without a fault.
fn calls_of_a_run<M: Model>(from: &World<M>, behaviour: Behaviour) -> Vec<Call> {
    let twin = from.fork();
    twin.set(|sim| sim.behaviour = behaviour);
    twin.run().expect("nobody kills it");
    twin.set(|sim| sim.calls.clone())
}

/// A complete ruleset judges packets, never an older one than was confirmed.
fn is_whole<M: Model>(world: &World<M>, from: Begin, context: &str) {
    let kernel = world.kernel();
    let may_be_open = matches!(from, Begin::New | Begin::TableGone);
    // A host without a ruleset accepts any that the platform signed for it.
    let oldest = if matches!(from, Begin::New) { 1 } else { 2 };
    let whole = (oldest..=4).any(|revision| kernel == verdicts_of(revision));
    assert!(whole || (may_be_open && kernel == all_open()), "{context}: {kernel:?}");
}

/// Two runs without faults, with a platform that wants revision 4, put it in force, whatever happened before.
fn recovers<M: Model>(world: &World<M>, context: &str) {
    world.set(|sim| {
        sim.fault = None;
        sim.behaviour = Behaviour::well(4);
    });
    let first = world.run().expect("nobody kills it");
    let ended = world.run().expect("nobody kills it");
    assert_eq!(ended.status, RunStatus::Enforcing, "{context}: {first:?}, {ended:?}");
    assert_eq!(ended.change, Change::None, "{context}");
    assert_eq!(world.kernel(), verdicts_of(4), "{context}");
    assert_eq!(world.on_disk(), Some(4), "{context}");
    let told = world.set(|sim| sim.told.clone()).expect("it was told");
    assert_eq!(told.in_force.map(|claim| claim.revision.0), Some(4), "{context}");
}

/// Each of these on each kernel.
macro_rules! on_every_kernel {
    ($($test:ident)*) => {
        mod nft {
            $(#[test] fn $test() { super::$test::<super::Nft>(); })*
        }
        mod wfp {
            $(#[test] fn $test() { super::$test::<super::Wfp>(); })*
        }
    };
}

on_every_kernel! {
    any_fault_at_any_call_leaves_a_whole_policy_and_the_next_runs_finish
    a_ruleset_that_cuts_the_platform_off_is_taken_back_whatever_fails
    what_can_not_be_trusted_changes_nothing
    a_table_that_was_too_busy_to_be_read_is_repaired_by_the_next_run
    a_write_that_failed_and_happened_all_the_same_is_found_by_the_next_run
    a_first_ruleset_that_a_kill_took_from_the_kernel_is_put_back_before_the_platform_is_asked
}

fn any_fault_at_any_call_leaves_a_whole_policy_and_the_next_runs_finish<M: Model>() {
    let mut cycles = 0;
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for from in BEGINS {
        let before = begin::<M>(from);
        let disk = before.on_disk();
        for behaviour in BEHAVIOURS {
            let calls = calls_of_a_run(&before, behaviour);
            for (number, call) in calls.iter().enumerate() {
                seen.insert(format!("{call:?}"));
                for &fault in Fault::at(*call) {
                    let context =
                        format!("{from:?}, {behaviour:?}, {fault:?} at {number} {call:?}");
                    let world = before.fork();
                    world.set(|sim| {
                        sim.behaviour = behaviour;
                        sim.fault = Some((number, fault));
                    });
                    let ended = world.run();
                    let killed = fault == Fault::Killed;
                    assert_eq!(ended.is_none(), killed, "{context}");
                    is_whole(&world, from, &context);
                    assert!(world.on_disk() >= disk, "{context}: {:?}", world.on_disk());
                    if !killed {
                        let turns = world.set(|sim| sim.threat_turns);
                        assert_eq!(turns, 2, "{context}: the threat list's part had its turns");
                    }
                    world.time_passes();
                    is_whole(&world, from, &context);
                    recovers(&world, &context);
                    cycles += 3;
                }
            }
        }
    }
    // All steps of the policy part occurred except those that require an earlier failure.
    for step in [
        Step::Collected,
        Step::Introduced,
        Step::Repaired,
        Step::CheckedIn,
        Step::Fetched,
        Step::Resolved,
        Step::Tried,
        Step::Confirmed,
        Step::Remembered,
        Step::Kept,
    ] {
        assert!(seen.contains(&format!("{:?}", Call::Step(step))), "{step} was never reached");
    }
    assert!(cycles > 5_000, "{cycles}");
}

fn a_ruleset_that_cuts_the_platform_off_is_taken_back_whatever_fails<M: Model>() {
    let cutting = || {
        let world = World::<M>::with(2);
        world.set(|sim| {
            sim.behaviour = Behaviour::well(3);
            sim.cuts.insert(3);
        });
        world
    };
    let twin = cutting();
    let ended = twin.run().expect("nobody kills it");
    assert_eq!((ended.status, ended.change), (RunStatus::Reverted, Change::Reverted));
    assert_eq!(twin.kernel(), verdicts_of(2));
    let calls = twin.set(|sim| sim.calls.clone());
    assert!(calls.contains(&Call::Step(Step::Reverted)), "{calls:?}");
    let before = cutting();
    for (number, call) in calls.iter().enumerate() {
        for &fault in Fault::at(*call) {
            let context = format!("{fault:?} at {number} {call:?}");
            let world = before.fork();
            world.set(|sim| sim.fault = Some((number, fault)));
            world.run();
            world.time_passes();
            assert_eq!(world.kernel(), verdicts_of(2), "{context}");
            assert_eq!(world.on_disk(), Some(2), "{context}");
            recovers(&world, &context);
        }
    }
}

fn what_can_not_be_trusted_changes_nothing<M: Model>() {
    for (brings, status) in [
        (Brings::Forged, RunStatus::RulesetRefused),
        (Brings::OfAnotherHost, RunStatus::RulesetRefused),
        (Brings::Cut, RunStatus::RulesetRefused),
        (Brings::Older(1), RunStatus::RulesetRefused),
        (Brings::Nothing, RunStatus::Enforcing),
    ] {
        let world = World::<M>::with(2);
        world.set(|sim| sim.behaviour = Behaviour { answers: true, wants: Some(3), brings });
        let ended = world.run().expect("nobody kills it");
        assert_eq!((ended.status, ended.change), (status, Change::None), "{brings:?}");
        assert_eq!((world.kernel(), world.on_disk()), (verdicts_of(2), Some(2)), "{brings:?}");
    }
}

fn a_table_that_was_too_busy_to_be_read_is_repaired_by_the_next_run<M: Model>() {
    let world = World::<M>::with(2);
    world.table_is_disturbed();
    world.set(|sim| sim.behaviour = Behaviour::well(2));
    let calls = calls_of_a_run(&world, Behaviour::well(2));
    let (state, read) = (
        calls.iter().position(|call| *call == Call::State).unwrap(),
        calls.iter().position(|call| *call == Call::ReadBack).unwrap(),
    );
    for at in [state, read] {
        let world = world.fork();
        world.set(|sim| sim.fault = Some((at, Fault::Refused)));
        let ended = world.run().expect("nobody kills it");
        assert_eq!((ended.status, ended.in_force), (RunStatus::Failed, None));
        let told = world.set(|sim| sim.told.clone()).expect("it was told");
        assert_eq!(told.in_force, None, "what was not read is not said to be in force");
        let codes = world
            .set(|sim| sim.problems.iter().map(|problem| problem.code.clone()).collect::<Vec<_>>());
        assert_eq!(codes, ["not-read", "read-back-differs"]);
        world.set(|sim| sim.fault = None);
        let ended = world.run().expect("nobody kills it");
        assert_eq!((ended.status, ended.change), (RunStatus::Enforcing, Change::Repaired));
    }
}

fn a_write_that_failed_and_happened_all_the_same_is_found_by_the_next_run<M: Model>() {
    let world = World::<M>::with(2);
    world.set(|sim| sim.behaviour = Behaviour::well(3));
    let calls = calls_of_a_run(&world, Behaviour::well(3));
    let write = calls.iter().position(|call| *call == Call::WriteDown).unwrap();
    world.set(|sim| sim.fault = Some((write, Fault::Unanswered)));
    let ended = world.run().expect("nobody kills it");
    assert_eq!((ended.status, ended.change), (RunStatus::Reverted, Change::Reverted));
    assert_eq!((world.kernel(), world.on_disk()), (verdicts_of(2), Some(3)));
    // No rule was changed since, yet what is on disk differs from the kernel.
    world.set(|sim| {
        sim.fault = None;
        sim.behaviour = Behaviour::silent();
    });
    let ended = world.run().expect("nobody kills it");
    assert_eq!(ended.status, RunStatus::PlatformUnreachable);
    assert_eq!(world.kernel(), verdicts_of(3));
}

fn a_first_ruleset_that_a_kill_took_from_the_kernel_is_put_back_before_the_platform_is_asked<
    M: Model,
>() {
    let world = World::<M>::new();
    let calls = calls_of_a_run(&world, Behaviour::well(3));
    let write = calls.iter().position(|call| *call == Call::WriteDown).unwrap();
    world.set(|sim| {
        sim.behaviour = Behaviour::well(3);
        sim.fault = Some((write, Fault::Killed));
    });
    assert_eq!(world.run(), None);
    world.time_passes();
    assert_eq!((world.kernel(), world.on_disk()), (all_open(), Some(3)));

    world.set(|sim| sim.fault = None);
    let ended = world.run().expect("nobody kills it");
    assert_eq!((ended.status, ended.change), (RunStatus::Enforcing, Change::Repaired));
    let calls = world.set(|sim| sim.calls.clone());
    let at = |wanted: Call| calls.iter().position(|call| *call == wanted);
    let (put_back, asked) = (at(Call::ApplyNow), at(Call::CheckIn));
    assert!(put_back.is_some() && put_back < asked, "{calls:?}");
}
