//! Why a threat order is not carried out.

use std::io;
use std::path::PathBuf;

use xshield_firewall::FirewallError;
use xshield_firewall::threat::ThreatError;
use xshield_host::files::FileError;
use xshield_threat::codec::CodecError;
use xshield_threat::keep::KeepError;
use xshield_transport::{DownloadError, TransportError};

use xshield_wire::envelope::EnvelopeError;

use crate::client::ContactError;

/// Each names the action that failed. In every case the list that was in force stays in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThreatFailure {
    /// The platform did not name the files of the list.
    #[error("fetching the threat list failed")]
    Contact(#[from] ContactError),
    /// A file could not be fetched.
    #[error("fetching a file of the threat list failed")]
    Download(#[from] DownloadError),
    /// The platform can't be reached.
    #[error("the ordered threat list is not on this host yet, and the platform can't be reached")]
    NotHere,
    /// The order can't be trusted.
    #[error("the received threat order was refused; the previous one stays in force")]
    Order(#[from] EnvelopeError),
    /// The platform wants an older order than one that was accepted here.
    #[error("the platform wants threat order {wanted}, and this host has had order {floor}")]
    Behind {
        /// The order that the platform wants.
        wanted: u64,
        /// The newest accepted order.
        floor: u64,
    },
    /// The files that the platform named do not result in the list.
    #[error("the files that the platform names for the threat list can't be used: {reason}")]
    Path {
        /// The reason.
        reason: &'static str,
    },
    /// A file differs from the one that the platform named.
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
    /// The kernel refused.
    #[error(transparent)]
    Table(#[from] ThreatError),
    /// The kernel can't be read.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
}

impl ThreatFailure {
    /// Whether the change or the list to which it applies is at fault: then the whole list is fetched.
    pub(crate) fn is_of_the_change(&self) -> bool {
        match self {
            Self::Path { .. } | Self::WrongFile | Self::WrongList | Self::Unreadable { .. } => true,
            Self::Codec(error) | Self::Keep(KeepError::Source(error)) => {
                !matches!(error, CodecError::TooMany { .. })
            }
            Self::Download(
                DownloadError::Status { .. }
                | DownloadError::Transport(TransportError::ResponseTooLarge { .. }),
            ) => true,
            Self::Table(ThreatError::Unreadable { .. } | ThreatError::Miscounted { .. }) => true,
            _ => false,
        }
    }
}
