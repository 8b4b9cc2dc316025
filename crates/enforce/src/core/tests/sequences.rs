//! Random histories of a host: completed and killed runs, answers that arrive twice, late or not at all,
//! other programs that change the table, restarts.

use proptest::prelude::*;

use super::fake::{
    AtBoot, Behaviour, Fault, FetchedRuleset, Files, Model, Nft, REVISIONS, Reports, Wfp, World,
    all_open, verdicts_of,
};
use crate::core::result::RunStatus;

#[derive(Debug, Clone, Copy)]
enum Event {
    /// A run, possibly with a fault at a call.
    Run(Answer, Option<(usize, Fault)>),
    /// A trial expires.
    TimePasses,
    Reboot,
    TableRemoved,
    TableDisturbed,
    ListRemoved,
    ListDamaged,
    ListFilesLost,
    /// The platform's name resolves to another address.
    Moves(u8),
    /// A revision starts or stops blocking the connection to the platform.
    Cuts(u64),
    Packets(u8),
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    /// The newest committed revision; possibly another one is committed first.
    Newest {
        commits: bool,
    },
    /// An earlier answer is repeated.
    Again(u64),
    /// The newest is announced, but something else is delivered.
    FetchedRuleset(FetchedRuleset),
    /// The newest is announced, but the files of its threat list are not the best.
    Files(Files),
    /// Reports are not taken.
    Reports(Reports),
    Silent,
}

/// What must be in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    /// Nothing: no run has ended well since there was none.
    Open,
    /// A whole list.
    Settled,
    /// Someone took an entry out, and no run has ended well since.
    Damaged,
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => any::<bool>().prop_map(|commits| Answer::Newest { commits }),
        1 => (1..=REVISIONS).prop_map(Answer::Again),
        1 => prop_oneof![
            (1..=REVISIONS).prop_map(FetchedRuleset::Older),
            Just(FetchedRuleset::Forged),
            Just(FetchedRuleset::Cut),
            Just(FetchedRuleset::Nothing),
        ].prop_map(Answer::FetchedRuleset),
        1 => prop_oneof![Just(Files::BadDelta), Just(Files::Whole), Just(Files::Bad)]
            .prop_map(Answer::Files),
        1 => prop_oneof![Just(Reports::Refused), Just(Reports::Enough)].prop_map(Answer::Reports),
        1 => Just(Answer::Silent),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    let fault = prop_oneof![Just(Fault::Refused), Just(Fault::Unanswered), Just(Fault::Killed),];
    prop_oneof![
        8 => (answers(), proptest::option::of((0..80usize, fault)))
            .prop_map(|(answer, fault)| Event::Run(answer, fault)),
        1 => Just(Event::TimePasses),
        1 => Just(Event::Reboot),
        1 => Just(Event::TableRemoved),
        1 => Just(Event::TableDisturbed),
        1 => Just(Event::ListRemoved),
        1 => Just(Event::ListDamaged),
        1 => Just(Event::ListFilesLost),
        1 => (0..4u8).prop_map(Event::Moves),
        1 => (1..=REVISIONS).prop_map(Event::Cuts),
        2 => (1..5u8).prop_map(Event::Packets),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_loses_the_last_good_ruleset(life in prop::collection::vec(events(), 1..14)) {
        lives::<Nft>(&life)?;
        lives::<Wfp>(&life)?;
    }
}

fn lives<M: Model>(life: &[Event]) -> Result<(), TestCaseError> {
    let world = World::<M>::new();
    let mut newest = 1;
    let mut disk = None;
    // Whether a run has completed since the host was new, or since the table was deleted.
    let mut settled = false;
    // The same for the threat list.
    let mut list = List::Open;
    for &event in life {
        match event {
            Event::Run(answer, fault) => {
                let behaviour = match answer {
                    Answer::Newest { commits } => {
                        newest = REVISIONS.min(newest + u64::from(commits));
                        Behaviour::well(newest)
                    }
                    Answer::Again(revision) => Behaviour::well(revision.min(newest)),
                    Answer::FetchedRuleset(FetchedRuleset::Older(revision)) => {
                        Behaviour::bringing(newest, FetchedRuleset::Older(revision.min(newest)))
                    }
                    Answer::FetchedRuleset(brings) => Behaviour::bringing(newest, brings),
                    Answer::Files(files) => Behaviour { files, ..Behaviour::well(newest) },
                    Answer::Reports(reports) => Behaviour { reports, ..Behaviour::well(newest) },
                    Answer::Silent => Behaviour::SILENT,
                };
                world.set(|sim| {
                    sim.behaviour = behaviour;
                    sim.fault = fault;
                });
                let ended = world.run();
                if ended.is_some_and(|ended| ended.status == RunStatus::Enforcing) {
                    settled = true;
                    list = List::Settled;
                }
            }
            Event::TimePasses => world.time_passes(),
            Event::Reboot => {
                world.reboot();
                settled = match M::AT_BOOT {
                    AtBoot::Restored => disk.is_some(),
                    AtBoot::Kept => settled,
                };
                list = List::Open;
            }
            Event::TableRemoved => {
                world.table_is_removed();
                settled = false;
            }
            Event::TableDisturbed => world.table_is_disturbed(),
            Event::ListRemoved => {
                world.list_is_removed();
                list = List::Open;
            }
            Event::ListDamaged => {
                world.list_is_damaged();
                if list == List::Settled {
                    list = List::Damaged;
                }
            }
            Event::ListFilesLost => world.list_files_are_lost(),
            Event::Moves(to) => world.set(|sim| {
                sim.endpoint = format!("192.0.2.{}:8443", 200 + u16::from(to)).parse().unwrap();
            }),
            Event::Cuts(revision) => world.set(|sim| {
                if !sim.cuts.remove(&revision) {
                    sim.cuts.insert(revision);
                }
            }),
            Event::Packets(count) => (0..count).for_each(|_| {
                world.packet();
                world.listed_packet();
            }),
        }
        // The ruleset on disk never becomes older.
        prop_assert!(world.on_disk() >= disk, "{:?} after {disk:?}", world.on_disk());
        disk = world.on_disk();
        // A complete ruleset judges packets; everything passes only until a run has completed.
        let kernel = world.kernel();
        let whole = (1..=REVISIONS).any(|revision| kernel == verdicts_of(revision));
        let open = kernel == all_open() && !settled;
        prop_assert!(whole || open, "{kernel:?}, on disk {disk:?}");
        // The kernel holds a complete threat list, unless no run had the time to repair it.
        match (list, world.list()) {
            (_, Some(1..)) | (List::Open, _) | (List::Damaged, Some(0)) => {}
            (_, found) => prop_assert!(false, "{found:?} after {list:?}"),
        }
        let counted = world.set(|sim| (sim.counted.hits, sim.counted.matches));
        let real = world.set(|sim| sim.real);
        prop_assert!(counted.0 <= real.0, "{} hits counted of {}", counted.0, real.0);
        prop_assert!(counted.1 <= real.1, "{} matches counted of {}", counted.1, real.1);
    }
    // Whatever happened before: after two undisturbed runs the wanted ruleset is in force.
    world.set(|sim| {
        sim.fault = None;
        sim.cuts.clear();
        sim.behaviour = Behaviour::well(newest);
    });
    world.run();
    let ended = world.run().expect("nobody kills it");
    prop_assert_eq!(ended.status, RunStatus::Enforcing);
    prop_assert_eq!(world.kernel(), verdicts_of(newest));
    prop_assert_eq!(world.on_disk(), Some(newest));
    prop_assert_eq!(world.list(), Some(newest));
    Ok(())
}
