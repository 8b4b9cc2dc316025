//! Making nftables available: the kernel module, the distribution's package, its service.
//!
//! A pure function decides what to do from what was observed. Enforcement uses the kernel directly, so a
//! failure here is not fatal: it is reported.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use xshield_wire::message::Problem;

use super::problem;

/// Whether a kind of step is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// The steps that the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provisioning {
    /// Load the kernel module.
    pub module: Switch,
    /// Install the distribution's package.
    pub package: Switch,
    /// Enable the distribution's service.
    pub service: Switch,
}

/// The state of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The kernel module.
    pub module: Module,
    /// The command-line tool.
    pub tool: Presence,
    /// The package manager.
    pub package_manager: Option<PackageManager>,
    /// The distribution's service.
    pub service: Service,
}

/// The state of the `nf_tables` module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Module {
    /// Loaded, or part of the kernel.
    Available,
    /// Not loaded; this program could load it.
    Loadable(PathBuf),
    /// Not loaded, and there is no program to load it: the kernel may still load it automatically.
    Unknown,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Present,
    /// It isn't.
    Absent,
}

/// The state of `nftables.service`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// systemd starts it at boot.
    Enabled,
    /// systemd doesn't, or doesn't know it yet.
    Disabled,
    /// systemd doesn't run here.
    NoSystemd,
}

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageManager {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora, RHEL 8 and later.
    Dnf,
    /// RHEL 7.
    Yum,
    /// SUSE.
    Zypper,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Load `nf_tables` with this `modprobe`.
    LoadModule(PathBuf),
    /// Install the package.
    InstallPackage(PackageManager),
    /// Enable the service at boot. It is not started now: its configuration begins with `flush ruleset` on
    /// most distributions, which would delete everyone's rules, ours included.
    EnableService,
}

/// One command of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    program: PathBuf,
    arguments: &'static [&'static str],
}

const TOOLS: &[&str] = &["usr/sbin/nft", "sbin/nft", "usr/bin/nft"];
const MODPROBES: &[&str] = &["sbin/modprobe", "usr/sbin/modprobe"];
const MANAGERS: &[(&str, PackageManager)] = &[
    ("usr/bin/apt-get", PackageManager::Apt),
    ("usr/bin/dnf", PackageManager::Dnf),
    ("usr/bin/yum", PackageManager::Yum),
    ("usr/bin/zypper", PackageManager::Zypper),
];

/// Reads files under `root` (`/` on a real host) for the kernel `release`; runs nothing.
#[must_use]
pub fn observe(root: &Path, release: &str) -> Observed {
    let first =
        |paths: &[&str]| paths.iter().map(|path| root.join(path)).find(|path| path.exists());
    let module = if has_module(root, release) {
        Module::Available
    } else {
        first(MODPROBES).map_or(Module::Unknown, Module::Loadable)
    };
    let tool = first(TOOLS).map_or(Presence::Absent, |_| Presence::Present);
    let package_manager =
        MANAGERS.iter().find(|(path, _)| root.join(path).exists()).map(|(_, manager)| *manager);
    Observed { module, tool, package_manager, service: service(root) }
}

/// The missing steps. In the usual case there are none, and no process is started.
#[must_use]
pub fn plan(observed: &Observed, allowed: Provisioning) -> Vec<Step> {
    let mut steps = Vec::new();
    if let (Module::Loadable(modprobe), Switch::On) = (&observed.module, allowed.module) {
        steps.push(Step::LoadModule(modprobe.clone()));
    }
    if let (Presence::Absent, Some(manager), Switch::On) =
        (observed.tool, observed.package_manager, allowed.package)
    {
        steps.push(Step::InstallPackage(manager));
    }
    // Without the package there is no service to enable.
    let will_have_tool =
        observed.tool == Presence::Present || matches!(steps.last(), Some(Step::InstallPackage(_)));
    if observed.service == Service::Disabled && allowed.service == Switch::On && will_have_tool {
        steps.push(Step::EnableService);
    }
    steps
}

/// Performs the steps, each within `limit`. Failures are returned; the later steps are still tried.
#[must_use]
pub fn carry_out(steps: &[Step], limit: Duration) -> Vec<Problem> {
    steps.iter().filter_map(|step| step.carry_out(limit).err()).collect()
}

