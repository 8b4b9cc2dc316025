//! What checks channels and delivers over them, as operations need it.

use xshield_model::alert_rule::RuleError;
use xshield_model::channel::ChannelSettings;
use xshield_store::deliveries::{StoredChannel, StoredDelivery};

use crate::error::Result;

/// What delivers alerts over channels.
pub trait ChannelEngine: Send + Sync {
    /// Checks settings as far as types alone can't: addresses, certificates, encryption.
    ///
    /// # Errors
    /// Names the field.
    fn check(&self, settings: &ChannelSettings) -> std::result::Result<(), RuleError>;

    /// Seals the secret of the channel with this id for the database.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    fn seal(&self, channel: &str, secret: &[u8]) -> Result<String>;

    /// Sends one test alert over a channel, and records the delivery. A channel that doesn't work is no
    /// error: the delivery says so.
    ///
    /// # Errors
    /// When the database fails.
    fn send_test(
        &self,
        channel: &StoredChannel,
    ) -> impl Future<Output = Result<StoredDelivery>> + Send;

    /// A channel has changed: alerts that wait for it may be delivered now.
    fn channels_changed(&self);
}
