//! Process 1 of a booted machine, until systemd takes over.
//!
//! systemd changes whatever it can reach: it empties `/tmp`, sets kernel parameters, creates devices. So its
//! root is an overlay of the outer machine's whole root: its changes are kept in memory. No file system of
//! the outer machine is mounted there, `/proc/sys` and `/sys` are read-only, and capabilities that affect the
//! whole machine are dropped first.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::init::replace;
use crate::sys::{self, Mount};

/// The path of systemd.
pub(crate) const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// Units, links and generators of the distribution.
const UNITS: &str = "usr/lib/systemd/system";
const GENERATORS: &str = "usr/lib/systemd/system-generators";
/// Devices that programs expect, and the kernel's log, which the agent reads.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "kmsg"];
/// `linux/capability.h`: `SYS_MODULE`, `SYS_RAWIO`, `SYS_TIME`, `MKNOD`, `AUDIT_WRITE`,
/// `AUDIT_CONTROL`, `MAC_OVERRIDE`, `MAC_ADMIN`, `WAKE_ALARM`, `AUDIT_READ`.
const WHOLE_MACHINE: [u8; 10] = [16, 17, 25, 27, 29, 30, 32, 33, 35, 37];

/// Arguments of a machine's process 1.
#[derive(Debug, Clone, clap::Args)]
pub struct BootArgs {
    /// Host name.
    #[arg(long)]
    name: String,
    /// An empty directory for the machine's own files, which persist across boots.
    #[arg(long)]
    layers: String,
    /// The machine's cgroup where cgroup2 is mounted.
    #[arg(long)]
    cgroup: String,
    /// The boot id that the machine sees.
    #[arg(long)]
    boot_id: String,
    /// Run the second half, in the machine's namespaces.
    #[arg(long, hide = true)]
    inside: bool,
}

/// Boots; the machine ends with this process.
///
/// # Errors
/// When the machine can't be set up.
pub fn run(args: &BootArgs) -> Result<()> {
    if args.inside {
        return take_over(args);
    }
    let joined = format!("{}/cgroup.procs", args.cgroup);
    fs::write(&joined, "0").with_context(|| format!("could not write {joined}"))?;
    let mut inside = Command::new(std::env::current_exe()?);
    inside.args(["boot", "--inside", "--name", &args.name, "--layers", &args.layers]);
    inside.args(["--cgroup", &args.cgroup, "--boot-id", &args.boot_id]);
    sys::found_machine(&mut inside);
    Err(inside.exec()).context("could not create the machine's namespaces")
}

fn take_over(args: &BootArgs) -> Result<()> {
    mount(Mount::Private, "/")?;
    let layers = &args.layers;
    for directory in ["root", "upper", "work"] {
        make(&format!("{layers}/{directory}"))?;
    }
    let root = format!("{layers}/root");
    let options = format!("lowerdir=/,upperdir={layers}/upper,workdir={layers}/work");
    mount(Mount::Overlay(&options), &root)?;
    give_file_systems(&root)?;
    give_identity(&root, args)?;
    leave_out_other_services(Path::new(&root))?;
    sys::change_root(&root).context("could not change the root")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("could not list mounts")?;
    only_own(&mounts)?;
    sys::set_host_name(&args.name).context("could not set the host name")?;
    for capability in WHOLE_MACHINE {
        sys::give_up_capability(capability).context("could not drop a capability")?;
    }
    let mut systemd = Command::new(SYSTEMD);
    systemd.args(["--system", "--log-target=console", "--show-status=no"]).env_clear();
    // Tells systemd that it runs in a container: <https://systemd.io/CONTAINER_INTERFACE>.
    systemd.env("container", "lab").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Err(systemd.exec()).context("could not start systemd")
}

fn give_file_systems(root: &str) -> Result<()> {
    let at = |path: &str| format!("{root}{path}");
    for directory in ["/run", "/tmp", "/dev"] {
        make(&at(directory))?;
        mount(Mount::Memory, &at(directory))?;
    }
    for name in DEVICES {
        let device = at(&format!("/dev/{name}"));
        fs::write(&device, "").with_context(|| format!("could not create {device}"))?;
        mount(Mount::Same(&format!("/dev/{name}")), &device)?;
    }
    for directory in ["/dev/pts", "/dev/shm"] {
        make(&at(directory))?;
    }
    mount(Mount::Terminals, &at("/dev/pts"))?;
    mount(Mount::Memory, &at("/dev/shm"))?;
    for directory in ["/tmp", "/dev/shm"] {
        let all = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(at(directory), all).context("could not open a directory to all")?;
    }
    link("pts/ptmx", &at("/dev/ptmx"))?;
    link("/proc/self/fd", &at("/dev/fd"))?;
    mount(Mount::Sys, &at("/sys"))?;
    mount(Mount::Cgroups, &at("/sys/fs/cgroup"))?;
    mount(Mount::Proc, &at("/proc"))?;
    mount(Mount::Same(&at("/proc/sys")), &at("/proc/sys"))?;
    mount(Mount::ReadOnly, &at("/proc/sys"))?;
    let restarts = at("/proc/sysrq-trigger");
    if Path::new(&restarts).exists() {
        mount(Mount::Same("/dev/null"), &restarts)?;
    }
    Ok(())
}

