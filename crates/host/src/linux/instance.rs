//! A process with the properties that rules can match.

use std::collections::HashSet;
use std::fs;
use std::hash::Hash;
use std::sync::Arc;

use super::cgroups::Cgroups;
use super::executable::{Executable, HostNamespaces};
use super::processes::{self, ProcessDirectory};

/// The most processes inspected in one run: more than a host has, some 100 bytes each.
pub(crate) const MOST_PROCESSES: usize = 200_000;

/// One process, read through one directory of `/proc`, so that no part of it belongs to another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) pid: u32,
    /// Its name in the kernel (`comm`), which the process can set to anything.
    pub(crate) name: Arc<str>,
    /// Its executable; `None` if it may not be read.
    pub(crate) executable: Option<Arc<Executable>>,
    /// Real, effective, saved and file system user.
    pub(crate) users: [u32; 4],
    pub(crate) cgroups: Arc<Cgroups>,
}

impl Instance {
    pub(crate) fn unit(&self) -> Option<&str> {
        self.cgroups.unit()
    }

    /// The full path of its executable, as reported.
    pub(crate) fn path(&self) -> Option<String> {
        let executable = self.executable.as_ref()?;
        Some(executable.path.to_string_lossy().into_owned())
    }

    /// Its name for messages: the executable's path, or else its name. Without control characters.
    pub(crate) fn shown(&self) -> String {
        let path = self.executable.as_ref().map(|executable| executable.path.to_string_lossy());
        shown(path.as_deref().unwrap_or(&self.name))
    }
}

/// Text chosen by a process, made safe for a line of a report.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let plain: String = text.chars().flat_map(char::escape_debug).take(MOST + 1).collect();
    if plain.chars().count() > MOST {
        format!("{}…", plain.chars().take(MOST).collect::<String>())
    } else {
        plain
    }
}

/// Reads processes; common values are stored once.
#[derive(Debug)]
pub(crate) struct Reader {
    host: HostNamespaces,
    names: HashSet<Arc<str>>,
    executables: HashSet<Arc<Executable>>,
    cgroups: HashSet<Arc<Cgroups>>,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            host: HostNamespaces::of_this_host(),
            names: HashSet::new(),
            executables: HashSet::new(),
            cgroups: HashSet::new(),
        }
    }

    /// `None` if the process has ended, or is a kernel thread.
    pub(crate) fn read_from(&mut self, pid: u32, process: &ProcessDirectory) -> Option<Instance> {
        let status = process.text("status")?;
        let executable = Executable::of(process, &self.host);
        // A kernel thread has no memory of its own; a process with a hidden executable has.
        if executable.is_none() && !status.contains("\nVmSize:") {
            return None;
        }
        let cgroups = Cgroups::parse(&process.text("cgroup").unwrap_or_default());
        Some(Instance {
            pid,
            name: once(&mut self.names, Arc::from(name(&status)?)),
            executable: executable
                .map(|executable| once(&mut self.executables, Arc::new(executable))),
            users: users(&status)?,
            cgroups: once(&mut self.cgroups, Arc::new(cgroups)),
        })
    }

    /// All programs of this network namespace, by process id; `None` if there are too many. One whose
    /// namespace may not be read is included: it can only make a match less exact.
    pub(crate) fn all(&mut self) -> Option<Vec<Instance>> {
        let here = fs::read_link(processes::own_proc().join("ns/net")).ok();
        let pids = processes::pids();
        if pids.len() > MOST_PROCESSES {
            return None;
        }
        let here_or_unknown = pids.into_iter().filter_map(|pid| {
            let process = ProcessDirectory::open(pid)?;
            let there = process.link("ns/net");
            if there.is_some() && here.is_some() && there != here {
                return None;
            }
            self.read_from(pid, &process)
        });
        Some(here_or_unknown.collect())
    }
}

fn once<T: Hash + Eq + ?Sized>(known: &mut HashSet<Arc<T>>, value: Arc<T>) -> Arc<T> {
    if let Some(same) = known.get(&value) {
        return Arc::clone(same);
    }
    known.insert(Arc::clone(&value));
    value
}

/// The first line of `/proc/PID/status`, in which the kernel writes line ends as `\n`.
fn name(status: &str) -> Option<&str> {
    status.lines().next()?.strip_prefix("Name:\t")
}

fn users(status: &str) -> Option<[u32; 4]> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let users: Vec<u32> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    users.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_status_lines_are_parsed() {
        let status = "Name:\ta\\nUid:\t0\nUmask:\t0022\nUid:\t1\t2\t3\t4\nVmSize:\t9 kB\n";
        assert_eq!((name(status), users(status)), (Some("a\\nUid:\t0"), Some([1, 2, 3, 4])));
        assert_eq!(users("Name:\tx\nUid:\t1\t2\n"), None);
    }

    #[test]
    fn names_chosen_by_a_process_are_short_and_on_one_line() {
        assert_eq!(shown("/tmp/a\nb\u{1b}[0m"), "/tmp/a\\nb\\u{1b}[0m");
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), 201);
    }

    #[test]
    fn this_process_is_read_and_kernel_threads_are_not() {
        let mut reader = Reader::new();
        let process = ProcessDirectory::open(std::process::id()).unwrap();
        let own = reader.read_from(std::process::id(), &process).unwrap();
        assert_eq!(own.users[0], rustix::process::getuid().as_raw());
        let all = reader.all().unwrap();
        assert!(all.contains(&own), "{own:?}");
        assert!(all.iter().all(|instance| &*instance.name != "kthreadd"));
    }
}
