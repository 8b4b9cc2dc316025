//! Which file is at a path in the host's file systems, and who could have put it there.
//!
//! Paths are resolved directory by directory from a root directory that only root can choose: that of process
//! 1, and our own, which differ if a service manager gives the agent its own view. A process that changes
//! *its own* view of a path changes neither.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::linux::executable::FileId;

/// The most symbolic links that the kernel follows (`MAXSYMLINKS`, linux/namei.h).
const MOST_LINKS: usize = 40;
/// Write permission of group and others.
const WRITABLE: u32 = 0o022;
/// The most paths checked in one run; no ordinary host has that many executables.
const MOST_PATHS: usize = 65_536;

/// Who can put files at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Only root: every directory of the path, and the file, belong to root and nobody else can write them.
    RootAlone,
    /// Others, too; the first directory or file that they can change.
    Others(PathBuf),
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The path without symbolic links.
    pub(crate) path: PathBuf,
    /// The file; `None` if the directory exists, but not the file.
    pub(crate) file: Option<FileId>,
    /// The device of the file, or of the directory in which it is missing.
    pub(crate) device: u64,
    /// Who could have put it there.
    pub(crate) guard: Guard,
}

/// The host's file systems.
#[derive(Debug)]
pub(crate) struct Places {
    roots: Vec<Root>,
    known: HashMap<PathBuf, Vec<Place>>,
}

#[derive(Debug)]
struct Root {
    directory: OwnedFd,
    /// The user who can replace everything below anyway: root, or in a user namespace its owner.
    owner: u32,
}

impl Places {
    /// The file systems of this host.
    pub(crate) fn of_this_host() -> Self {
        let roots =
            ["/proc/1/root", "/"].into_iter().filter_map(|path| Root::open(Path::new(path)));
        Self { roots: roots.collect(), known: HashMap::new() }
    }

    /// What is at `path` in each of the host's file systems; a path that does not exist is in none.
    pub(crate) fn at(&mut self, path: &Path) -> Vec<Place> {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let mut found: Vec<Place> =
            self.roots.iter().filter_map(|root| root.walk(path).ok()).collect();
        found.dedup();
        if self.known.len() < MOST_PATHS {
            self.known.insert(path.to_owned(), found.clone());
        }
        found
    }
}

impl Root {
    fn open(path: &Path) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        let owner = fstat(&directory).ok()?.st_uid;
        Some(Self { directory, owner })
    }

    /// Resolves the path step by step, since the kernel would resolve absolute symbolic links from our own
    /// root.
    fn walk(&self, path: &Path) -> Result<Place, Errno> {
        let mut walk = Walk { root: self, below: Vec::new(), guard: Guard::RootAlone };
        walk.judge(&fstat(&self.directory)?, None);
        let mut left: VecDeque<OsString> = parts(path).collect();
        let mut links = 0;
        let mut file = None;
        while let Some(part) = left.pop_front() {
            match part.as_bytes() {
                b"." => continue,
                b".." => {
                    walk.below.pop();
                    continue;
                }
                _ => {}
            }
            let stat = match statat(walk.here(), &part, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) if left.is_empty() => {
                    let device = fstat(walk.here())?.st_dev;
                    let path = walk.path(&part);
                    return Ok(Place { path, file: None, device, guard: walk.guard });
                }
                stat => stat?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = readlinkat(walk.here(), &part, Vec::new())?;
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    if target.is_absolute() {
                        walk.below.clear();
                    }
                    for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                        left.push_front(part);
                    }
                }
                FileType::Directory => {
                    let flags =
                        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let directory = openat(walk.here(), &part, flags, Mode::empty())?;
                    walk.judge(&fstat(&directory)?, Some(&part));
                    walk.below.push((directory, part));
                }
                _ if left.is_empty() => {
                    walk.judge(&stat, Some(&part));
                    file = Some((walk.path(&part), stat));
                }
                _ => return Err(Errno::NOTDIR),
            }
        }
        let (path, stat) = file.ok_or(Errno::ISDIR)?;
        let file = Some(FileId::of(&stat));
        Ok(Place { path, file, device: stat.st_dev, guard: walk.guard })
    }
}

/// The names in a path.
fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    let names = path.as_os_str().as_bytes().split(|&byte| byte == b'/');
    names.filter(|name| !name.is_empty()).map(|name| OsStr::from_bytes(name).to_owned())
}

/// A partly resolved path.
struct Walk<'a> {
    root: &'a Root,
    below: Vec<(OwnedFd, OsString)>,
    guard: Guard,
}

impl Walk<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.below.last().map_or(self.root.directory.as_fd(), |(directory, _)| directory.as_fd())
    }

    fn path(&self, last: &OsStr) -> PathBuf {
        let mut path = PathBuf::from("/");
        path.extend(self.below.iter().map(|(_, name)| name));
        path.push(last);
        path
    }

    /// Records who can change a part of the path: whoever can write there chooses where the path leads.
    fn judge(&mut self, stat: &Stat, name: Option<&OsStr>) {
        let roots_own = stat.st_uid == 0 || stat.st_uid == self.root.owner;
        if self.guard == Guard::RootAlone && !(roots_own && stat.st_mode & WRITABLE == 0) {
            self.guard = Guard::Others(self.path(name.unwrap_or_default()));
        }
    }
}

#[cfg(test)]
mod tests;
