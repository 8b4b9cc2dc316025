//! Files: replaced whole, with long and odd names, closed to others.

use std::fs;
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use xshield_host::files::{self, Access};
use xshield_host::operating_system::UnguardedError;
use xshield_host::windows::{self, guarded};

#[test]
fn files_with_long_and_odd_names_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    // Beyond the 260 characters of old interfaces.
    let deep: PathBuf = (0..12).fold(dir.path().join("deep"), |path, _| path.join("d".repeat(40)));
    for name in ["state", "with spaces and.dots", "\u{1f980} \u{10400} äö", "日本語"] {
        for directory in [dir.path().join("short"), deep.clone()] {
            files::private_directory(&directory).unwrap();
            let path = directory.join(name);
            for content in [&b"old"[..], b"", b"new"] {
                files::write(&path, content, Access::Private).unwrap();
                assert_eq!(files::read(&path).unwrap().as_deref(), Some(content), "{name}");
            }
            let left = fs::read_dir(&directory).unwrap().count();
            fs::remove_file(&path).unwrap();
            assert_eq!(left, 1, "nothing is left beside {name}");
        }
    }
}

#[test]
fn a_file_opened_by_a_scanner_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    files::write(&path, b"old", Access::Private).unwrap();
    // Shared with nobody, as some scanners open files.
    let scanned = fs::OpenOptions::new().read(true).share_mode(0).open(&path).unwrap();
    let (begun, begins) = mpsc::channel();
    let writer = {
        let path = path.clone();
        thread::spawn(move || {
            begun.send(()).unwrap();
            files::write(&path, b"new", Access::Private)
        })
    };
    begins.recv().unwrap();
    // The new content is written: all that is left is to put it in place.
    while !dir.path().join("state.new").exists() && !writer.is_finished() {
        thread::yield_now();
    }
    drop(scanned);
    writer.join().unwrap().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn a_file_held_open_keeps_its_content_and_the_error_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    files::write(&path, b"old", Access::Private).unwrap();
    let held = fs::OpenOptions::new().read(true).share_mode(0).open(&path).unwrap();
    let error = files::write(&path, b"new", Access::Private).unwrap_err();
    assert!(error.to_string().contains("intact"), "{error}");
    drop(held);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert!(!dir.path().join("state.new").exists());
}

#[test]
fn a_name_with_a_zero_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = files::private_directory(&dir.path().join("a\0b")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn the_state_directory_is_below_programdata() {
    let directory = windows::state_directory().unwrap();
    assert!(directory.is_absolute() && directory.ends_with("Xshield"), "{}", directory.display());
}

#[test]
fn private_directories_and_files_are_accessible_only_to_us() {
    let dir = tempfile::tempdir().unwrap();
    let private = dir.path().join("private");
    files::private_directory(&private).unwrap();
    let file = private.join("key");
    files::write(&file, b"secret", Access::Private).unwrap();
    let missing = guarded::ours_alone(&private.join("none"));
    assert!(matches!(missing, Err(UnguardedError::Inspect { .. })), "{missing:?}");
    guarded::ours_alone(&private).unwrap();
    guarded::ours_alone(&file).unwrap();
    assert_eq!(guarded::exposed(&file, "a key"), None);
    assert!(files::close(&file).is_none());
    // Wine's icacls does nothing; there, the mode of the file below lets everybody read.
    let open = private.join("open");
    fs::write(&open, b"secret").unwrap();
    let grant = ["/grant", "*S-1-5-32-545:F"];
    let done = std::process::Command::new("icacls").arg(&open).args(grant).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let problem = guarded::exposed(&open, "a key").unwrap();
    assert!(problem.text.contains("icacls"), "{problem:?}");
    match guarded::ours_alone(&open) {
        Ok(()) => eprintln!("SKIPPED: icacls did not let others write (wine)"),
        Err(refused) => assert!(matches!(refused, UnguardedError::WritableBy { .. }), "{refused}"),
    }
    files::close(&open).unwrap().closed.unwrap();
    assert_eq!(guarded::exposed(&open, "a key"), None);
    guarded::ours_alone(&open).unwrap();
}
