//! Why the files of a threat list can't be fetched, made or kept.

use std::io;
use std::path::PathBuf;

use xshield_host::files::FileError;
use xshield_threat::codec::CodecError;
use xshield_threat::keep::KeepError;
use xshield_transport::{DownloadError, TransportError};

use crate::client::ContactError;
use crate::core::threat::ThreatFailure;

/// Each names the action that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListFileError {
    /// The platform did not say how to get to the list.
    #[error("fetching the threat list failed")]
    Contact(#[from] ContactError),
    /// A file could not be fetched.
    #[error("fetching a file of the threat list failed")]
    Download(#[from] DownloadError),
    /// A file is not the one that was named.
    #[error("a file of the threat list arrived damaged: its length or its SHA-256 differs")]
    WrongFile,
    /// A list or a change is damaged, or the change does not apply.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A list can't be built from what was fetched, or can't be saved.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The files resulted in another list.
    #[error("the files of the threat list resulted in a different list than the ordered one")]
    WrongList,
    /// More elements than the kernel can count.
    #[error("the threat list has more elements than the kernel can hold")]
    TooManyElements,
    /// A stored list, or a file that was just fetched, can't be read.
    #[error("reading {path} failed; the whole list is fetched", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
    /// A file can't be written.
    #[error("{action} {path} failed", path = .path.display())]
    File {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
    /// A state file can't be used.
    #[error(transparent)]
    State(#[from] FileError),
}

impl ListFileError {
    /// Whether the change is at fault, or the list that it changes: then the whole list is fetched.
    fn whole_list_may_help(&self) -> bool {
        match self {
            Self::WrongFile | Self::WrongList | Self::Unreadable { .. } => true,
            Self::Codec(error) | Self::Keep(KeepError::Source(error)) => {
                !matches!(error, CodecError::TooMany { .. })
            }
            Self::Download(
                DownloadError::Status { .. }
                | DownloadError::Transport(TransportError::ResponseTooLarge { .. }),
            ) => true,
            _ => false,
        }
    }
}

impl From<ListFileError> for ThreatFailure {
    fn from(error: ListFileError) -> Self {
        match error.whole_list_may_help() {
            true => Self::Unusable(Box::new(error)),
            false => Self::Failed(Box::new(error)),
        }
    }
}