impl Step {
    /// The commands of the step, then those that are tried if the first ones failed.
    fn commands(&self) -> [Vec<CommandLine>; 2] {
        let line = |program: &str, arguments| CommandLine { program: program.into(), arguments };
        match self {
            Self::LoadModule(modprobe) => {
                let load = CommandLine { program: modprobe.clone(), arguments: &["nf_tables"] };
                [vec![load], vec![]]
            }
            Self::InstallPackage(PackageManager::Apt) => {
                const INSTALL: &[&str] = &[
                    "-q",
                    "-y",
                    "-o",
                    "DPkg::Lock::Timeout=60",
                    "install",
                    "--no-install-recommends",
                    "nftables",
                ];
                let install = line("/usr/bin/apt-get", INSTALL);
                // A fresh image has no package lists.
                let update = line("/usr/bin/apt-get", &["-q", "update"]);
                [vec![install.clone()], vec![update, install]]
            }
            Self::InstallPackage(PackageManager::Dnf) => {
                [vec![line("/usr/bin/dnf", &["-q", "-y", "install", "nftables"])], vec![]]
            }
            Self::InstallPackage(PackageManager::Yum) => {
                [vec![line("/usr/bin/yum", &["-q", "-y", "install", "nftables"])], vec![]]
            }
            Self::InstallPackage(PackageManager::Zypper) => {
                const INSTALL: &[&str] = &["-q", "--non-interactive", "install", "nftables"];
                [vec![line("/usr/bin/zypper", INSTALL)], vec![]]
            }
            Self::EnableService => {
                [vec![line("systemctl", &["enable", "nftables.service"])], vec![]]
            }
        }
    }

    fn carry_out(&self, limit: Duration) -> Result<(), Problem> {
        let [commands, fallback] = self.commands();
        let all =
            |commands: &[CommandLine]| commands.iter().try_for_each(|command| command.run(limit));
        let mut outcome = all(&commands);
        if outcome.is_err() && !fallback.is_empty() {
            outcome = all(&fallback);
        }
        outcome.map_err(|reason| {
            let (code, what) = match self {
                Self::LoadModule(_) => ("nftables-module", "load the kernel module nf_tables"),
                Self::InstallPackage(_) => ("nftables-package", "install the package nftables"),
                Self::EnableService => ("nftables-service", "enable nftables.service"),
            };
            problem(code, format!("could not {what}: {reason}; enforcement continues without it"))
        })
    }
}

impl CommandLine {
    /// Runs the command in its own process group without input; kills the group at the limit.
    fn run(&self, limit: Duration) -> Result<(), String> {
        let text = self.to_string();
        let mut child = Command::new(&self.program)
            .args(self.arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("`{text}` did not start: {error}"))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let complaints = child.stderr.take().map(|stderr| thread::spawn(move || tail(stderr)));
        let (ended, end) = mpsc::channel();
        let waiter = thread::spawn(move || {
            let _ = ended.send(child.wait());
        });
        let status = match end.recv_timeout(limit) {
            Ok(status) => status.map_err(|error| format!("`{text}`: {error}"))?,
            Err(_) => {
                if let Some(group) = group {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = waiter.join();
                return Err(format!("`{text}` took longer than {} s", limit.as_secs()));
            }
        };
        if status.success() {
            return Ok(());
        }
        let said = complaints.and_then(|reader| reader.join().ok()).unwrap_or_default();
        Err(format!("`{text}` failed ({status}): {}", said.trim()))
    }
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.program.display())?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// The end of a command's error output: its last 500 bytes.
fn tail(mut stderr: impl Read) -> String {
    const KEPT: usize = 500;
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..size]);
        kept.drain(..kept.len().saturating_sub(KEPT));
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn has_module(root: &Path, release: &str) -> bool {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let loaded = || {
        let modules = read(root.join("proc/modules"));
        modules.lines().any(|line| line.split(' ').next() == Some("nf_tables"))
    };
    let built_in = || {
        let modules = read(root.join("lib/modules").join(release).join("modules.builtin"));
        modules.lines().any(|line| line.ends_with("/nf_tables.ko"))
    };
    root.join("sys/module/nf_tables").exists() || loaded() || built_in()
}

