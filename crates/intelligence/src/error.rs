//! Errors of threat intelligence.

use xshield_model::secrets::SecretError;
use xshield_store::StoreError;
use xshield_wire::envelope;

use crate::files::FileError;

/// An internal failure that callers can't do anything about.
#[derive(Debug, thiserror::Error)]
pub enum ThreatError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An order.
    #[error("could not sign a threat order")]
    Order(#[source] envelope::SealError),
    /// A feed's secret.
    #[error("could not seal or open the secret of feed {feed}")]
    Secret {
        /// The feed.
        feed: String,
        /// The cause.
        #[source]
        source: SecretError,
    },
    /// A feed's secret is not text after opening.
    #[error("the stored secret of feed {feed} is damaged; set it again")]
    SecretNotText {
        /// The feed.
        feed: String,
    },
    /// A background task.
    #[error("a background task failed")]
    Broken(#[from] tokio::task::JoinError),
}
