//! After a kill, lack of memory or a damaged file during a load, the previous list is complete.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use ipnet::IpNet;
use xshield_firewall::threat::{ThreatError, ThreatState, ThreatTable};

use crate::lists::{block, delta, loaded, many, name, nets};
use crate::table::{listed, set};
use crate::world::{eventually, in_namespace};

const STOP: &str = "XSHIELD_TEST_STOP_AFTER";
const GROUP: &str = "XSHIELD_TEST_MEMORY_GROUP";
const SIZE: &str = "XSHIELD_TEST_SIZE";
const COUNT: u32 = 100_000;

/// Not a test: the process that the tests below start to load a list.
#[test]
#[ignore = "a part of other tests"]
fn loading_process() {
    if let Ok(group) = std::env::var(GROUP) {
        fs::write(group, std::process::id().to_string()).unwrap();
    }
    let stop: Option<usize> = std::env::var(STOP).ok().map(|stop| stop.parse().unwrap());
    let size = std::env::var(SIZE).map_or(COUNT, |size| size.parse().unwrap());
    let entries = many(size, 0);
    let total = entries.len();
    let list = name(2, &entries);
    // The step after the last entry is included: everything is staged by then.
    let steps = entries.into_iter().map(Some).chain([None]).enumerate();
    let paused = steps.filter_map(|(n, entry)| {
        if stop.map(|stop| stop.min(total)) == Some(n) {
            eprintln!("stopped");
            // Until killed: nothing is ever written here.
            let _ended = std::io::stdin().read(&mut [0]);
        }
        entry
    });
    match ThreatTable::open().unwrap().load(&list, &block(), paused) {
        Ok(()) => eprintln!("loaded"),
        Err(error) => eprintln!("refused: {error:?}"),
    }
}

/// Killed if a test ends early, so that nothing outlives it.
struct Loading(Child);

impl Drop for Loading {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _waited_already = self.0.wait();
    }
}

fn start(variables: &[(&str, String)]) -> Loading {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::loading_process", "--ignored", "--nocapture"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    Loading(child.unwrap())
}

/// The first line that contains one of the words; an empty one if there is none.
fn read_until(child: &mut Loading, words: &'static [&str]) -> String {
    let lines = BufReader::new(child.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let (found, line) = channel();
    std::thread::spawn(move || {
        let mut lines = lines;
        found.send(lines.find(|line| words.iter().any(|word| line.contains(word))))
    });
    line.recv_timeout(Duration::from_secs(30)).ok().flatten().unwrap_or_default()
}

#[test]
fn a_kill_during_a_load_keeps_the_old_list() {
    in_namespace(|| {
        let old = nets(&["192.0.2.1", "198.51.100.0/24", "2001:db8::1"]);
        let mut table = loaded(1, &old, &block());
        for stop in [0, 1, 5_000, 60_000, usize::MAX] {
            let mut child = start(&[(STOP, stop.to_string())]);
            assert_eq!(read_until(&mut child, &["stopped", "loaded", "refused"]), "stopped");
            drop(child);
            assert!(matches!(table.state().unwrap(), ThreatState::InForce(_)), "{stop}");
            assert_eq!(table.verify_full(old.clone()).unwrap(), [], "{stop}");
            // What was left is unreferenced, and a delta works beside it.
            let new = nets(&["192.0.2.1", "198.51.100.0/24", "2001:db8::1", "203.0.113.5"]);
            delta(&mut table, (1, &old), (2, &new), &block()).unwrap();
            delta(&mut table, (2, &new), (1, &old), &block()).unwrap();
        }
        let new = many(COUNT, 7);
        table.load(&name(3, &new), &block(), new.clone()).unwrap();
        assert_eq!(listed(), set(&new), "nothing else is left");
    });
}

#[test]
fn a_file_with_a_damaged_end_keeps_the_old_list() {
    in_namespace(|| {
        let old = nets(&["192.0.2.1"]);
        let mut table = loaded(1, &old, &block());
        let new = many(10_000, 0);
        // Only after all entries is it detected that they are wrong.
        let damaged = new.iter().copied().map(Ok).chain([Err(std::io::Error::other("damaged"))]);
        let error = table.load_from(&name(2, &new), &block(), damaged).unwrap_err();
        assert!(matches!(error, ThreatError::Unreadable { revision: 2, .. }), "{error}");
        assert_eq!(listed(), set(&old));
        assert!(matches!(table.state().unwrap(), ThreatState::InForce(_)));
    });
}

/// A memory cgroup of this test; removed at the end.
struct Group(PathBuf);

impl Group {
    /// With this many bytes, including kernel memory. `None` if groups can't be created.
    fn with(bytes: u64) -> Option<Self> {
        let id = std::process::id();
        let old = PathBuf::from(format!("/sys/fs/cgroup/memory/xshield-test-{id}"));
        fs::create_dir(&old).ok()?;
        let group = Self(old);
        fs::write(group.0.join("memory.limit_in_bytes"), bytes.to_string()).ok()?;
        // Refuse memory instead of ending the process.
        fs::write(group.0.join("memory.oom_control"), "1").ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let path = self.0.clone();
        // The kernel releases it shortly after the last process.
        eventually("the memory group is gone", Duration::from_secs(10), || {
            fs::remove_dir(&path).is_ok() || !path.exists()
        });
    }
}

#[test]
fn a_kernel_out_of_memory_keeps_the_old_list() {
    in_namespace(|| {
        let Some(group) = Group::with(24 << 20) else {
            eprintln!("SKIPPED: no memory control groups (v1); run the tests as root");
            return;
        };
        let old = nets(&["192.0.2.1", "2001:db8::/32"]);
        let mut table = loaded(1, &old, &block());
        let member = group.0.join("cgroup.procs").to_str().unwrap().to_owned();
        let mut child = start(&[(GROUP, member), (SIZE, "400000".to_owned())]);
        let end = read_until(&mut child, &["loaded", "refused"]);
        drop(child);
        // A process in a group without memory may also wait instead of being refused.
        assert!(end.is_empty() || end.contains("OutOfMemory"), "{end:?}");
        assert!(matches!(table.state().unwrap(), ThreatState::InForce(_)));
        assert_eq!(table.verify_full(old.clone()).unwrap(), []);
        let new: Vec<IpNet> = many(COUNT, 3);
        table.load(&name(3, &new), &block(), new.clone()).unwrap();
        assert_eq!(table.verify_full(new).unwrap(), []);
    });
}
