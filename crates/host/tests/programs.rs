//! Real programs: which ports they listen on, and how their packets can be told from others'.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use xshield_host::linux::owners::{CgroupMatching, cgroup2_mount, owners};
use xshield_host::linux::sockets::{Holders, listeners, listening_ports};
use xshield_policy::facts::Listener;
use xshield_policy::{Owner, ProcessMatch, Protocol};

/// Set for the process that is to listen.
const LISTEN: &str = "XSHIELD_TEST_LISTEN";

/// Not a test: the program that the tests below start under another name.
#[test]
fn program() {
    if std::env::var_os(LISTEN).is_none() {
        return;
    }
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
    let ports = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
    eprintln!("ports {} {}", ports.0, ports.1);
    // Until whoever started this lets go of it.
    let _ = std::io::stdin().read(&mut [0]);
}

/// A copy of this very program under another name, listening. Killed when dropped.
struct Service {
    child: Child,
    path: PathBuf,
    tcp: u16,
    udp: u16,
}

impl Service {
    fn start(directory: &Path, name: &str) -> Self {
        let path = directory.join(name);
        // By a process of its own: one that this process forks meanwhile must not hold the copy open
        // for writing, or running it fails.
        let copied =
            Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&path).status().unwrap();
        assert!(copied.success());
        let mut child = Command::new(&path)
            .args(["--exact", "program", "--nocapture"])
            .env(LISTEN, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("ports ").map(str::to_owned))
            .expect("the program says its ports");
        let (tcp, udp) = line.split_once(' ').unwrap();
        let (tcp, udp) = (tcp.parse().unwrap(), udp.parse().unwrap());
        Self { child, path, tcp, udp }
    }

    fn listeners(&self) -> Vec<Listener> {
        vec![
            Listener { protocol: Protocol::Tcp, port: self.tcp },
            Listener { protocol: Protocol::Udp, port: self.udp },
        ]
    }

    fn by_path(&self) -> ProcessMatch {
        ProcessMatch::try_from(self.path.to_str().unwrap().to_owned()).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn inbound_rules_open_what_their_program_listens_on_now() {
    let directory = tempfile::tempdir().unwrap();
    let first = Service::start(directory.path(), "xshield-test-web");
    let second = Service::start(directory.path(), "xshield-test-db");
    let by_name = ProcessMatch::try_from("xshield-test-db".to_owned()).unwrap();
    let (web, db) = (first.by_path(), second.by_path());
    let mut holders = Holders::default();
    let mut asked = || {
        let ports = listening_ports(&mut holders).unwrap();
        listeners(&ports, [&web, &db, &by_name])
    };
    let found = asked();
    assert_eq!(found[&web], first.listeners());
    assert_eq!(found[&db], second.listeners());
    assert_eq!(found[&by_name], second.listeners());
    // An upgrade replaces the file of a program that runs.
    fs::remove_file(&second.path).unwrap();
    assert_eq!(asked()[&db], second.listeners());
    drop(second);
    let found = asked();
    assert_eq!(found[&web], first.listeners());
    assert!(!found.contains_key(&db) && !found.contains_key(&by_name), "{found:?}");
}

/// A cgroup of its own; removed when dropped.
struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    fn make(name: &str) -> Option<Self> {
        let path = cgroup2_mount()?.join(name);
        fs::create_dir(&path).ok()?;
        Some(Self { path })
    }

    fn take(&self, service: &Service) {
        fs::write(self.path.join("cgroup.procs"), service.child.id().to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

#[test]
fn outbound_rules_know_their_program_by_its_cgroup() {
    let name = format!("xshield-test-{}.service", std::process::id());
    let Some(cgroup) = Cgroup::make(&name) else {
        eprintln!("SKIPPED: no cgroup v2 hierarchy that can be written to");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path(), "xshield-test-app");
    let wanted = service.by_path();
    let asked = |matching| owners([&wanted], matching)[&wanted].clone();
    let outside = asked(CgroupMatching::Available).unwrap_err();
    assert!(outside.contains("service of its own"), "{outside}");
    cgroup.take(&service);
    assert_eq!(asked(CgroupMatching::Available), Ok(Owner::Cgroup(name)));
    assert!(asked(CgroupMatching::Missing).is_err(), "it runs as root or as the user of the tests");
    let stranger = Service::start(directory.path(), "xshield-test-stranger");
    cgroup.take(&stranger);
    let shared = asked(CgroupMatching::Available).unwrap_err();
    assert!(shared.contains("xshield-test-stranger runs in its cgroup"), "{shared}");
    drop((service, stranger));
}
