//! A host that runs systemd: packages and their units are installed as on any machine.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::boot::SYSTEMD;
use crate::host::{Host, Running, only_child, succeed};
use crate::lab;
use crate::programs::Programs;
use crate::sys::{self, Depth, Namespaces};
use crate::wait;

const LIMIT: Duration = Duration::from_secs(30);

/// A machine with the network of a lab's host. Dropping it ends it.
#[derive(Debug)]
pub struct Machine<'a> {
    host: &'a Host,
    lab: PathBuf,
    layers: PathBuf,
    cgroups: Cgroups,
    /// `None` while it is off.
    on: Option<On>,
}

/// A running machine.
#[derive(Debug)]
struct On {
    /// The parent of process 1.
    boot: Running,
    /// The id of process 1 on the outer machine.
    init: u32,
    namespaces: Arc<Namespaces>,
}

impl<'a> Machine<'a> {
    /// Boots a machine with the network of `host`, and waits until systemd has started everything.
    ///
    /// # Errors
    /// When systemd is not installed, or this kernel or container can't run a second one; the error
    /// says which.
    pub fn boot(programs: &Programs, host: &'a Host) -> Result<Self> {
        if !Path::new(SYSTEMD).is_file() {
            bail!("{SYSTEMD} is missing; run: apt-get install -y systemd");
        }
        let layers = host.dir().join("machine");
        let shown = layers.display().to_string();
        host.run("mkdir", ["-p", &shown])?;
        host.run("mount", ["-t", "tmpfs", "-o", "mode=0755", "lab", &shown])?;
        let cgroups = Cgroups::make(host)?;
        let lab = programs.lab();
        let mut machine = Self { host, lab, layers, cgroups, on: None };
        machine.start()?;
        Ok(machine)
    }

    /// Boots again after [`Machine::shut_down`], with the same files.
    ///
    /// # Errors
    /// As [`Machine::boot`].
    pub fn start(&mut self) -> Result<()> {
        let mut command = self.host.command(&self.lab);
        command.args(["boot", "--name", self.host.name(), "--boot-id", &random_id()?]);
        command.arg("--layers").arg(&self.layers);
        command.arg("--cgroup").arg(&self.cgroups.of_machine);
        let mut boot = self.host.spawn("boot", command)?;
        let init = wait::until("systemd starts", LIMIT, || {
            boot.still_runs()?;
            let init = boot.pid().ok().and_then(only_child);
            Ok(init.filter(|init| runs(*init, SYSTEMD)))
        })?;
        let namespaces = Namespaces::of(init).context("could not open the machine's namespaces")?;
        let on = self.on.insert(On { boot, init, namespaces: Arc::new(namespaces) });
        let mut state = String::new();
        let up = wait::until("systemd has started its units", LIMIT, || {
            on.boot.still_runs()?;
            let mut question = on.command("systemctl");
            state = String::from_utf8(question.arg("is-system-running").output()?.stdout)?;
            Ok(["running", "degraded"].contains(&state.trim()).then_some(()))
        });
        up.with_context(|| format!("it is {state:?}:\n{}", on.boot.output().unwrap_or_default()))
    }

    /// Shuts the machine down properly: every service is stopped first. Its files and its network stay,
    /// including the firewall rules: only a kernel that boots loses those.
    ///
    /// # Errors
    /// When it does not end.
    pub fn shut_down(&mut self) -> Result<()> {
        self.run("systemctl", ["exit"])?;
        if let Some(mut on) = self.on.take() {
            wait::until("the machine ends", LIMIT, || Ok(on.boot.has_ended()?.then_some(())))?;
        }
        self.cgroups.wait_for_the_end()
    }

