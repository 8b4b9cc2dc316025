//! How the kernel can recognise the program that opens a flow, where that is exact.
//!
//! A packet's socket knows its cgroup and its user, not its executable. A rule for an executable is
//! enforceable only where one of these stands for exactly this executable; a near miss is refused, for
//! it would open the rule to programs that it does not name.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use xshield_policy::{Owner, ProcessMatch};

use super::processes::{self, Process};

/// Whether the kernel's firewall can match a socket's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupMatching {
    /// `socket cgroupv2` works.
    Available,
    /// It doesn't; users are what is left.
    Missing,
}

/// A process with what the kernel's firewall can see of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    process: Process,
    /// Real, effective, saved and file system user.
    users: [u32; 4],
    /// Cgroup v2 without the leading slash; `None` when there is no such hierarchy.
    cgroup: Option<String>,
}

/// How each process of an outbound rule is recognised, or why it can't be. Processes of other network
/// namespaces don't count: their packets are not this host's.
#[must_use]
pub fn owners<'a>(
    wanted: impl IntoIterator<Item = &'a ProcessMatch>,
    matching: CgroupMatching,
) -> BTreeMap<ProcessMatch, Result<Owner, String>> {
    let mut wanted = wanted.into_iter().peekable();
    if wanted.peek().is_none() {
        return BTreeMap::new();
    }
    let members = members();
    let mount = match matching {
        CgroupMatching::Available => cgroup2_mount(),
        CgroupMatching::Missing => None,
    };
    wanted.map(|process| (process.clone(), owner(process, &members, mount.as_deref()))).collect()
}

/// Where the cgroup v2 hierarchy is mounted, by the calling process's mount table.
#[must_use]
pub fn cgroup2_mount() -> Option<PathBuf> {
    cgroup2_of(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

fn owner(
    wanted: &ProcessMatch,
    members: &[Member],
    cgroup_mount: Option<&Path>,
) -> Result<Owner, String> {
    let (mine, others): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(|member| member.process.matches(wanted));
    if mine.is_empty() {
        return Err(
            "is not running, so nothing tells its packets from others'; start it".to_owned()
        );
    }
    let no_cgroup = match cgroup_mount {
        None => "the kernel can't match its cgroup".to_owned(),
        Some(mount) => match exact_cgroup(&mine, &others, mount) {
            Ok(cgroup) => return Ok(Owner::Cgroup(cgroup)),
            Err(reason) => reason,
        },
    };
    match exact_user(&mine, &others) {
        Ok(user) => Ok(Owner::Uid(user)),
        Err(no_user) => Err(format!(
            "can't be told from other programs: {no_cgroup}; and {no_user}. Run it as a systemd \
             service of its own, or under a user of its own"
        )),
    }
}

/// The unit's cgroup, if all processes of the program are in it and it holds no other.
fn exact_cgroup(mine: &[&Member], others: &[&Member], mount: &Path) -> Result<String, String> {
    let mut units = mine.iter().map(|member| member.cgroup.as_deref().and_then(unit_of));
    let first = units.next().flatten().ok_or("it is not in the cgroup of a service of its own")?;
    if !units.all(|unit| unit == Some(first)) {
        return Err("it runs in more than one cgroup".to_owned());
    }
    if let Some(other) = others.iter().find(|other| other.is_within(first)) {
        return Err(format!("{} runs in its cgroup {first}, too", other.name()));
    }
    if fs::metadata(mount.join(first)).is_ok_and(|meta| meta.nlink() > 0) {
        Ok(first.to_owned())
    } else {
        Err(format!("its cgroup {first} is not visible here"))
    }
}

/// The user, if all processes of the program run as that user and no other program does.
fn exact_user(mine: &[&Member], others: &[&Member]) -> Result<u32, String> {
    let user = mine[0].users[0];
    if mine.iter().any(|member| member.users != [user; 4]) {
        return Err("it runs as more than one user".to_owned());
    }
    if user == 0 {
        return Err("it runs as root".to_owned());
    }
    match others.iter().find(|other| other.users.contains(&user)) {
        Some(other) => Err(format!("{} runs as its user {user}, too", other.name())),
        None => Ok(user),
    }
}

/// The part of a cgroup path up to the innermost service or scope: what systemd starts as one unit.
/// A slice, a login session and the hierarchy's root hold whatever comes later, so they are no unit.
pub(super) fn unit_of(cgroup: &str) -> Option<&str> {
    let mut end = 0;
    let mut unit = None;
    for part in cgroup.split('/') {
        end += part.len();
        let session =
            part.starts_with("session-") || part.starts_with("user@") || part == "init.scope";
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

impl Member {
    fn of(pid: u32) -> Option<Self> {
        let process = Process::of(pid)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        Some(Self { process, users: users(&status)?, cgroup: cgroup_path(&cgroups) })
    }

    fn is_within(&self, cgroup: &str) -> bool {
        let own = self.cgroup.as_deref().and_then(|own| own.strip_prefix(cgroup));
        own.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn name(&self) -> &str {
        self.process.path.as_deref().unwrap_or(&self.process.name)
    }
}

/// All programs of this network namespace. One whose namespace may not be read counts as here: it can
/// only make a match less exact.
fn members() -> Vec<Member> {
    let here = fs::read_link(processes::own_proc().join("ns/net")).ok();
    let elsewhere = |pid: u32| {
        let there = fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        there.is_some() && here.is_some() && there != here
    };
    processes::pids().into_iter().filter(|&pid| !elsewhere(pid)).filter_map(Member::of).collect()
}

fn users(status: &str) -> Option<[u32; 4]> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let users: Vec<u32> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    users.try_into().ok()
}

/// The cgroup v2 line of `/proc/PID/cgroup` is `0::/path`, cgroups(7).
fn cgroup_path(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!path.is_empty()).then(|| path.trim_end_matches(" (deleted)").to_owned())
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

#[cfg(test)]
#[path = "owners_tests.rs"]
mod tests;
