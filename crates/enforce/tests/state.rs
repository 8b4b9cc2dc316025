//! State on disk is intact, or reported as damaged and replaced.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use xshield_enforce::core::known_good::LastKnownGood;
use xshield_enforce::progress::Progress;
use xshield_enforce::state::StateDirectory;
use xshield_policy::{DirectionRules, Facts, Failsafe, Revision, Ruleset};
use xshield_wire::envelope;
use xshield_wire::keys::{PolicyKey, PolicyPublicKey};

fn key() -> PolicyKey {
    PolicyKey::from_seed([9; 32])
}

fn pinned() -> [PolicyPublicKey; 1] {
    [key().public()]
}

fn ruleset(revision: u64) -> xshield_wire::Verified<Ruleset> {
    let ruleset = Ruleset {
        asset: "a1".parse().unwrap(),
        revision: Revision(revision),
        failsafe: Failsafe::default(),
        intranet: Vec::new(),
        intranet_domains: Vec::new(),
        grace: [].into(),
        inbound: DirectionRules::default(),
        outbound: DirectionRules::default(),
        forwarded: None,
    };
    let sealed = envelope::seal(&key(), &ruleset).unwrap().to_bytes();
    envelope::open(&sealed, &pinned(), &"a1".parse().unwrap(), Revision(0).into()).unwrap()
}

fn known(revision: u64) -> LastKnownGood {
    LastKnownGood { ruleset: ruleset(revision), facts: Facts::default(), live: None }
}

fn revision_read(state: &StateDirectory) -> (Option<Revision>, usize) {
    let mut repaired = Vec::new();
    let known = state.last_known_good(&pinned(), &mut repaired).unwrap();
    (known.map(|known| known.ruleset.revision), repaired.len())
}

#[test]
fn a_damaged_last_known_good_falls_back_to_the_previous_one_and_reports_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let state = StateDirectory::open(&root).unwrap();
    assert_eq!(revision_read(&state), (None, 0));
    state.save_last_known_good(&known(1)).unwrap();
    assert_eq!(revision_read(&state), (Some(Revision(1)), 0));
    state.save_last_known_good(&known(2)).unwrap();
    assert_eq!(revision_read(&state), (Some(Revision(2)), 0));

    let whole = fs::read(root.join("enforced")).unwrap();
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(root.join("enforced"), &whole[..cut]).unwrap();
        assert_eq!(revision_read(&state), (Some(Revision(1)), 1), "cut at {cut}");
    }
    for at in (0..whole.len()).step_by(97) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(root.join("enforced"), flipped).unwrap();
        assert_eq!(revision_read(&state), (Some(Revision(1)), 1), "flipped at {at}");
    }
    fs::write(root.join("enforced"), &whole).unwrap();
    assert_eq!(revision_read(&state), (Some(Revision(2)), 0));
}

#[test]
fn a_ruleset_that_no_pinned_key_signed_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    state.save_last_known_good(&known(1)).unwrap();
    let other = [PolicyKey::from_seed([8; 32]).public()];
    let mut repaired = Vec::new();
    assert!(state.last_known_good(&other, &mut repaired).unwrap().is_none());
    assert!(repaired[0].text.contains("pinned"), "{repaired:?}");
}

#[test]
fn damaged_positions_are_reset_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    state.save_progress(&Progress { sequence: 7, ..Progress::default() }).unwrap();
    let mut repaired = Vec::new();
    assert_eq!(state.progress(&mut repaired).unwrap().sequence, 7);
    assert!(repaired.is_empty());
    fs::write(directory.path().join("progress"), "half").unwrap();
    assert_eq!(state.progress(&mut repaired).unwrap().sequence, 0);
    assert_eq!(repaired.len(), 1);
    assert_eq!(repaired[0].code, "state-damaged");
}

#[test]
fn removal_deletes_our_files_and_nothing_else() {
    for foreign in [None, Some("platform.db")] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("state");
        let state = StateDirectory::open(&root).unwrap();
        state.save_last_known_good(&known(1)).unwrap();
        state.save_last_known_good(&known(2)).unwrap();
        state.save_progress(&Progress::default()).unwrap();
        for name in ["identity.key", "lock", "session.damaged"] {
            fs::write(root.join(name), "x").unwrap();
        }
        for name in ["spool", "bin"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("inside"), "x").unwrap();
        }
        if let Some(name) = foreign {
            fs::write(root.join(name), "theirs").unwrap();
        }
        state.remove().unwrap();
        let left: Vec<_> = fs::read_dir(&root)
            .map(|left| left.map(|entry| entry.unwrap().file_name()).collect())
            .unwrap_or_default();
        assert_eq!(left, foreign.map(std::ffi::OsString::from).into_iter().collect::<Vec<_>>());
        assert_eq!(root.exists(), foreign.is_some());
    }
}
