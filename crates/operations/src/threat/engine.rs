//! What operations need of the threat engine.

use xshield_model::file_name::FileName;
use xshield_threat::FeedId;

use crate::error::Result;

/// What fetches feeds and compiles the threat list.
pub trait ThreatEngine: Send + Sync {
    /// An input of the list has changed: it is recompiled now. Errors are shown with the list; the previous
    /// one stays in force.
    fn compile(&self) -> impl Future<Output = ()> + Send;

    /// The modes have changed, and hosts are notified.
    ///
    /// # Errors
    /// When the database fails.
    fn modes_changed(&self) -> impl Future<Output = Result<()>> + Send;

    /// Notifies hosts of the current state.
    fn tell_hosts(&self);

    /// A feed is due earlier than it was.
    fn schedule_changed(&self);

    /// Whether a feed is being fetched now.
    fn is_running(&self, feed: &FeedId) -> bool;

    /// Fetches a feed unless that is in progress, and waits until it is done, or for a minute.
    fn run(&self, feed: &FeedId) -> impl Future<Output = ()> + Send;

    /// The digest of a stored listing's content; `None` if it can't be read.
    ///
    /// # Errors
    /// When the check fails.
    fn content_name(&self, file: FileName) -> impl Future<Output = Result<Option<String>>> + Send;

    /// Seals a feed's secret for the database.
    ///
    /// # Errors
    /// When the secret can't be sent as it is, or the system provides no random bytes.
    fn seal(&self, feed: &FeedId, secret: &str) -> Result<String>;
}
