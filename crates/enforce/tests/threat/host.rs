//! A host: a network namespace, its own root directory, and runs of the real cycle in it.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use rustix::thread::UnshareFlags;
use tempfile::TempDir;
use xshield_enforce::options::RunOptions;
use xshield_enforce::outcome::ThreatChange;
use xshield_enforce::{Config, Cycle, Program, ProgramKind, RunEnvironment, RunOutcome};

use crate::platform::{Platform, enforcement_key, policy_key};

/// Runs a test on a thread in a new network namespace.
///
/// Without the permission to create one, prints that the test is skipped.
pub(crate) fn on_a_host(test: impl FnOnce(&Platform, &Host) + Send) {
    std::thread::scope(|scope| {
        let run = || {
            if let Err(error) = enter_new_namespace() {
                eprintln!("SKIPPED: no network namespace ({error}); run the tests as root");
                return;
            }
            sh("ip link set lo up");
            let platform = Platform::start();
            let host = Host::new(&platform);
            test(&platform, &host);
        };
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[allow(unsafe_code, reason = "a namespace per test thread")]
fn enter_new_namespace() -> rustix::io::Result<()> {
    // SAFETY: only this thread's network namespace changes; no file descriptors are unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
}

/// Runs a command in this thread's namespace; panics when it fails.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) struct Host {
    root: TempDir,
    platform_line: String,
    /// The mode of its configuration file.
    pub(crate) config_mode: Cell<u32>,
}

impl Host {
    fn new(platform: &Platform) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
        fs::write(root.path().join("ca.pem"), &platform.ca_pem).unwrap();
        let platform_line = format!("platform: https://{}", platform.address);
        Self { platform_line, root, config_mode: Cell::new(0o600) }
    }

    pub(crate) fn config(&self) -> Config {
        self.configured(&self.platform_line)
    }

    fn configured(&self, platform_line: &str) -> Config {
        let root = self.root.path().display();
        let key = enforcement_key().to_text();
        let path = self.root.path().join("spark.yaml");
        let text = format!(
            "{platform_line}\nca-file: {root}/ca.pem\npolicy-keys: [\"{}\"]\nenforcement-key: {}\n\
             state-directory: {root}/state\nnftables: leave\nboot-unit: leave\n",
            policy_key().public(),
            *key,
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(self.config_mode.get())).unwrap();
        Config::load(&xshield_enforce::linux::this_system(), &path).unwrap()
    }

    pub(crate) fn environment(&self) -> RunEnvironment {
        let mut environment =
            xshield_enforce::linux::this_host(self.root.path().join("spark.yaml"));
        environment.root = self.root.path().to_owned();
        environment
    }

    /// One run of the cycle.
    pub(crate) fn run(&self) -> RunOutcome {
        self.run_with(&self.config())
    }

    /// One run while the platform does not answer.
    pub(crate) fn run_alone(&self) -> RunOutcome {
        self.run_with(&self.configured("platform: https://127.0.0.1:9"))
    }

    fn run_with(&self, config: &Config) -> RunOutcome {
        let environment = self.environment();
        let program = Program { kind: ProgramKind::Spark, version: "0.0.0".to_owned() };
        let cycle =
            Cycle { config, program, environment: &environment, options: RunOptions::default() };
        cycle.run().unwrap()
    }

    /// Returns why a run does not start.
    pub(crate) fn run_in_vain(&self) -> String {
        let (config, environment) = (self.config(), self.environment());
        let program = Program { kind: ProgramKind::Spark, version: "0.0.0".to_owned() };
        let options = RunOptions::default();
        let cycle = Cycle { config: &config, program, environment: &environment, options };
        xshield_enforce::problems::chain(&cycle.run().unwrap_err())
    }

    /// A run that makes this change in the kernel and reports no problem.
    pub(crate) fn run_well(&self, change: ThreatChange) -> RunOutcome {
        let outcome = self.run();
        assert_eq!(codes(&outcome), [""; 0], "{:?}", outcome.problems);
        assert_eq!(outcome.threat.change, change, "{outcome:?}");
        outcome
    }

    /// A file of the host.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A file or directory of the host's threat state.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.root.path().join("state/threat").join(name)
    }

    /// The files of the stored lists.
    pub(crate) fn list_files(&self) -> Vec<PathBuf> {
        let Ok(directory) = fs::read_dir(self.state("")) else { return Vec::new() };
        let paths = directory.flatten().map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|e| e == "list")).collect()
    }
}

pub(crate) fn codes(outcome: &RunOutcome) -> Vec<&str> {
    outcome.problems.iter().map(|problem| problem.code.as_str()).collect()
}

/// The listed addresses according to `nft`, sorted; empty without a table.
pub(crate) fn listed() -> Vec<String> {
    let all: serde_json::Value = serde_json::from_str(&sh("nft -j list ruleset")).unwrap();
    let sets = all["nftables"].as_array().unwrap().iter().filter_map(|item| item.get("set"));
    let ours = sets.filter(|set| {
        let name = set["name"].as_str().unwrap();
        set["table"] == "xshield_threat" && (name.starts_with("hosts") || name.starts_with("nets"))
    });
    let mut found = Vec::new();
    for set in ours {
        for element in set["elem"].as_array().into_iter().flatten() {
            found.push(match element.get("prefix") {
                Some(prefix) => format!("{}/{}", prefix["addr"].as_str().unwrap(), prefix["len"]),
                None => element.as_str().unwrap().to_owned(),
            });
        }
    }
    found.sort();
    found
}
