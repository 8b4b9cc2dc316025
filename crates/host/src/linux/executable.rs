//! Which file a process runs.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Stat, fstat, stat};

use super::processes::{self, ProcessDirectory};

/// What the kernel appends to the path of a file that is no longer there (`d_path`, fs/d_path.c).
const REMOVED: &[u8] = b" (deleted)";
/// `NS_GET_USERNS`, linux/nsfs.h: the user namespace that owns a namespace.
const NS_GET_USERNS: libc::Ioctl = 0xb701;
/// Group's and others' permission to write.
const WRITABLE: u32 = 0o022;

/// One file, by whatever path and in whatever mount namespace it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId {
    /// `st_dev`.
    pub(crate) device: u64,
    /// `st_ino`.
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// The file that a process runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Executable {
    /// The file itself: no path and no mount namespace can pretend another one.
    pub(crate) file: FileId,
    /// The path that the kernel shows, in the process's mount namespace.
    pub(crate) path: PathBuf,
    /// Set when no file is at that path any more: by an upgrade, or removed.
    pub(crate) removed: Option<Removed>,
}

/// What can still be told of a file that is no longer at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Removed {
    /// It is root's, and nobody else could write it.
    pub(crate) roots_own: bool,
    /// The path is one of the host, or of a mount namespace that only root could make.
    pub(crate) hosts_path: bool,
}

impl Executable {
    /// Kernel threads have none; those of other users may not be looked at without privileges.
    pub(crate) fn of(process: &ProcessDirectory, host: &HostNamespaces) -> Option<Self> {
        let file = process.stat("exe")?;
        let shown = process.link("exe")?;
        let shown_bytes = shown.as_os_str().as_bytes();
        let Some(path) = shown_bytes.strip_suffix(REMOVED) else {
            return Some(Self { file: FileId::of(&file), path: shown, removed: None });
        };
        let removed = Removed {
            roots_own: file.st_uid == 0 && file.st_mode & WRITABLE == 0,
            hosts_path: host.made_view_of(process),
        };
        let path = PathBuf::from(OsStr::from_bytes(path));
        Some(Self { file: FileId::of(&file), path, removed: Some(removed) })
    }
}

/// What tells the host's view of files from one that a user made.
#[derive(Debug)]
pub(crate) struct HostNamespaces {
    mounts: Vec<PathBuf>,
    users: Vec<FileId>,
}

impl HostNamespaces {
    /// Those of process 1 and our own.
    pub(crate) fn of_this_host() -> Self {
        let of = |process: &Path, kind: &str| process.join("ns").join(kind);
        let processes = [Path::new("/proc/1"), processes::own_proc()];
        let mounts = processes.iter().filter_map(|p| std::fs::read_link(of(p, "mnt")).ok());
        let users = processes.iter().filter_map(|p| stat(of(p, "user")).ok());
        Self { mounts: mounts.collect(), users: users.map(|stat| FileId::of(&stat)).collect() }
    }

    /// Whether only root could have made what the process sees: it is in the host's mount namespace, or
    /// in one that belongs to the host's user namespace, as service managers and container engines make
    /// them. A user needs a user namespace of his own first (mount_namespaces(7)).
    fn made_view_of(&self, process: &ProcessDirectory) -> bool {
        let Some(mounts) = process.link("ns/mnt") else { return false };
        if self.mounts.contains(&mounts) {
            return true;
        }
        let owner = process.open_file("ns/mnt").and_then(|namespace| owner_of(&namespace));
        owner.is_some_and(|owner| self.users.contains(&owner))
    }
}

/// The user namespace that owns a namespace; kernels before 4.9 don't say.
#[allow(unsafe_code, reason = "neither std nor rustix knows this ioctl")]
fn owner_of(namespace: &OwnedFd) -> Option<FileId> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: takes a descriptor and no argument; what it returns is a new descriptor, owned by nobody
    // else, or -1.
    let owner = unsafe {
        let fd = libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    };
    Some(FileId::of(&fstat(owner?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_process() {
        let host = HostNamespaces::of_this_host();
        let process = ProcessDirectory::open(std::process::id()).unwrap();
        let own = Executable::of(&process, &host).unwrap();
        assert_eq!(own.path, std::env::current_exe().unwrap());
        assert_eq!(own.file, FileId::of(&stat(&own.path).unwrap()));
        assert!(own.removed.is_none() && host.made_view_of(&process));
    }

    #[test]
    fn a_namespace_is_owned_by_the_one_it_was_made_in() {
        let own = std::fs::File::open("/proc/self/ns/mnt").unwrap();
        let Some(owner) = owner_of(&own.into()) else {
            eprintln!(
                "SKIPPED: this kernel does not tell who owns a namespace, or not to this user"
            );
            return;
        };
        // Inside a container that shares less, the owner may be above.
        let users = FileId::of(&stat("/proc/self/ns/user").unwrap());
        assert_eq!(owner, users);
    }
}
