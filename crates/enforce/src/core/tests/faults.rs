//! Every fault at every call of a run, from every initial state, with every behaviour of the platform.

use std::collections::BTreeSet;

use super::fake::{
    Behaviour, Call, Fault, FetchedRuleset, Files, Model, Nft, Reports, Scope, Wfp, World,
    all_open, verdicts_of,
};
use crate::core::result::{RulesetChange, RunStatus};
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
    /// Another program deleted the threat list.
    ListGone,
    /// Another program removed an entry from it.
    ListDamaged,
}

const BEGINS: [Begin; 10] = [
    Begin::New,
    Begin::InForce,
    Begin::Rebooted,
    Begin::TableGone,
    Begin::Disturbed,
    Begin::OnTrial,
    Begin::TrialOver,
    Begin::Moved,
    Begin::ListGone,
    Begin::ListDamaged,
];

static BEHAVIOURS: [Behaviour; 14] = [
    Behaviour::well(4),
    Behaviour::well(2),
    Behaviour { wants: None, order: None, ..Behaviour::well(4) },
    Behaviour::bringing(4, FetchedRuleset::Older(1)),
    Behaviour::bringing(4, FetchedRuleset::Forged),
    Behaviour::bringing(4, FetchedRuleset::OfAnotherHost),
    Behaviour::bringing(4, FetchedRuleset::Cut),
    Behaviour::bringing(4, FetchedRuleset::Nothing),
    Behaviour { files: Files::BadDelta, ..Behaviour::well(4) },
    Behaviour { files: Files::Whole, ..Behaviour::well(4) },
    Behaviour { files: Files::Bad, ..Behaviour::well(4) },
    Behaviour { reports: Reports::Refused, ..Behaviour::well(4) },
    Behaviour { reports: Reports::Enough, ..Behaviour::well(4) },
    Behaviour::SILENT,
];

/// Every behaviour in the state in which most hosts are; the main ones in the others, and with a
/// kernel that only differs in how it holds the policy.
fn behaviours<M: Model>(from: Begin) -> &'static [Behaviour] {
    static MAIN: [Behaviour; 3] =
        [Behaviour::well(4), Behaviour::SILENT, Behaviour::bringing(4, FetchedRuleset::Forged)];
    match from {
        Begin::InForce if M::SCOPE == Scope::Everything => &BEHAVIOURS,
        Begin::InForce | Begin::New => &MAIN,
        _ => &MAIN[..2],
    }
}

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
        Begin::ListGone => world.list_is_removed(),
        Begin::ListDamaged => world.list_is_damaged(),
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
    let list = world.list();
    let may_be_gone = matches!(from, Begin::New | Begin::ListGone);
    let may_be_damaged = matches!(from, Begin::ListDamaged);
    let whole = list.is_some_and(|revision| (oldest..=4).contains(&revision));
    let excused = (may_be_gone && list.is_none()) || (may_be_damaged && list == Some(0));
    assert!(whole || excused, "{context}: threat list {list:?}");
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
    assert_eq!(ended.change, RulesetChange::None, "{context}");
    assert_eq!(world.kernel(), verdicts_of(4), "{context}");
    assert_eq!(world.on_disk(), Some(4), "{context}");
    assert_eq!(world.list(), Some(4), "{context}");
    let (policy, threat) = world.set(|sim| sim.told.clone()).expect("it was told");
    assert_eq!(policy.in_force.map(|claim| claim.revision.0), Some(4), "{context}");
    assert_eq!(threat.list.map(|claim| claim.revision), Some(4), "{context}");
    assert_eq!(threat.failure, None, "{context}");
}

/// No packet is counted twice. Every packet of a listed peer is counted, unless the platform refused its
/// report; packets that a ruleset counted are lost when a run is killed right after replacing it.
fn counted_once<M: Model>(world: &World<M>, behaviour: Behaviour, context: &str) {
    let (counted, real) = world.set(|sim| ((sim.counted.hits, sim.counted.matches), sim.real));
    assert!(counted.0 <= real.0 && counted.1 <= real.1, "{context}: {counted:?} of {real:?}");
    if behaviour.reports != Reports::Refused {
        assert_eq!(counted.1, real.1, "{context}");
    }
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
    any_fault_at_any_call_leaves_a_complete_policy_and_the_next_runs_finish
    a_ruleset_that_blocks_the_platform_is_reverted_whatever_fails
    untrusted_rulesets_change_nothing
    a_table_too_busy_to_be_read_is_repaired_by_the_next_run
    a_write_that_failed_but_took_effect_is_found_by_the_next_run
    a_first_ruleset_lost_by_a_kill_is_restored_before_the_check_in
}

