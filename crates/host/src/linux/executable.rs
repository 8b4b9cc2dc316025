//! Determines which file a process runs.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Stat, fstat, stat};

use super::processes::{self, ProcessDirectory};

/// What the kernel appends to the path of a deleted file (`d_path`, fs/d_path.c).
const REMOVED: &[u8] = b" (deleted)";
/// `NS_GET_USERNS`, linux/nsfs.h: the user namespace that owns a namespace.
const NS_GET_USERNS: libc::Ioctl = 0xb701;
/// Write permission of group and others.
const WRITABLE: u32 = 0o022;

/// A file, independent of path and mount namespace.
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
    /// The file itself, which no path and no mount namespace can fake.
    pub(crate) file: FileId,
    /// The path that the kernel shows, in the process's mount namespace.
    pub(crate) path: PathBuf,
    /// Set if there is no longer a file at that path: it was upgraded or removed.
    pub(crate) removed: Option<Removed>,
}

/// What is known of a file that is no longer at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Removed {
    /// Whether root owns it and nobody else could write it.
    pub(crate) roots_own: bool,
    /// Whether the path is one of the host, or of a mount namespace that only root could create.
    pub(crate) hosts_path: bool,
}

impl Executable {
    /// `None` for kernel threads, and for processes of other users that may not be inspected.
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

/// The namespaces that distinguish the host's view of files from one that a user created.
#[derive(Debug)]
pub(crate) struct HostNamespaces {
    mounts: Vec<PathBuf>,
    users: Vec<FileId>,
}

impl HostNamespaces {
    /// Those of process 1 and of this process.
    pub(crate) fn of_this_host() -> Self {
        let of = |process: &Path, kind: &str| process.join("ns").join(kind);
        let processes = [Path::new("/proc/1"), processes::own_proc()];
        let mounts = processes.iter().filter_map(|p| std::fs::read_link(of(p, "mnt")).ok());
        let users = processes.iter().filter_map(|p| stat(of(p, "user")).ok());
        Self { mounts: mounts.collect(), users: users.map(|stat| FileId::of(&stat)).collect() }
    }

    /// Whether only root could have created the process's view: it is in the host's mount namespace, or in
    /// one that belongs to the host's user namespace, as service managers and container engines create them.
    /// A user needs their own user namespace first (mount_namespaces(7)).
    fn made_view_of(&self, process: &ProcessDirectory) -> bool {
        let Some(mounts) = process.link("ns/mnt") else { return false };
        if self.mounts.contains(&mounts) {
            return true;
        }
        let owner = process.open_file("ns/mnt").and_then(|namespace| owner_of(&namespace));
        owner.is_some_and(|owner| self.users.contains(&owner))
    }
}

/// The user namespace that owns a namespace; unknown on kernels before 4.9.
#[allow(unsafe_code, reason = "neither std nor rustix knows this ioctl")]
fn owner_of(namespace: &OwnedFd) -> Option<FileId> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: takes a descriptor and no argument; returns a new descriptor, which has no other owner, or -1.
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
    fn the_executable_of_this_process() {
        let host = HostNamespaces::of_this_host();
        let process = ProcessDirectory::open(std::process::id()).unwrap();
        let own = Executable::of(&process, &host).unwrap();
        assert_eq!(own.path, std::env::current_exe().unwrap());
        assert_eq!(own.file, FileId::of(&stat(&own.path).unwrap()));
        assert!(own.removed.is_none() && host.made_view_of(&process));
    }

    #[test]
    fn a_namespace_is_owned_by_its_parent() {
        let own = std::fs::File::open("/proc/self/ns/mnt").unwrap();
        let Some(owner) = owner_of(&own.into()) else {
            eprintln!(
                "SKIPPED: this kernel does not report the owner of a namespace, or not to this user"
            );
            return;
        };
        // Inside a container that shares less, the owner may be above.
        let users = FileId::of(&stat("/proc/self/ns/user").unwrap());
        assert_eq!(owner, users);
    }
}
