//! Whether a process runs the executable that a rule names, or only looks like it.

use std::path::{Path, PathBuf};

use xshield_policy::ProcessMatch;

use super::places::{Guard, Place};
use crate::linux::executable::Executable;
use crate::linux::instance::{Instance, shown};

/// The relation of a process to a rule's executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExecutableMatch {
    /// It runs that executable.
    Is,
    /// It has nothing in common with it.
    Unlike,
    /// It has the same name or path but is not it; the reason.
    Pretends(String),
}

/// Compares a process with a rule's executable. `at` returns what is at a path of the host.
pub(super) fn executable_match(
    wanted: &ProcessMatch,
    instance: &Instance,
    at: &mut dyn FnMut(&Path) -> Vec<Place>,
) -> ExecutableMatch {
    let Some(executable) = &instance.executable else {
        return match wanted {
            ProcessMatch::Name(name) if *name == *instance.name => {
                ExecutableMatch::Pretends("its executable can't be read".to_owned())
            }
            _ => ExecutableMatch::Unlike,
        };
    };
    match wanted {
        ProcessMatch::Path(path) => by_path(Path::new(path), executable, at),
        ProcessMatch::Name(name) => {
            if executable.path.file_name().is_some_and(|own| own == name.as_str()) {
                by_name(executable, at)
            } else if is_called(name, &instance.name) && by_link(name, executable, at) {
                ExecutableMatch::Is
            } else if *name == *instance.name {
                ExecutableMatch::Pretends(
                    "it only calls itself that; its file has another name".to_owned(),
                )
            } else {
                ExecutableMatch::Unlike
            }
        }
    }
}

/// Where symbolic links that give a file another name are searched, besides its own directory.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
/// Bytes of a process's name that the kernel stores (`TASK_COMM_LEN`, linux/sched.h, minus the terminator).
const NAME_BYTES: usize = 15;

/// Whether a process has that name. It distinguishes programs in a file with many names: under another name
/// it is another program.
fn is_called(name: &str, comm: &str) -> bool {
    let bytes = name.as_bytes();
    comm.as_bytes() == bytes.get(..NAME_BYTES).unwrap_or(bytes)
}

/// Whether the host has a symbolic link of that name to the file, in a directory that only root can write.
fn by_link(name: &str, executable: &Executable, at: &mut dyn FnMut(&Path) -> Vec<Place>) -> bool {
    let own = executable.path.parent().map(Path::to_owned);
    let directories = own.into_iter().chain(DIRECTORIES.map(PathBuf::from));
    directories.map(|directory| directory.join(name)).any(|link| {
        let mut places = at(&link);
        places.retain(|place| place.guard == Guard::RootAlone && place.path != link);
        let leads_there = places.iter().any(|place| place.file == Some(executable.file));
        let led_there = places.iter().any(|place| place.path == executable.path);
        leads_there || (led_there && if_upgraded(executable, &places) == ExecutableMatch::Is)
    })
}

/// Whether it is the file that the host has at that path, through whatever mount the process sees it.
fn by_path(
    wanted: &Path,
    executable: &Executable,
    at: &mut dyn FnMut(&Path) -> Vec<Place>,
) -> ExecutableMatch {
    let places = at(wanted);
    if places.iter().any(|place| place.file == Some(executable.file)) {
        return ExecutableMatch::Is;
    }
    let claimed =
        executable.path == wanted || places.iter().any(|place| place.path == executable.path);
    if claimed { if_upgraded(executable, &places) } else { ExecutableMatch::Unlike }
}

/// Whether it is a file of that name at the path that the kernel shows, in a directory that only root can
/// write.
fn by_name(executable: &Executable, at: &mut dyn FnMut(&Path) -> Vec<Place>) -> ExecutableMatch {
    let places = at(&executable.path);
    let same = places.iter().filter(|place| place.file == Some(executable.file));
    let mut open_to_others = None;
    for place in same {
        match &place.guard {
            Guard::RootAlone => return ExecutableMatch::Is,
            Guard::Others(where_) => open_to_others = Some(where_.clone()),
        }
    }
    if let Some(where_) = open_to_others {
        return ExecutableMatch::Pretends(others_can_write(&where_));
    }
    match if_upgraded(executable, &places) {
        ExecutableMatch::Is => match places.into_iter().map(|place| place.guard).next() {
            Some(Guard::Others(where_)) => ExecutableMatch::Pretends(others_can_write(&where_)),
            _ => ExecutableMatch::Is,
        },
        other => other,
    }
}

fn others_can_write(path: &Path) -> String {
    let path = shown(&path.to_string_lossy());
    format!(
        "users other than root can write to {path}: name the file by its path, or its user \
         or unit"
    )
}

/// For a process whose file is no longer at its path: whether that is because the file was upgraded or
/// removed while the program runs.
fn if_upgraded(executable: &Executable, places: &[Place]) -> ExecutableMatch {
    let path = shown(&executable.path.to_string_lossy());
    let Some(removed) = executable.removed else {
        return ExecutableMatch::Pretends(format!(
            "its executable is not the file that this host has at {path}: it sees another file \
             there, in its own mount namespace"
        ));
    };
    let here = places
        .iter()
        .any(|place| place.path == executable.path && place.device == executable.file.device);
    let why_not = match (removed.hosts_path, removed.roots_own, here) {
        (true, true, true) => return ExecutableMatch::Is,
        (false, ..) => "it was seen in a mount namespace that a user created",
        (_, false, _) => "users other than root could write it",
        (_, _, false) => "it was on another file system",
    };
    ExecutableMatch::Pretends(format!("its executable was removed from {path}, and {why_not}"))
}

#[cfg(test)]
mod tests;
