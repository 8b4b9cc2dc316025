//! What fetches feeds and compiles the list, as operations need it.

use xshield_model::file_name::FileName;
use xshield_threat::FeedId;

use crate::error::Result;

/// What fetches feeds and compiles the threat list.
pub trait ThreatEngine: Send + Sync {
    /// What the list is made of has changed: it is compiled again, now. What goes wrong is shown with
    /// the list; the one of before stays.
    fn compile(&self) -> impl Future<Output = ()> + Send;

    /// Other modes hold from now on, and hosts hear of them.
    ///
    /// # Errors
    /// When the database fails.
    fn modes_changed(&self) -> impl Future<Output = Result<()>> + Send;

    /// Hosts hear of what holds for them by now.
    fn tell_hosts(&self);

    /// A feed is due earlier than it was.
    fn schedule_changed(&self);

    /// Whether a feed is being fetched now.
    fn is_running(&self, feed: &FeedId) -> bool;

    /// Fetches a feed unless that is under way, and waits until it is done, or for a minute.
    fn run(&self, feed: &FeedId) -> impl Future<Output = ()> + Send;

    /// Names what a stored listing lists; nothing when it can't be read.
    ///
    /// # Errors
    /// When it could not be looked at.
    fn content_name(&self, file: FileName) -> impl Future<Output = Result<Option<String>>> + Send;

    /// Seals a feed's secret for the database.
    ///
    /// # Errors
    /// When it is no secret that can be sent, or the system gives no random bytes.
    fn seal(&self, feed: &FeedId, secret: &str) -> Result<String>;
}
