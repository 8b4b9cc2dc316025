//! The Security log of the double: a file with the records that it holds.
//!
//! It knows of the event log what a reader of flows asks for: the numbers of its records, queries by kinds of
//! events and record number in the form `*[System[(EventID=1 or EventID=2) and (EventRecordID>3)]]`, and
//! bookmarks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file in the double's directory.
const FILE: &str = "security-log.json";

/// The records that the log holds, as XML. The first has the number `oldest`, the others follow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecurityLog {
    /// The number of the first record.
    pub oldest: u64,
    /// The records.
    pub records: Vec<String>,
}

/// What a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    kinds: Vec<u32>,
    above: u64,
}

impl SecurityLog {
    /// Reads the log; without the file it is empty.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn load(directory: &Path) -> io::Result<Self> {
        match fs::read(path(directory)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { oldest: 1, records: Vec::new() })
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the log. A reader meanwhile finds the whole log, before or after.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        let beside = directory.join("security-log.new");
        fs::write(&beside, serde_json::to_vec(self).map_err(io::Error::other)?)?;
        fs::rename(beside, path(directory))
    }

    /// The numbers of the records that a query finds, the lowest first.
    #[must_use]
    pub fn find(&self, query: &Query) -> Vec<u64> {
        let numbered = (self.oldest..).zip(&self.records);
        let found = numbered.filter(|(number, xml)| {
            *number > query.above && kind(xml).is_some_and(|kind| query.kinds.contains(&kind))
        });
        found.map(|(number, _)| number).collect()
    }

    /// The record with this number.
    #[must_use]
    pub fn record(&self, number: u64) -> Option<&str> {
        let index = usize::try_from(number.checked_sub(self.oldest)?).ok()?;
        self.records.get(index).map(String::as_str)
    }
}

impl Query {
    /// Parses the form that is known; `None` for any other, as the event log refuses what it does not know.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("*[System[(")?.strip_suffix(")]]")?;
        let (kinds, above) = inner.split_once(") and (EventRecordID>")?;
        let kind = |term: &str| term.strip_prefix("EventID=")?.parse().ok();
        let kinds = kinds.split(" or ").map(kind).collect::<Option<_>>()?;
        Some(Self { kinds, above: above.parse().ok()? })
    }
}

/// The bookmark of a record, as Windows renders it.
#[must_use]
pub fn bookmark(record: u64) -> String {
    format!(
        "<BookmarkList>\r\n  <Bookmark Channel='Security' RecordId='{record}' IsCurrent='true'/>\r\n\
         </BookmarkList>"
    )
}

/// The record of such a bookmark.
#[must_use]
pub fn bookmarked(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("RecordId='")?;
    rest.split('\'').next()?.parse().ok()
}

fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

fn kind(xml: &str) -> Option<u32> {
    let (_, rest) = xml.split_once("<EventID")?;
    let (_, rest) = rest.split_once('>')?;
    rest.split('<').next()?.trim().parse().ok()
}
