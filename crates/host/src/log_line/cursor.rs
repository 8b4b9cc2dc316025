//! How far a log was read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the last run ended. Kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "lowercase")]
pub enum Cursor {
    /// In the journal, after this entry; `None` when it was empty.
    Journal {
        /// journald's own word for the place.
        at: Option<String>,
    },
    /// In a file, at this byte.
    File {
        /// The file.
        path: PathBuf,
        /// Which file had that path then.
        inode: u64,
        /// Bytes read.
        offset: u64,
        /// Recognises what stands before `offset`: a removed file's number is soon given to another.
        mark: String,
    },
    /// In the kernel's ring.
    Kmsg {
        /// The boot that the number belongs to.
        boot_id: String,
        /// The next record's number.
        next: u64,
    },
}
