//! A lab: hosts connected by a switch. It does not use the machine's own network.

use std::fs::{self, File, TryLockError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

use crate::host::{Host, Running, succeed};
use crate::programs::Programs;
use crate::service::Service;

/// The prefix of lab directories and of their machines' cgroups.
pub(crate) const PREFIX: &str = "xshield-lab-";
const LOCK: &str = "lock";

/// Several hosts on one switch. Dropping it ends all its processes and removes its files.
#[derive(Debug)]
pub struct Lab {
    programs: Programs,
    hosts: Vec<Host>,
    services: Vec<Running>,
    switch: Host,
    /// The last field: removed after everything that writes into it has ended.
    workspace: Workspace,
}

impl Lab {
    /// An empty lab: a switch without hosts. Removes what killed labs left behind.
    ///
    /// # Errors
    /// When namespaces or the bridge can't be made.
    pub fn start(programs: &Programs) -> Result<Self> {
        require_tool("ip", "iproute2")?;
        let workspace = Workspace::make()?;
        let addresses = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        let switch =
            Host::start(programs, "switch", addresses, &workspace.path.join("switch"), None)?;
        ip(
            &switch,
            "link add name bridge type bridge forward_delay 0 stp_state 0 mcast_snooping 0
             link set dev bridge up",
        )?;
        Ok(Self {
            programs: programs.clone(),
            hosts: Vec::new(),
            services: Vec::new(),
            switch,
            workspace,
        })
    }

    /// Adds a host that answers at 10.77.0.`number` and fd77::`number`.
    ///
    /// The network is one segment; every address, including those outside that range, is reached directly.
    ///
    /// # Errors
    /// When the host or its link can't be made.
    pub fn add_host(&mut self, name: &str, number: u8) -> Result<&Host> {
        let v4 = Ipv4Addr::new(10, 77, 0, number);
        let v6 = same_digits(number);
        let resolver = Some(IpAddr::from(Ipv4Addr::new(10, 77, 0, 1)));
        let dir = self.workspace.path.join(name);
        let host = Host::start(&self.programs, name, (v4, v6), &dir, resolver)?;
        // The peer end is moved to the host by its process id, so `ip` must see the lab's processes.
        ip(
            &self.switch,
            &format!(
                "link add name to-{number} type veth peer name eth0 netns {pid}
                 link set dev to-{number} master bridge
                 link set dev to-{number} up",
                pid = host.pid()?
            ),
        )?;
        ip(
            &host,
            &format!(
                "link set dev lo up
                 link set dev eth0 up
                 address add {v4}/24 dev eth0
                 address add {v6}/64 dev eth0 nodad
                 route add 0.0.0.0/0 dev eth0
                 route add ::/0 dev eth0"
            ),
        )?;
        self.hosts.push(host);
        self.host(name)
    }

    /// The host of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts
            .iter()
            .find(|host| host.name() == name)
            .with_context(|| format!("the lab has no host {name:?}"))
    }

    /// All hosts, in the order in which they were added.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A directory of the machine that is removed with the lab; every host sees it under the same path.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.workspace.path
    }

    /// The binaries that this lab runs.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Starts a service on a host and waits until its ports are open.
    ///
    /// # Errors
    /// When there is no such host, or the service does not start.
    pub fn serve(&mut self, host: &str, service: &Service) -> Result<()> {
        let running = service.start(self.host(host)?, &self.programs)?;
        self.services.push(running);
        Ok(())
    }
}

/// fd77::N with the digits of N read as hexadecimal, so that 10.77.0.66 and fd77::66 are one host.
fn same_digits(number: u8) -> Ipv6Addr {
    let number = u16::from(number);
    let last = number / 100 * 0x100 + number / 10 % 10 * 0x10 + number % 10;
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last)
}

/// Runs lines of `ip -batch` in a host's network.
pub(crate) fn ip(host: &Host, lines: &str) -> Result<()> {
    let batch = host.dir().join("ip.batch");
    let trimmed: Vec<&str> = lines.lines().map(str::trim).collect();
    fs::write(&batch, trimmed.join("\n") + "\n")?;
    let mut command = host.network_command("ip");
    command.arg("-batch").arg(&batch);
    succeed(&mut command)
        .with_context(|| format!("could not set up the network of {}", host.name()))?;
    Ok(())
}

/// Fails with the package to install if a tool is missing.
pub(crate) fn require_tool(tool: &str, package: &str) -> Result<()> {
    if Command::new(tool).arg("-V").output().is_err() {
        bail!("{tool} is not installed; run: apt-get install -y {package}");
    }
    Ok(())
}

/// The path of a program, in PATH or in the directories of administration programs; fails with the package to
/// install.
pub(crate) fn require_program(program: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administration = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain(administration)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file());
    found.with_context(|| format!("{program} is missing; run: apt-get install -y {package}"))
}

/// A directory that is removed with the lab, and locked while the lab lives, so that the next lab can
/// distinguish it from a leftover.
#[derive(Debug)]
struct Workspace {
    path: PathBuf,
    _lock: File,
}

impl Workspace {
    fn make() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let parent = std::env::temp_dir();
        remove_leftovers(&parent);
        let name =
            format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        // Hosts store keys in it.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("could not create {}", path.display()))?;
        // Locked before it gets its name: under that name, it is never unlocked while this lives.
        let unnamed = path.join("lock.new");
        let lock = File::create(&unnamed)?;
        lock.lock().context("could not lock the lab's directory")?;
        fs::rename(&unnamed, path.join(LOCK))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next lab.
        let _leftover = fs::remove_dir_all(&self.path);
    }
}

/// Removes the directories of labs that have ended. Their processes and networks ended with them.
fn remove_leftovers(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries.filter(|e| e.file_name().to_string_lossy().starts_with(PREFIX)) {
        let path = entry.path();
        let lives = match File::open(path.join(LOCK)) {
            Ok(lock) => matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
            // A directory without a lock is being created or removed.
            Err(_) => young(&path),
        };
        if !lives {
            let _of_another_user = fs::remove_dir_all(&path);
        }
    }
}

/// Whether a file was created within the last minute.
pub(crate) fn young(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    age.is_none_or(|age| age.as_secs() < 60)
}
