//! Whether firewalld is on this host. firewalld and Xshield cannot both manage a firewall: where it is
//! installed or enabled, nothing may be changed.

use std::fs;
use std::path::Path;

/// The state of firewalld; each state includes the previous ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Firewalld {
    /// Not at all.
    Absent,
    /// Its program is installed.
    Installed,
    /// systemd starts it at boot.
    Enabled,
    /// It is running.
    Running,
}

const PROGRAMS: &[&str] = &[
    "usr/sbin/firewalld",
    "usr/bin/firewalld",
    "sbin/firewalld",
    "usr/bin/firewall-cmd",
    "usr/lib/systemd/system/firewalld.service",
    "lib/systemd/system/firewalld.service",
    "etc/systemd/system/firewalld.service",
];
const UNITS: &str = "etc/systemd/system";
const UNIT: &str = "firewalld.service";
/// The D-Bus alias that its unit also installs.
const ALIAS: &str = "etc/systemd/system/dbus-org.fedoraproject.FirewallD1.service";
const PID_FILES: &[&str] = &["run/firewalld.pid", "var/run/firewalld.pid"];

/// Reads files under `root` (`/` on a real host); runs nothing.
#[must_use]
pub fn detect(root: &Path) -> Firewalld {
    if is_running(root) {
        Firewalld::Running
    } else if is_enabled(root) {
        Firewalld::Enabled
    } else if PROGRAMS.iter().any(|path| is_there(&root.join(path)) && !is_masked(&root.join(path)))
    {
        Firewalld::Installed
    } else {
        Firewalld::Absent
    }
}

/// Whether the pid file names a process called firewalld. A pid file left by a crash does not count.
fn is_running(root: &Path) -> bool {
    PID_FILES.iter().any(|path| {
        let Ok(text) = fs::read_to_string(root.join(path)) else { return false };
        let Ok(pid) = text.trim().parse::<u32>() else { return false };
        let command = fs::read_to_string(root.join(format!("proc/{pid}/cmdline")));
        command.is_ok_and(|command| command.contains("firewalld"))
    })
}

fn is_enabled(root: &Path) -> bool {
    if is_there(&root.join(ALIAS)) {
        return true;
    }
    let Ok(units) = fs::read_dir(root.join(UNITS)) else { return false };
    units.filter_map(Result::ok).any(|entry| {
        let name = entry.file_name();
        let pulls = name.to_str().is_some_and(|name| {
            name.ends_with(".wants") || name.ends_with(".requires") || name.ends_with(".upholds")
        });
        pulls && is_there(&entry.path().join(UNIT))
    })
}

/// Whether a file exists; also true for a symbolic link whose target lies outside of the tests' root.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn is_masked(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree(files: &[(&str, &str)], links: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let parent = |path: &str| {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            root.path().join(path)
        };
        for (path, text) in files {
            fs::write(parent(path), text).unwrap();
        }
        for (path, target) in links {
            symlink(target, parent(path)).unwrap();
        }
        root
    }

    #[test]
    fn states_of_firewalld() {
        let program = ("usr/sbin/firewalld", "");
        let wanted = (
            "etc/systemd/system/multi-user.target.wants/firewalld.service",
            "/usr/lib/systemd/system/firewalld.service",
        );
        let command = "/usr/bin/python3\0-s\0/usr/sbin/firewalld\0--nofork\0";
        type Files<'a> = &'a [(&'a str, &'a str)];
        let table: &[(&str, Files<'_>, Files<'_>, Firewalld)] = &[
            ("nothing", &[], &[], Firewalld::Absent),
            ("another firewall", &[("usr/sbin/ufw", "")], &[], Firewalld::Absent),
            ("the daemon", &[program], &[], Firewalld::Installed),
            ("the client alone", &[("usr/bin/firewall-cmd", "")], &[], Firewalld::Installed),
            (
                "the unit file alone",
                &[("usr/lib/systemd/system/firewalld.service", "")],
                &[],
                Firewalld::Installed,
            ),
            (
                "masked and not installed",
                &[],
                &[("etc/systemd/system/firewalld.service", "/dev/null")],
                Firewalld::Absent,
            ),
            ("enabled", &[program], &[wanted], Firewalld::Enabled),
            ("enabled, though removed", &[], &[wanted], Firewalld::Enabled),
            ("enabled by D-Bus", &[program], &[(ALIAS, "/x")], Firewalld::Enabled),
            (
                "running",
                &[program, ("run/firewalld.pid", "71\n"), ("proc/71/cmdline", command)],
                &[],
                Firewalld::Running,
            ),
            (
                "crashed, pid taken by another",
                &[program, ("run/firewalld.pid", "71\n"), ("proc/71/cmdline", "/bin/sh\0")],
                &[],
                Firewalld::Installed,
            ),
            ("odd pid file", &[("run/firewalld.pid", "x")], &[], Firewalld::Absent),
        ];
        for (name, files, links, expected) in table {
            assert_eq!(detect(tree(files, links).path()), *expected, "{name}");
        }
    }
}
