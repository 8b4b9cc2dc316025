//! Cgroups (v2) by path, and their ids in the kernel.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(crate) use crate::plan::cgroup_level as level;

/// The mount points of the hierarchy: beside version 1, or alone.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

fn root() -> Option<PathBuf> {
    ROOTS.iter().map(PathBuf::from).find(|root| root.join("cgroup.controllers").exists())
}

/// The id of a cgroup: its directory's inode. Zero, which no cgroup has, if there is none with that path: a
/// rule for it matches no packet.
pub(crate) fn id(path: &str) -> u64 {
    let directory = root().map(|root| root.join(path.trim_start_matches('/')));
    directory.and_then(|path| std::fs::metadata(path).ok()).map_or(0, |found| found.ino())
}

/// The paths of all cgroups by id.
pub(crate) fn by_id() -> HashMap<u64, String> {
    let mut found = HashMap::new();
    if let Some(root) = root() {
        walk(&root, &root, &mut found);
    }
    found
}

fn walk(directory: &Path, root: &Path, found: &mut HashMap<u64, String>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            let path = entry.path();
            if let Some(relative) = path.strip_prefix(root).ok().and_then(Path::to_str) {
                found.insert(metadata.ino(), relative.to_owned());
            }
            walk(&path, root, found);
        }
    }
}
