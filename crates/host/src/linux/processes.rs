//! Running programs: by pid, by name, and whether they live in our network namespace.

use std::fs;
use std::path::{Path, PathBuf};

use xshield_policy::ProcessMatch;

/// A running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name as the kernel keeps it (`comm`, 15 bytes at most).
    pub name: String,
    /// The full path of its executable; `None` when this may not be read.
    pub path: Option<String>,
}

impl Process {
    /// Looks at one process; `None` when it is gone or is a kernel thread.
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

    /// Whether `wanted` names this process: its name or the file name of its executable, or the
    /// executable's full path.
    #[must_use]
    pub fn matches(&self, wanted: &ProcessMatch) -> bool {
        matches(wanted, Some(&self.name), self.path.as_deref())
    }
}

/// Whether `wanted` names a process of this name and executable.
pub(crate) fn matches(wanted: &ProcessMatch, name: Option<&str>, path: Option<&str>) -> bool {
    match wanted {
        ProcessMatch::Name(wanted) => {
            let file_name = path.and_then(|path| path.rsplit('/').next());
            name == Some(wanted) || file_name == Some(wanted)
        }
        ProcessMatch::Path(wanted) => path == Some(wanted),
    }
}

/// The path of an executable as the kernel shows it. One that was replaced by an upgrade while it runs
/// is still the program of that path.
fn executable(target: &Path) -> String {
    let text = target.to_string_lossy();
    text.strip_suffix(" (deleted)").unwrap_or(&text).to_owned()
}

/// The ids of all processes that this one may see, ascending.
pub(crate) fn pids() -> Vec<u32> {
    let Ok(listing) = fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<u32> =
        listing.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// The directory of the calling thread in `/proc`: its namespaces may differ from the process's.
/// Kernels before 3.17 know the process alone.
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
        let wanted = |text: &str| ProcessMatch::try_from(text.to_owned()).unwrap();
        assert!(process.matches(&wanted(&path)));
        assert!(process.matches(&wanted(path.rsplit('/').next().unwrap())));
        assert!(process.matches(&wanted(&process.name)));
        assert!(!process.matches(&wanted("/usr/sbin/nginx")));
        assert!(pids().contains(&std::process::id()));
    }

    #[test]
    fn kernel_threads_are_no_programs() {
        if rustix::process::geteuid().is_root() {
            assert!(Process::of(2).is_none_or(|process| process.path.is_some()));
        } else {
            eprintln!("SKIPPED: needs root to see what the processes of others are");
        }
        assert_eq!(Process::of(u32::MAX), None);
    }

    #[test]
    fn names_and_paths() {
        #[rustfmt::skip]
        let table = [
            ("nginx", Some("nginx"), Some("/usr/sbin/nginx"), true),
            ("nginx", Some("nginx: worker"), Some("/usr/sbin/nginx"), true),
            ("gunicorn", Some("gunicorn"), Some("/usr/bin/python3.11"), true),
            ("nginx", None, None, false),
            ("nginx", Some("nginx2"), Some("/opt/nginx/httpd"), false),
            ("/usr/sbin/nginx", Some("nginx"), Some("/usr/sbin/nginx"), true),
            ("/usr/sbin/nginx", Some("nginx"), Some("/opt/nginx"), false),
            ("/usr/sbin/nginx", Some("nginx"), None, false),
        ];
        for (wanted, name, path, expected) in table {
            let wanted = ProcessMatch::try_from(wanted.to_owned()).unwrap();
            assert_eq!(matches(&wanted, name, path), expected, "{wanted} {name:?} {path:?}");
        }
    }

    #[test]
    fn an_upgraded_program_keeps_its_path() {
        assert_eq!(executable(Path::new("/usr/sbin/nginx (deleted)")), "/usr/sbin/nginx");
    }
}
