//! Feeds in local files of the platform's machine.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use xshield_model::feed::FeedSettings;
use xshield_threat::feed::taxii::{Bookmark, Extent};
use xshield_threat::feed::{FeedError, Format, Limits, contents};
use xshield_threat::guard::Empty;

use super::visit::{Pages, ReadError, Visit, VisitOutcome};
use xshield_http_client::body::unpacked;

impl Visit {
    pub(super) fn read_path(&self, path: &Path) -> Result<VisitOutcome, ReadError> {
        // An empty file among others contributes nothing; a feed of only empty files is empty.
        let mut left = Limits { empty: Empty::Allowed, ..self.settings.limits() };
        let mut pages = Pages::default();
        let files = self.files(path)?;
        let is_directory = files.iter().any(|file| file != path);
        let of_misp = is_directory && self.settings.format == Format::Misp;
        for file in &files {
            let failed = |source| ReadError::File { path: file.clone(), source };
            let bytes = unpacked(File::open(file).map_err(failed)?, self.settings.max_bytes);
            let FeedSettings { format, confidence, .. } = &self.settings;
            let read = contents(format, bytes.map_err(failed)?, left, *confidence, self.now.unix());
            let read = match read {
                // An event of a MISP feed may have no attributes, or none that is an entry.
                Err(FeedError::NoList { .. }) if of_misp => continue,
                Err(FeedError::NothingUsable { rejected }) if of_misp => {
                    pages.read.rejected += rejected;
                    continue;
                }
                read => read,
            };
            let read = read.map_err(|source| match is_directory {
                true => ReadError::InFile { path: file.clone(), source },
                false => source.into(),
            })?;
            left.total_bytes = left.total_bytes.saturating_sub(read.summary.bytes);
            left.entries = left.entries.saturating_sub(read.summary.entries);
            let name = file.file_name().filter(|_| is_directory);
            pages.add(read, name.map(|name| name.to_string_lossy().into_owned()));
        }
        if pages.records == 0 && self.settings.empty == Empty::Refused {
            return Err(FeedError::Empty.into());
        }
        Ok(self.changed(pages, Extent::Whole, Bookmark::default()))
    }

    /// The file, or the files of the directory sorted by name, without files that are not lists.
    fn files(&self, path: &Path) -> Result<Vec<PathBuf>, ReadError> {
        let failed = |source| ReadError::File { path: path.to_owned(), source };
        let found = if fs::metadata(path).map_err(failed)?.is_dir() {
            let entries = fs::read_dir(path).map_err(failed)?;
            let entries = entries.map(|entry| entry.map(|entry| entry.path()));
            let mut found = entries.collect::<io::Result<Vec<_>>>().map_err(failed)?;
            let is_misp = self.settings.format == Format::Misp;
            let is_list = |path: &PathBuf| {
                path.file_name().is_some_and(|name| {
                    // Stored beside the events of a MISP feed.
                    let is_index = is_misp && (name == "manifest.json" || name == "hashes.csv");
                    !is_left_over(name) && !is_index
                })
            };
            found.retain(|path| path.is_file() && is_list(path));
            found.sort();
            found
        } else {
            vec![path.to_owned()]
        };
        let own = fs::canonicalize(&self.data_dir).map_err(failed)?;
        for path in &found {
            let failed = |source| ReadError::File { path: path.clone(), source };
            let really = fs::canonicalize(path).map_err(failed)?;
            if really.starts_with(&own) || !really.is_file() {
                return Err(ReadError::NoFeed { path: path.clone() });
            }
        }
        Ok(found)
    }
}

/// Whether a file of a directory is hidden, or a leftover of an editor, a package manager or an interrupted
/// copy.
fn is_left_over(name: &OsStr) -> bool {
    const ENDINGS: [&str; 14] = [
        "~",
        ".bak",
        ".old",
        ".orig",
        ".rej",
        ".save",
        ".swo",
        ".swp",
        ".tmp",
        ".part",
        ".dpkg-dist",
        ".rpmnew",
        ".rpmorig",
        ".rpmsave",
    ];
    let name = name.to_string_lossy().to_ascii_lowercase();
    name.starts_with('.')
        || (name.starts_with('#') && name.ends_with('#'))
        || [".dpkg-old", ".dpkg-new", ".dpkg-tmp"].iter().any(|ending| name.ends_with(ending))
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editor_and_package_manager_leftovers_are_ignored() {
        for (name, left_over) in [
            ("list.txt", false),
            ("list", false),
            ("2026-11-30.csv.gz", false),
            ("swp", false),
            ("bak.txt", false),
            ("#1.txt", false),
            ("list~1", false),
            (".list.txt", true),
            (".list.txt.swp", true),
            (".#list.txt", true),
            ("#list.txt#", true),
            ("list.txt~", true),
            ("list.txt.~1~", true),
            ("list.txt.bak", true),
            ("LIST.BAK", true),
            ("list.txt.orig", true),
            ("list.txt.tmp", true),
            ("list.txt.dpkg-old", true),
            ("list.txt.rpmsave", true),
        ] {
            assert_eq!(is_left_over(OsStr::new(name)), left_over, "{name}");
        }
    }
}
