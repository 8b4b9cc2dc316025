//! Why a report was not stored.

use std::io;

use tokio::task::JoinError;
use xshield_store::StoreError;

use crate::host_message::HostMessageError;
use crate::limits::TooMany;

/// Why a report was not stored.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The host has sent as much as it may, or enough of its reports are being stored.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Large reports of others take the room.
    #[error("send the report again later")]
    Busy,
    /// It can't be decompressed.
    #[error(transparent)]
    Unpack(io::Error),
    /// It is never accepted.
    #[error(
        "at most {most} bytes after decompression, and a compression ratio of at most {ratio}; send \
         several reports"
    )]
    TooLarge {
        /// Bytes of a decompressed report.
        most: u64,
        /// Bytes to which one byte may decompress.
        ratio: u64,
    },
    /// It is not a report.
    #[error(transparent)]
    Message(#[from] HostMessageError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread ended.
    #[error("could not read or store a report to its end")]
    Ended(#[from] JoinError),
}
