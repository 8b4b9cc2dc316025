//! A full disk, and kills at any time.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use xshield_host::files::{self, FileError};
use xshield_host::spool::{DeliveryOrder, Losses, Spool, SpoolError};

/// Set for the process that is to be killed: the directory to which it writes.
const VICTIM: &str = "XSHIELD_TEST_VICTIM";

/// Runs `test` with a file system of `size` bytes, in its own mount namespace.
fn on_small_disk(size: usize, test: impl FnOnce(&Path) + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root to mount a small file system");
        return;
    }
    let outcome = std::thread::spawn(move || {
        let disk = tempfile::tempdir().unwrap();
        own_mounts();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        mount("tmpfs", disk.path(), "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
        test(disk.path());
        rustix::mount::unmount(disk.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    });
    outcome.join().unwrap();
}

#[allow(unsafe_code, reason = "unshare(2) concerns this thread alone here")]
fn own_mounts() {
    // SAFETY: only the mount namespace of this thread changes; no memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
}

#[test]
fn a_full_disk_keeps_the_old_state_and_suggests_a_remedy() {
    on_small_disk(64 << 10, |disk| {
        let path = disk.join("state");
        files::write_state(&path, &"old").unwrap();
        let error = files::write_state(&path, &"x".repeat(1 << 20)).unwrap_err();
        assert!(matches!(error, FileError::Full { .. }), "{error}");
        assert!(error.to_string().contains("free some space"), "{error}");
        assert_eq!(files::read_state::<String>(&path).unwrap().as_deref(), Some("old"));
        assert_eq!(fs::read_dir(disk).unwrap().count(), 1, "nothing half-written stays");
        files::write_state(&path, &"new").unwrap();
    });
}

#[test]
fn a_spool_on_a_full_disk_counts_refused_records() {
    on_small_disk(64 << 10, |disk| {
        let mut spool = Spool::open(disk, 1 << 20).unwrap();
        let kept = spool.append(b"kept", 1, DeliveryOrder::BySize).unwrap();
        let error = spool.append(&vec![0; 128 << 10], 9, DeliveryOrder::BySize).unwrap_err();
        assert!(matches!(error, SpoolError::File(FileError::Full { .. })), "{error}");
        assert_eq!(spool.losses(), Losses { records: 1, items: 9 });
        let mut spool = Spool::open(disk, 1 << 20).unwrap();
        assert_eq!(spool.read(kept).unwrap().as_deref(), Some(&b"kept"[..]));
        assert_eq!(spool.losses(), Losses { records: 1, items: 9 });
    });
}

#[test]
fn a_full_spool_on_a_full_disk_counts_each_record_once() {
    on_small_disk(256 << 10, |disk| {
        let directory = disk.join("spool");
        let record = vec![7; 10 << 10];
        let bound = 5 * (11 << 10);
        let mut spool = Spool::open(&directory, bound).unwrap();
        let mut appended = 0;
        let mut append = |spool: &mut Spool, expected: bool| {
            appended += 1;
            assert_eq!(
                spool.append(&record, 3, DeliveryOrder::BySize).is_ok(),
                expected,
                "record {appended}"
            );
            let waiting = spool.pending().len() as u64;
            assert_eq!(waiting + spool.losses().records, appended);
            assert_eq!(spool.losses().items, 3 * spool.losses().records);
        };
        (0..8).for_each(|_| append(&mut spool, true));
        // Another program fills the rest of the disk.
        let other = disk.join("other");
        let mut file = fs::File::create(&other).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        // The oldest makes room for the new record and the count.
        (0..4).for_each(|_| append(&mut spool, true));
        fs::remove_file(other).unwrap();
        append(&mut spool, true);
        let losses = spool.losses();
        let spool = Spool::open(&directory, bound).unwrap();
        assert_eq!(spool.losses(), losses, "the count reached the disk");
    });
}

/// Not a test: the process that [`a_kill_at_any_moment_leaves_complete_files`] kills.
#[test]
fn victim() {
    let Some(directory) = std::env::var_os(VICTIM).map(PathBuf::from) else { return };
    let mut spool = Spool::open(&directory.join("spool"), 2_000).unwrap();
    for round in 0_u64.. {
        files::write_state(&directory.join("state"), &vec![round; 500]).unwrap();
        spool.append(&round.to_le_bytes(), 1, DeliveryOrder::InOrder(1)).unwrap();
        let mut out = std::io::stderr().lock();
        writeln!(out, "round {round}").unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_complete_files() {
    let directory = tempfile::tempdir().unwrap();
    for rounds in 1..=15 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture"])
            .env(VICTIM, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let seen =
            lines.map_while(Result::ok).filter(|line| line.starts_with("round")).take(rounds);
        assert_eq!(seen.count(), rounds, "the child writes");
        child.kill().unwrap();
        child.wait().unwrap();

        let state: Vec<u64> = files::read_state(&directory.path().join("state")).unwrap().unwrap();
        assert!(state.len() == 500 && state.iter().all(|&value| value == state[0]));
        let mut spool = Spool::open(&directory.path().join("spool"), 2_000).unwrap();
        let before = spool.losses();
        for id in spool.pending() {
            assert!(spool.read(id).unwrap().is_some(), "every record is whole");
        }
        assert_eq!(spool.losses(), before);
    }
}
