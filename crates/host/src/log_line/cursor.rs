//! The position up to which a log was read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The position at which the last run ended. Kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "lowercase")]
pub enum Cursor {
    /// In the journal, after this entry; `None` when it was empty.
    Journal {
        /// journald's own cursor.
        at: Option<String>,
    },
    /// In a file, at this byte.
    File {
        /// The file.
        path: PathBuf,
        /// The inode of the file at that path then.
        inode: u64,
        /// Bytes read.
        offset: u64,
        /// Identifies the content before `offset`: the inode number of a removed file is soon reused.
        mark: String,
    },
    /// In the kernel's ring buffer.
    Kmsg {
        /// The boot to which the number belongs.
        boot_id: String,
        /// The next record's number.
        next: u64,
    },
}