fn any_fault_at_any_call_leaves_a_complete_policy_and_the_next_runs_finish<M: Model>() {
    let mut cycles = 0;
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for from in BEGINS {
        let before = begin::<M>(from);
        (0..3).for_each(|_| before.packet());
        (0..2).for_each(|_| before.listed_packet());
        let disk = before.on_disk();
        for &behaviour in behaviours::<M>(from) {
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
                    counted_once(&world, behaviour, &context);
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
        Step::ThreatOrdered,
        Step::ThreatFetched,
        Step::ThreatPrepared,
        Step::ThreatProgrammed,
        Step::ThreatKept,
        Step::Saved,
        Step::Spooled,
        Step::Delivered,
    ] {
        assert!(seen.contains(&format!("{:?}", Call::Step(step))), "{step} was never reached");
    }
    assert!(cycles > 5_000, "{cycles}");
}

fn a_ruleset_that_blocks_the_platform_is_reverted_whatever_fails<M: Model>() {
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
    assert_eq!((ended.status, ended.change), (RunStatus::Reverted, RulesetChange::Reverted));
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

fn untrusted_rulesets_change_nothing<M: Model>() {
    for (brings, status) in [
        (FetchedRuleset::Forged, RunStatus::RulesetRefused),
        (FetchedRuleset::OfAnotherHost, RunStatus::RulesetRefused),
        (FetchedRuleset::Cut, RunStatus::RulesetRefused),
        (FetchedRuleset::Older(1), RunStatus::RulesetRefused),
        (FetchedRuleset::Nothing, RunStatus::Enforcing),
    ] {
        let world = World::<M>::with(2);
        world.set(|sim| sim.behaviour = Behaviour::bringing(3, brings));
        let ended = world.run().expect("nobody kills it");
        assert_eq!((ended.status, ended.change), (status, RulesetChange::None), "{brings:?}");
        assert_eq!((world.kernel(), world.on_disk()), (verdicts_of(2), Some(2)), "{brings:?}");
    }
}

fn a_table_too_busy_to_be_read_is_repaired_by_the_next_run<M: Model>() {
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
        let (told, _) = world.set(|sim| sim.told.clone()).expect("it was told");
        assert_eq!(told.in_force, None, "what was not read is not said to be in force");
        let codes = world
            .set(|sim| sim.problems.iter().map(|problem| problem.code.clone()).collect::<Vec<_>>());
        assert_eq!(codes, ["not-read", "read-back-differs"]);
        world.set(|sim| sim.fault = None);
        let ended = world.run().expect("nobody kills it");
        assert_eq!((ended.status, ended.change), (RunStatus::Enforcing, RulesetChange::Repaired));
    }
}

fn a_write_that_failed_but_took_effect_is_found_by_the_next_run<M: Model>() {
    let world = World::<M>::with(2);
    world.set(|sim| sim.behaviour = Behaviour::well(3));
    let calls = calls_of_a_run(&world, Behaviour::well(3));
    let write = calls.iter().position(|call| *call == Call::WriteDown).unwrap();
    world.set(|sim| sim.fault = Some((write, Fault::Unanswered)));
    let ended = world.run().expect("nobody kills it");
    assert_eq!((ended.status, ended.change), (RunStatus::Reverted, RulesetChange::Reverted));
    assert_eq!((world.kernel(), world.on_disk()), (verdicts_of(2), Some(3)));
    // No rule was changed since, yet what is on disk differs from the kernel.
    world.set(|sim| {
        sim.fault = None;
        sim.behaviour = Behaviour::SILENT;
    });
    let ended = world.run().expect("nobody kills it");
    assert_eq!(ended.status, RunStatus::PlatformUnreachable);
    assert_eq!(world.kernel(), verdicts_of(3));
}

fn a_first_ruleset_lost_by_a_kill_is_restored_before_the_check_in<M: Model>() {
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
    assert_eq!((ended.status, ended.change), (RunStatus::Enforcing, RulesetChange::Repaired));
    let calls = world.set(|sim| sim.calls.clone());
    let at = |wanted: Call| calls.iter().position(|call| *call == wanted);
    let (put_back, asked) = (at(Call::ApplyNow), at(Call::CheckIn));
    assert!(put_back.is_some() && put_back < asked, "{calls:?}");
}
