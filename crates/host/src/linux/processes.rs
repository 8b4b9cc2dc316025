//! Running processes by their ids, from `/proc`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Stat, openat, readlinkat, statat};

/// A running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name in the kernel (`comm`, 15 bytes at most).
    pub name: String,
    /// The full path of its executable; `None` if this may not be read.
    pub path: Option<String>,
}

impl Process {
    /// Reads one process; `None` if it has ended or is a kernel thread.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let name =
            fs::read_to_string(directory.join("comm")).ok()?.trim_end_matches('\n').to_owned();
        let path = match fs::read_link(directory.join("exe")) {
            Ok(target) => Some(executable(&target)),
            // Kernel threads and zombies have none.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(_) => None,
        };
        Some(Self { pid, name, path })
    }
}

/// The path of an executable as the kernel shows it. A file that was replaced by an upgrade while it runs
/// keeps its path.
fn executable(target: &Path) -> String {
    let text = target.to_string_lossy();
    text.strip_suffix(" (deleted)").unwrap_or(&text).to_owned()
}

/// A process's directory in `/proc`. An open one stays this process's: if the process has ended and its id
/// was reused, reading from it fails.
#[derive(Debug)]
pub(crate) struct ProcessDirectory(OwnedFd);

impl ProcessDirectory {
    /// `None` if there is no such process.
    pub(crate) fn open(pid: u32) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty()).ok().map(Self)
    }

    /// The text of one of its files, cut after this many bytes; invalid UTF-8 is replaced.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        const MOST: u64 = 64 << 10;
        let mut bytes = Vec::new();
        File::from(self.open_file(name)?).take(MOST).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Opens one of its files for reading.
    pub(crate) fn open_file(&self, name: &str) -> Option<OwnedFd> {
        openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    }

    /// The target of one of its links, as text.
    pub(crate) fn link(&self, name: &str) -> Option<PathBuf> {
        let target = readlinkat(&self.0, name, Vec::new()).ok()?;
        Some(OsString::from_vec(target.into_bytes()).into())
    }

    /// The metadata of a link's target.
    pub(crate) fn stat(&self, name: &str) -> Option<Stat> {
        statat(&self.0, name, AtFlags::empty()).ok()
    }
}

/// The ids of all visible processes, ascending.
pub(crate) fn pids() -> Vec<u32> {
    let Ok(listing) = fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<u32> =
        listing.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// The `/proc` directory of the calling thread, whose namespaces may differ from those of the process. On
/// kernels before 3.17, that of the process.
pub(crate) fn own_proc() -> &'static Path {
    let thread = Path::new("/proc/thread-self");
    if thread.exists() { thread } else { Path::new("/proc/self") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process() {
        let process = Process::of(std::process::id()).unwrap();
        let path = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
        assert_eq!(process.path.as_deref(), Some(path.as_str()));
        assert!(pids().contains(&std::process::id()));
    }

    #[test]
    fn kernel_threads_are_not_programs() {
        if rustix::process::geteuid().is_root() {
            assert!(Process::of(2).is_none_or(|process| process.path.is_some()));
        } else {
            eprintln!("SKIPPED: needs root to see what the processes of others are");
        }
        assert_eq!(Process::of(u32::MAX), None);
    }

    #[test]
    fn a_process_directory_never_belongs_to_a_later_process() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let directory = ProcessDirectory::open(child.id()).unwrap();
        assert!(directory.text("status").unwrap().contains("Uid:"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(directory.text("status"), None);
        assert!(directory.link("exe").is_none() && directory.stat("exe").is_none());
        assert!(ProcessDirectory::open(u32::MAX).is_none());
    }

    #[test]
    fn an_upgraded_program_keeps_its_path() {
        assert_eq!(executable(Path::new("/usr/sbin/nginx (deleted)")), "/usr/sbin/nginx");
    }
}
