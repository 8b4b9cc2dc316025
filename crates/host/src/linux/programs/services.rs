//! Names of cgroups and users, which sockets have as numbers.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::PathBuf;
use std::time::SystemTime;

use super::super::cgroups;

/// The most cgroups searched for those wanted.
const MOST_CGROUPS: usize = 50_000;
/// The most cgroup names remembered.
const MOST_NAMES: usize = 4096;

/// Services by the id of their cgroup, which is the inode of its directory.
#[derive(Debug, Default)]
pub(super) struct Services {
    names: HashMap<u64, Option<String>>,
    mount: Option<PathBuf>,
}

impl Services {
    pub(super) fn name(&self, cgroup: u64) -> Option<String> {
        self.names.get(&cgroup).cloned().flatten()
    }

    /// Finds the names of cgroups that are not known yet.
    pub(super) fn refresh(&mut self, cgroups: impl Iterator<Item = u64>) {
        let mut wanted: Vec<u64> = cgroups.filter(|id| !self.names.contains_key(id)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return;
        }
        if self.names.len() + wanted.len() > MOST_NAMES {
            self.names.clear();
        }
        if self.mount.is_none() {
            self.mount = cgroups::cgroup2_mount();
        }
        let Some(mount) = &self.mount else { return };
        let mut left = VecDeque::from([(mount.clone(), String::new())]);
        let mut seen = 0;
        while let Some((directory, path)) = left.pop_front() {
            let Ok(listing) = fs::read_dir(directory) else { continue };
            for entry in listing.flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                seen += 1;
                let name = entry.file_name();
                let path = format!("{path}{}/", name.to_string_lossy());
                if let Ok(at) = wanted.binary_search(&entry.ino()) {
                    self.names.insert(wanted.remove(at), unit(&path));
                }
                if wanted.is_empty() || seen >= MOST_CGROUPS {
                    return;
                }
                left.push_back((entry.path(), path));
            }
        }
        // The root of the hierarchy, or deleted.
        self.names.extend(wanted.into_iter().map(|id| (id, None)));
    }
}

fn unit(path: &str) -> Option<String> {
    let unit = cgroups::unit_of(path.trim_end_matches('/'))?;
    Some(unit.rsplit('/').next().unwrap_or(unit).to_owned())
}

/// Names of users, from `/etc/passwd`.
#[derive(Debug, Default)]
pub(super) struct Users {
    names: HashMap<u32, String>,
    written: Option<SystemTime>,
}

impl Users {
    pub(super) fn name(&self, uid: u32) -> Option<String> {
        self.names.get(&uid).cloned()
    }

    /// Reads the file again if it has changed.
    pub(super) fn refresh(&mut self) {
        const PASSWD: &str = "/etc/passwd";
        let written = fs::metadata(PASSWD).and_then(|meta| meta.modified()).ok();
        if written.is_some() && written == self.written {
            return;
        }
        self.written = written;
        self.names = fs::read_to_string(PASSWD).map(|text| users(&text)).unwrap_or_default();
    }
}

/// passwd(5): `name:password:UID:…`. If a number has several names, the first counts.
fn users(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut words = line.split(':');
        if let (Some(name), Some(uid)) = (words.next(), words.nth(1))
            && let Ok(uid) = uid.parse()
        {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_of_cgroups() {
        #[rustfmt::skip]
        let table = [
            ("system.slice/nginx.service/", Some("nginx.service")),
            ("system.slice/docker-0a1b.scope/init/", Some("docker-0a1b.scope")),
            ("user.slice/user-0.slice/session-1.scope/", None),
            ("system.slice/", None),
            ("", None),
        ];
        for (path, expected) in table {
            assert_eq!(unit(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn user_names() {
        let names =
            users("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n#\nx:y\nwww:x:33:33\n");
        assert_eq!((names[&0].as_str(), names[&33].as_str(), names.len()), ("root", "www", 2));
    }

    #[test]
    fn a_missing_cgroup_is_searched_once() {
        let mut services = Services::default();
        services.refresh([u64::MAX].into_iter());
        assert_eq!(services.name(u64::MAX), None);
        if cgroups::cgroup2_mount().is_some() {
            assert!(services.names.contains_key(&u64::MAX));
        }
    }
}
