//! Control groups: which systemd unit a process belongs to, and its path in the hierarchy.

use std::fs;
use std::path::PathBuf;

/// The mount point of the cgroup v2 hierarchy in the calling process's mount table.
#[must_use]
pub fn cgroup2_mount() -> Option<PathBuf> {
    cgroup2_of(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// `id parent dev root mount-point options… - type source options`, proc_pid_mountinfo(5).
fn cgroup2_of(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let whole = root == "/" && right.split(' ').next() == Some("cgroup2");
        whole.then(|| PathBuf::from(point.replace("\\040", " ")))
    })
}

/// The cgroups of a process that identify its unit: paths without the leading slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Cgroups {
    /// In the cgroup v2 hierarchy; `None` when there is none.
    pub(crate) v2: Option<String>,
    /// In systemd's own cgroup v1 hierarchy, if there is one.
    pub(crate) v1: Option<String>,
}

impl Cgroups {
    /// `/proc/PID/cgroup`: `0::/path` for v2, `number:name=systemd:/path` for systemd's v1 hierarchy,
    /// cgroups(7).
    pub(crate) fn parse(text: &str) -> Self {
        let after = |prefix: &str| {
            text.lines().find_map(|line| {
                let (_, path) = line.split_once(prefix)?;
                let path = path.strip_suffix(" (deleted)").unwrap_or(path);
                (!path.is_empty()).then(|| path.to_owned())
            })
        };
        Self { v2: after("0::/"), v1: after(":name=systemd:/") }
    }

    /// The path of the process's system unit in either hierarchy.
    pub(crate) fn unit_path(&self) -> Option<&str> {
        let path = self.v2.as_deref().and_then(system_unit);
        path.or_else(|| self.v1.as_deref().and_then(system_unit))
    }

    /// The name of the process's system unit.
    pub(crate) fn unit(&self) -> Option<&str> {
        self.unit_path().map(unit_name)
    }

    /// Whether it belongs to a login session or to a user's service manager.
    pub(crate) fn is_of_a_login(&self) -> bool {
        let paths = [self.v2.as_deref(), self.v1.as_deref()];
        let mut parts = paths.into_iter().flatten().flat_map(|path| path.split('/'));
        parts.any(|part| part == "user.slice" || is_login(part))
    }
}

/// The part of a cgroup path up to the service or scope that the system's service manager started; the unit
/// itself created what is below. Units of users, login sessions and slices do not count.
pub(crate) fn system_unit(cgroup: &str) -> Option<&str> {
    let mut end = 0;
    for part in cgroup.split('/') {
        end += part.len();
        match part {
            "user.slice" | "init.scope" => return None,
            _ if is_login(part) => return None,
            _ if part.ends_with(".slice") => end += 1,
            _ if part.ends_with(".service") || part.ends_with(".scope") => {
                return Some(&cgroup[..end]);
            }
            _ => return None,
        }
    }
    None
}

/// A login session's scope, or the unit of a user's own service manager.
fn is_login(part: &str) -> bool {
    part.starts_with("session-") || part.starts_with("user@")
}

/// The unit's name from its cgroup's path. systemd puts `_` before names that cgroups use themselves
/// (`cg_escape` in its `cgroup-util.c`).
pub(crate) fn unit_name(path: &str) -> &str {
    let last = path.rsplit('/').next().unwrap_or(path);
    last.strip_prefix('_').unwrap_or(last)
}

/// The part of a cgroup path up to the innermost service or scope, for display. A slice, a login session and
/// the root of the hierarchy are not units, since they contain any later process.
pub(super) fn unit_of(cgroup: &str) -> Option<&str> {
    let mut end = 0;
    let mut unit = None;
    for part in cgroup.split('/') {
        end += part.len();
        let session = is_login(part) || part == "init.scope";
        match part {
            "" | "." | ".." => return None,
            _ if session => unit = None,
            _ if part.ends_with(".service") || part.ends_with(".scope") => {
                unit = Some(&cgroup[..end])
            }
            _ => {}
        }
        end += 1;
    }
    unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn mounts_are_parsed() {
        let hybrid = "25 30 0:23 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      26 25 0:24 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\
                      27 25 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        assert_eq!(cgroup2_of(hybrid).unwrap(), Path::new("/sys/fs/cgroup/unified"));
        let unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_of(unified).unwrap(), Path::new("/sys/fs/cgroup"));
        let partial = "30 24 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_of(partial), None);
        assert_eq!(cgroup2_of("garbage"), None);
    }

    #[test]
    fn units_of_the_system_are_recognised() {
        #[rustfmt::skip]
        let table = [
            ("system.slice/nginx.service", Some("nginx.service")),
            ("system.slice/nginx.service/worker", Some("nginx.service")),
            ("system.slice/system-app.slice/app@1.service", Some("app@1.service")),
            ("shop.slice/shop-web.slice/web.service", Some("web.service")),
            ("nginx.service", Some("nginx.service")),
            ("system.slice/_cpu.service", Some("cpu.service")),
            ("system.slice/docker-0a1b.scope/system.slice/nginx.service", Some("docker-0a1b.scope")),
            ("user.slice/user-5.slice/session-3.scope", None),
            ("user.slice/user-5.slice/user@5.service/app.slice/nginx.service", None),
            ("user.slice/nginx.service", None),
            ("user@5.service/nginx.service", None),
            ("docker/0a1b/system.slice/nginx.service", None),
            ("../system.slice/nginx.service", None),
            ("init.scope", None),
            ("system.slice", None),
            ("", None),
        ];
        for (path, expected) in table {
            assert_eq!(system_unit(path).map(unit_name), expected, "{path}");
        }
        assert_eq!(unit_of("../system.slice/nginx.service"), None);
    }

    #[test]
    fn proc_cgroup_lines_are_parsed() {
        #[rustfmt::skip]
        let table = [
            ("12:cpu:/a\n0::/system.slice/a.service\n", Some("system.slice/a.service"), None, Some("a.service")),
            ("1:name=systemd:/system.slice/a.service\n0::/\n", None, Some("system.slice/a.service"), Some("a.service")),
            ("1:name=systemd:/system.slice/a.service\n", None, Some("system.slice/a.service"), Some("a.service")),
            ("0::/system.slice/a.service (deleted)\n", Some("system.slice/a.service"), None, Some("a.service")),
            ("4:cpu:/a\n", None, None, None),
            ("0::/\n", None, None, None),
        ];
        for (text, v2, v1, unit) in table {
            let got = Cgroups::parse(text);
            assert_eq!(
                (got.v2.as_deref(), got.v1.as_deref(), got.unit()),
                (v2, v1, unit),
                "{text}"
            );
        }
    }
}
