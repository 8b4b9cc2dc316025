//! Reads the files of a configuration, limited in number and size.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Include, MOST, ParsedFile, TimeServer};

/// The most bytes of one file that are read.
const FILE_BYTES: u64 = 256 * 1024;
/// The most files that are read.
const FILES: usize = 64;
/// The deepest nesting of included files.
const DEPTH: usize = 8;

/// The servers of all files so far.
pub(super) struct Files<'a> {
    root: &'a Path,
    read: BTreeSet<PathBuf>,
    servers: BTreeSet<TimeServer>,
}

impl<'a> Files<'a> {
    pub(super) fn under(root: &'a Path) -> Self {
        Self { root, read: BTreeSet::new(), servers: BTreeSet::new() }
    }

    /// Sorted, each once.
    pub(super) fn servers(self) -> Vec<TimeServer> {
        self.servers.into_iter().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    pub(super) fn add(&mut self, servers: Vec<TimeServer>) {
        for server in servers {
            if self.servers.len() < MOST {
                self.servers.insert(server);
            }
        }
    }

    /// Reads a file and those that it includes. A file that does not exist, or was already read, is ignored.
    pub(super) fn read(&mut self, path: &str, parse: fn(&str) -> ParsedFile) {
        let path = self.place(path);
        self.follow(&path, parse, DEPTH);
    }

    fn follow(&mut self, path: &Path, parse: fn(&str) -> ParsedFile, depth: usize) {
        let Some(text) = self.text(path) else { return };
        let said = parse(&text);
        self.add(said.servers);
        let Some(depth) = depth.checked_sub(1) else { return };
        for more in said.more {
            let found = match more {
                Include::Files(pattern) => self.matching(&pattern),
                Include::Directories { paths, suffix } => {
                    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
                    self.in_directories(&paths, suffix)
                }
            };
            for file in found {
                self.follow(&file, parse, depth);
            }
        }
    }

    /// The text of a file that was not read yet.
    pub(super) fn text(&mut self, path: &Path) -> Option<String> {
        if self.read.len() >= FILES || !self.read.insert(path.to_owned()) {
            return None;
        }
        let mut bytes = Vec::new();
        fs::File::open(path).ok()?.take(FILE_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The location of a path of this host under the root.
    pub(super) fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The files in these directories whose names have this suffix, sorted by name; of files with the same
    /// name, the one in the first directory.
    pub(super) fn in_directories(&self, directories: &[&str], suffix: &str) -> Vec<PathBuf> {
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        for directory in directories {
            let place = self.place(directory);
            for name in names(&place) {
                if name.ends_with(suffix) && !found.iter().any(|(known, _)| *known == name) {
                    let path = place.join(&name);
                    found.push((name, path));
                }
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// The file, or those of its directory whose names match.
    fn matching(&self, pattern: &str) -> Vec<PathBuf> {
        let path = self.place(pattern);
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Vec::new();
        };
        let name = name.to_string_lossy();
        if !name.contains(['*', '?']) {
            return vec![path.clone()];
        }
        let mut found = names(directory);
        found.retain(|found| is_match(name.as_bytes(), found.as_bytes()));
        found.into_iter().map(|name| directory.join(name)).collect()
    }
}

/// The names in a directory, sorted; at most as many as are ever read.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).take(1024).collect();
    names.sort_unstable();
    names
}

/// Whether a name matches a pattern with `*` and `?`.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    // The last star, and the end of the part that it matches: it matches one character more if what follows
    // does not match.
    let (mut at, mut of) = (0, 0);
    let mut star = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, of));
                at += 1;
            }
            Some(&letter) if letter == b'?' || letter == name[of] => {
                at += 1;
                of += 1;
            }
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    at = after;
                    of = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&letter| letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_match_patterns() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.old", false),
            ("a?c*", "abcd", true),
            ("a?c*", "acd", false),
            ("*", "", true),
            ("**a*", "bca", true),
            ("?", "", false),
            ("x", "x", true),
        ] {
            assert_eq!(is_match(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
