//! What operations need of the alerting engine.

use xshield_model::alert_rule::RuleError;
use xshield_model::channel::ChannelSettings;
use xshield_store::deliveries::{StoredChannel, StoredDelivery};

use crate::error::Result;

/// What delivers alerts over channels.
pub trait ChannelEngine: Send + Sync {
    /// Validates settings beyond what the types express: addresses, certificates, encryption.
    ///
    /// # Errors
    /// Names the field.
    fn check(&self, settings: &ChannelSettings) -> std::result::Result<(), RuleError>;

    /// Seals the secret of the channel with this id for the database.
    ///
    /// # Errors
    /// When the system provides no random bytes.
    fn seal(&self, channel: &str, secret: &[u8]) -> Result<String>;

    /// Sends a test alert over a channel, and records the delivery. A channel that doesn't work is not an
    /// error: the delivery contains the result.
    ///
    /// # Errors
    /// When the database fails.
    fn send_test(
        &self,
        channel: &StoredChannel,
    ) -> impl Future<Output = Result<StoredDelivery>> + Send;

    /// A channel has changed: its pending alerts may be delivered now.
    fn channels_changed(&self);
}