fn give_identity(root: &str, args: &BootArgs) -> Result<()> {
    let name = &args.name;
    let id: String = args.boot_id.chars().filter(char::is_ascii_hexdigit).collect();
    let machine = format!("{root}/etc/machine-id");
    // Persists across boots; the outer machine has its own.
    if !Path::new(&format!("{}/upper/etc/machine-id", args.layers)).exists() {
        replace(&machine, &format!("{id}\n"))?;
    }
    replace(&format!("{root}/etc/hostname"), &format!("{name}\n"))?;
    let hosts = format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {name}\n");
    replace(&format!("{root}/etc/hosts"), &hosts)?;
    replace(&format!("{root}/etc/resolv.conf"), "")?;
    replace(&format!("{root}/run/boot-id"), &format!("{}\n", args.boot_id))?;
    let known = format!("{root}/proc/sys/kernel/random/boot_id");
    mount(Mount::Same(&format!("{root}/run/boot-id")), &known)
}

/// Disables services that the distribution or its user enabled, except the journal: the machine is to run
/// what is installed there.
fn leave_out_other_services(root: &Path) -> Result<()> {
    let own = root.join("etc/systemd/system");
    let chosen = own.join("default.target");
    // Only at the first boot: units enabled later stay enabled.
    if chosen.symlink_metadata().is_ok_and(|_| root.join("etc/xshield-lab").exists()) {
        return Ok(());
    }
    empty(&own, |_| false)?;
    empty(&root.join(GENERATORS), |_| false)?;
    for target in fs::read_dir(root.join(UNITS)).context("could not list the units")?.flatten() {
        if target.path().extension().is_some_and(|extension| extension == "wants") {
            let keep = |name: &str| name.contains("journald") && !name.contains("audit");
            empty(&target.path(), keep)?;
        }
    }
    link("/usr/lib/systemd/system/multi-user.target", &chosen.to_string_lossy())?;
    let journal = root.join("etc/systemd/journald.conf.d");
    make(&journal.to_string_lossy())?;
    let settings = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n";
    fs::write(journal.join("lab.conf"), settings).context("could not set up the journal")?;
    fs::write(root.join("etc/xshield-lab"), "").context("could not write /etc/xshield-lab")
}

fn empty(directory: &Path, keep: impl Fn(&str) -> bool) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("could not list {}", directory.display()));
        }
    };
    for entry in entries.flatten() {
        if keep(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        removed.with_context(|| format!("could not disable {}", path.display()))?;
    }
    Ok(())
}

/// Fails if a mount is not one of those made above: what systemd removes there would be removed from the
/// outer machine. `mounts` is `/proc/PID/mountinfo` (`proc_pid_mountinfo(5)`).
fn only_own(mounts: &str) -> Result<()> {
    for line in mounts.lines() {
        let (place, source) = line.split_once(" - ").context("a mount has a file system")?;
        let at = place.split(' ').nth(4).context("a mount has a place")?;
        let mut words = source.split(' ');
        let own = match (words.next(), words.next()) {
            (Some("overlay"), _) => at == "/",
            (Some("tmpfs"), Some("lab")) => true,
            (Some("proc" | "sysfs" | "cgroup2" | "devpts"), _) => true,
            _ => at.strip_prefix("/dev/").is_some_and(|name| DEVICES.contains(&name)),
        };
        ensure!(own, "systemd is not started: it would reach the machine's {at} ({line})");
    }
    Ok(())
}

fn mount(what: Mount<'_>, target: &str) -> Result<()> {
    sys::mount(what, target).with_context(|| format!("could not mount {what:?} at {target}"))
}

fn make(directory: &str) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("could not create {directory}"))
}

fn link(to: &str, at: &str) -> Result<()> {
    std::os::unix::fs::symlink(to, at).with_context(|| format!("could not link {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_outer_machine_prevent_systemd_from_starting() {
        let own = "30 1 0:40 / / rw - overlay lab rw\n31 30 0:41 / /tmp rw shared:3 - tmpfs lab rw\n\
                   32 30 0:6 /null /dev/null rw - devtmpfs devtmpfs rw\n";
        only_own(own).unwrap();
        for other in [
            "33 30 0:43 / /tmp rw - tmpfs tmpfs rw",
            "33 30 254:0 /tmp /tmp rw - ext4 /dev/vda rw",
            "33 30 0:42 / /home rw shared:7 - overlay other rw",
            "33 30 0:6 /sda /dev/sda rw - devtmpfs devtmpfs rw",
        ] {
            let found = only_own(&format!("{own}{other}\n")).unwrap_err().to_string();
            assert!(found.contains("would reach"), "{found}");
        }
    }
}
