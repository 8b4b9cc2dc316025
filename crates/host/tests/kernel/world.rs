//! A network namespace for one test.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs `test` on a thread in its own network namespace, with loopback up.
pub(crate) fn in_own_network(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root for a network namespace");
        return;
    }
    let outcome = std::thread::spawn(move || {
        own_network();
        run("ip", &["link", "set", "lo", "up"]);
        test();
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

#[allow(unsafe_code, reason = "unshare(2) concerns this thread alone here")]
fn own_network() {
    use rustix::thread::UnshareFlags;
    // SAFETY: only the network namespace of this thread changes; no memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
}

/// Runs a program in the namespace of the calling thread.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
}

/// Loads rules in nft's own language.
pub(crate) fn nft(rules: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{rules}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Calls `step` until it returns something.
pub(crate) fn until<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = step() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
    }
}

/// Another host: a thread in its own namespace that runs the jobs it is sent.
pub(crate) struct Peer(Sender<Job>);

type Job = Box<dyn FnOnce() + Send>;

impl Peer {
    /// Connects a new host to this thread's namespace: here `10.0.0.1` and `fd00::1`, there `10.0.0.2` and
    /// `fd00::2`.
    pub(crate) fn joined() -> Self {
        let (jobs, inbox) = channel::<Job>();
        let (ready, born) = channel();
        std::thread::spawn(move || {
            own_network();
            ready.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
            inbox.iter().for_each(|job| job());
        });
        let id = born.recv().unwrap().to_string();
        let peer = Self(jobs);
        run("ip", &["link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", &id]);
        peer.run(|| address("v1", 2));
        address("v0", 1);
        until("the link is up", || {
            let state = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
            state.contains("v0").then_some(())
        });
        peer
    }

    /// Runs `job` there and waits for its result.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, result) = channel();
        self.0.send(Box::new(move || answer.send(job()).unwrap())).unwrap();
        result.recv().unwrap()
    }
}

fn address(interface: &str, number: u8) {
    run("ip", &["addr", "add", &format!("10.0.0.{number}/24"), "dev", interface]);
    run("ip", &["addr", "add", &format!("fd00::{number}/64"), "dev", interface, "nodad"]);
    run("ip", &["link", "set", interface, "up"]);
    run("ip", &["link", "set", "lo", "up"]);
}
