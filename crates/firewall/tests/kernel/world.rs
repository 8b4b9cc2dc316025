//! Network namespaces of a test's own, and what `nft` and `ip` do in them.

use std::process::Command;

use rustix::thread::UnshareFlags;

/// Runs `test` on a thread that alone lives in a new network namespace with the loopback up.
///
/// Without the rights to make one, says so loudly and does nothing.
pub fn in_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let run = || {
            if let Err(error) = enter_new_namespace() {
                eprintln!("SKIPPED: no network namespace ({error}); run the tests as root");
                return None;
            }
            sh("ip link set lo up");
            Some(test())
        };
        match scope.spawn(run).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[allow(unsafe_code, reason = "a namespace per test thread")]
pub fn enter_new_namespace() -> rustix::io::Result<()> {
    // SAFETY: only this thread's network namespace changes; no file descriptors are unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
}

/// Runs a command in this thread's namespace; panics when it fails.
pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `nft` sees, without handles and counters.
pub fn nft_list() -> String {
    sh("nft -s -nn list table inet xshield")
}

/// What `nft -j` sees of the ruleset: all objects of a kind in our table.
pub fn nft_objects(kind: &str) -> Vec<serde_json::Value> {
    let all: serde_json::Value = serde_json::from_str(&sh("nft -j list ruleset")).unwrap();
    let objects = all["nftables"].as_array().unwrap().iter();
    objects
        .filter_map(|object| object.get(kind))
        .filter(|o| o["table"] == "xshield")
        .cloned()
        .collect()
}
