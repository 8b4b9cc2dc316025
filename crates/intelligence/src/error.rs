//! What keeps the platform from doing what hosts and feeds need of it.

use xshield_model::secrets::SecretError;
use xshield_store::StoreError;
use xshield_wire::envelope;

use crate::files::FileError;

/// Why it was not done. Callers can't change any of it.
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
        /// Why not.
        #[source]
        source: SecretError,
    },
    /// A feed's secret that was sealed is no text.
    #[error("the stored secret of feed {feed} is damaged; set it again")]
    SecretNotText {
        /// The feed.
        feed: String,
    },
    /// A thread.
    #[error("the work broke off")]
    Broken(#[from] tokio::task::JoinError),
}