    /// A program of this machine.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        Ok(self.on()?.command(program))
    }

    /// Runs a program of this machine to its end.
    ///
    /// # Errors
    /// When it can't be started or fails; the error contains its output.
    pub fn run<I, S>(&self, program: impl AsRef<OsStr>, arguments: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(program)?;
        command.args(arguments);
        succeed(&mut command).with_context(|| format!("on machine {}", self.host.name()))
    }

    /// The path from outside of a file given by its absolute path on the machine.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn file(&self, path: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root{path}", self.on()?.init)))
    }

    /// Copies a file of the lab to `/var/tmp` there. Returns its path on the machine.
    ///
    /// # Errors
    /// When it can't be copied.
    pub fn bring(&self, file: &Path) -> Result<String> {
        let name = file.file_name().context("a file has a name")?.to_string_lossy();
        let path = format!("/var/tmp/{name}");
        fs::copy(file, self.file(&path)?)
            .with_context(|| format!("could not copy {} to the machine", file.display()))?;
        Ok(path)
    }

    /// One property of a unit, as `systemctl show` prints it.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        let text = self.run("systemctl", ["show", "--value", "-p", name, unit])?;
        Ok(text.trim().to_owned())
    }

    /// The journal of a unit since the boot.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn journal(&self, unit: &str) -> Result<String> {
        self.run("journalctl", ["--no-pager", "-o", "short-monotonic", "-u", unit])
    }

    fn on(&self) -> Result<&On> {
        self.on.as_ref().with_context(|| format!("machine {} is off", self.host.name()))
    }
}

impl On {
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        sys::enter(&mut command, Arc::clone(&self.namespaces), Depth::Host);
        command.current_dir("/");
        command
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        drop(self.on.take());
        // What remains is removed by the next machine.
        let _left = self.cgroups.wait_for_the_end();
        self.cgroups.remove(&self.cgroups.of_machine);
    }
}

/// The cgroups of the outer machine, seen from a host of a lab.
#[derive(Debug)]
struct Cgroups {
    /// The root of the hierarchy, reached from outside the host.
    outside: PathBuf,
    /// The machine's cgroup, as the host sees it.
    of_machine: PathBuf,
}

impl Cgroups {
    fn make(host: &Host) -> Result<Self> {
        let all = host.dir().join("cgroup");
        let shown = all.display().to_string();
        host.run("mkdir", ["-p", &shown])?;
        host.run("mount", ["-t", "cgroup2", "cgroup2", &shown]).context(
            "cgroup2 can't be mounted here: systemd can't be tested on this kernel or in this container",
        )?;
        let workspace = host.dir().parent().and_then(Path::file_name);
        let workspace = workspace.context("a lab has a directory")?.to_string_lossy();
        let name = format!("{workspace}-{}", host.name());
        let cgroups = Self { outside: host.file(&shown), of_machine: all.join(&name) };
        cgroups.remove_leftovers();
        let made = cgroups.outside.join(&name);
        fs::create_dir(&made).with_context(|| {
            format!("could not create cgroup {name}: is /sys/fs/cgroup read-only here?")
        })?;
        Ok(cgroups)
    }

    /// The path of a cgroup from outside.
    fn reached(&self, cgroup: &Path) -> PathBuf {
        self.outside.join(cgroup.file_name().unwrap_or_default())
    }

    fn wait_for_the_end(&self) -> Result<()> {
        let cgroup = self.reached(&self.of_machine);
        wait::until("the machine's processes end", LIMIT, || {
            Ok((!is_populated(&cgroup)).then_some(()))
        })
    }

    /// Removes a cgroup and those below it; one that still has processes is kept.
    fn remove(&self, cgroup: &Path) {
        let cgroup = self.reached(cgroup);
        if !is_populated(&cgroup) {
            remove_tree(&cgroup);
        }
    }

    fn remove_leftovers(&self) {
        for entry in fs::read_dir(&self.outside).into_iter().flatten().flatten() {
            let of_a_lab = entry.file_name().to_string_lossy().starts_with(lab::PREFIX);
            if of_a_lab && !lab::young(&entry.path()) {
                self.remove(&entry.path());
            }
        }
    }
}

fn is_populated(cgroup: &Path) -> bool {
    let events = fs::read_to_string(cgroup.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 1")
}

fn remove_tree(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // One that is in use again is kept.
    let _in_use = fs::remove_dir(cgroup);
}

fn runs(process: u32, program: &str) -> bool {
    fs::read(format!("/proc/{process}/cmdline"))
        .is_ok_and(|line| line.split(|byte| *byte == 0).next() == Some(program.as_bytes()))
}

/// A boot id: 32 digits in five groups.
fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}