fn service(root: &Path) -> Service {
    if !root.join("run/systemd/system").exists() {
        return Service::NoSystemd;
    }
    let Ok(units) = fs::read_dir(root.join("etc/systemd/system")) else { return Service::Disabled };
    let enabled = units.filter_map(Result::ok).any(|entry| {
        let wants = entry.file_name().to_str().is_some_and(|name| name.ends_with(".wants"));
        wants && entry.path().join("nftables.service").symlink_metadata().is_ok()
    });
    if enabled { Service::Enabled } else { Service::Disabled }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Provisioning =
        Provisioning { module: Switch::On, package: Switch::On, service: Switch::On };

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn only_missing_steps_are_planned() {
        let loaded = ("proc/modules", "nf_tables 1 2 - Live 0x0\n");
        let systemd = ("run/systemd/system/x", "");
        let wants = ("etc/systemd/system/sysinit.target.wants/nftables.service", "");
        #[rustfmt::skip]
        type Files<'a> = &'a [(&'a str, &'a str)];
        let table: &[(&str, Files<'_>, &str)] = &[
            ("all there", &[loaded, ("usr/sbin/nft", ""), systemd, wants], ""),
            (
                "built in",
                &[
                    ("lib/modules/6.1/modules.builtin", "kernel/net/netfilter/nf_tables.ko\n"),
                    ("sbin/nft", ""),
                    ("sbin/modprobe", ""),
                ],
                "",
            ),
            (
                "a module of similar name",
                &[("proc/modules", "nf_tables_x 1\n"), ("sbin/nft", ""), ("sbin/modprobe", "")],
                "modprobe",
            ),
            ("no way to load", &[("sbin/nft", "")], ""),
            ("no package manager", &[loaded, systemd], ""),
            ("debian", &[loaded, ("usr/bin/apt-get", ""), systemd], "apt-get systemctl"),
            ("rhel 7", &[loaded, ("usr/bin/yum", ""), systemd], "yum systemctl"),
            ("rhel 8 has both", &[loaded, ("usr/bin/yum", ""), ("usr/bin/dnf", "")], "dnf"),
            ("suse", &[loaded, ("usr/bin/zypper", "")], "zypper"),
            ("service disabled", &[loaded, ("usr/sbin/nft", ""), systemd], "systemctl"),
        ];
        for (name, files, expected) in table {
            let root = tree(files);
            let steps = plan(&observe(root.path(), "6.1"), ALL);
            let programs: Vec<String> = steps
                .iter()
                .map(|step| {
                    let [commands, _] = step.commands();
                    commands[0].program.file_name().unwrap().to_str().unwrap().to_owned()
                })
                .collect();
            assert_eq!(programs.join(" "), *expected, "{name}");
        }
    }

    #[test]
    fn disabled_steps_are_not_carried_out() {
        let observed = Observed {
            module: Module::Loadable("/sbin/modprobe".into()),
            tool: Presence::Absent,
            package_manager: Some(PackageManager::Apt),
            service: Service::Disabled,
        };
        assert_eq!(plan(&observed, ALL).len(), 3);
        let off = Switch::Off;
        assert_eq!(plan(&observed, Provisioning { module: off, ..ALL }).len(), 2);
        let without_package = plan(&observed, Provisioning { package: off, ..ALL });
        assert_eq!(without_package.len(), 1, "no service without its package");
        assert_eq!(plan(&observed, Provisioning { service: off, ..ALL }).len(), 2);
    }

    #[test]
    fn failures_quote_the_command_output() {
        let run = |program: &str, arguments| {
            CommandLine { program: program.into(), arguments }.run(Duration::from_secs(30))
        };
        assert_eq!(run("/bin/true", &[]), Ok(()));
        let reason =
            run("/bin/sh", &["-c", "echo first; echo no network >&2; exit 3"]).unwrap_err();
        assert!(reason.contains("no network") && reason.contains('3'), "{reason}");
        assert!(run("/no/such/program", &[]).unwrap_err().contains("did not start"));
        let steps = [Step::LoadModule("/bin/false".into())];
        let problems = carry_out(&steps, Duration::from_secs(30));
        assert_eq!(problems[0].code, "nftables-module");
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let command =
            CommandLine { program: "/bin/sh".into(), arguments: &["-c", "sleep 600; sleep 600"] };
        let begun = std::time::Instant::now();
        let reason = command.run(Duration::from_millis(100)).unwrap_err();
        assert!(reason.contains("longer than"), "{reason}");
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
