//! The secret of a channel: given, kept, or generated.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use xshield_api::channels::ChannelInput;
use xshield_model::channel::ChannelSettings;
use xshield_store::deliveries::StoredChannel;

use crate::error::{Doing as _, OperationError, Result};
use crate::ids::random;

const LONGEST_SECRET: usize = 1024;
/// The prefix of webhook secrets (Standard Webhooks).
const WEBHOOK_SECRET: &str = "whsec_";

/// The secret of a written channel.
pub(super) enum Secret {
    /// None.
    None,
    /// The stored one.
    Kept,
    /// Given by the operator.
    Given(Vec<u8>),
    /// A new one, and its text, which is shown once.
    Generated(Vec<u8>, String),
}

impl Secret {
    /// The secret as the operator requests. The stored secret is kept only for the same receiver.
    ///
    /// # Errors
    /// When the secret does not fit the channel, or is missing.
    pub(super) fn of(input: &ChannelInput, before: Option<&StoredChannel>) -> Result<Self> {
        let refuse = |reason: String| Err(OperationError::invalid("/secret", reason));
        if input.secret.as_ref().is_some_and(|secret| secret.len() > LONGEST_SECRET) {
            return refuse(format!("longer than {LONGEST_SECRET} bytes"));
        }
        let same_receiver = |before: &StoredChannel| {
            before.sealed_secret.is_some()
                && before.settings.receiver() == input.settings.receiver()
        };
        let can_keep = before.is_some_and(same_receiver);
        match (&input.settings, &input.secret) {
            (ChannelSettings::Mail(mail), secret) => match (&mail.username, secret) {
                (Some(_), Some(password)) => Ok(Self::Given(password.clone().into_bytes())),
                (Some(_), None) if can_keep => Ok(Self::Kept),
                (Some(_), None) => refuse(
                    "password required: none is stored, or the stored one is for another server"
                        .to_owned(),
                ),
                (None, Some(_)) => refuse("a password requires a username".to_owned()),
                (None, None) => Ok(Self::None),
            },
            (ChannelSettings::Webhook(_), Some(secret)) => Ok(Self::Given(webhook_secret(secret)?)),
            (ChannelSettings::Webhook(_), None) if can_keep => Ok(Self::Kept),
            (ChannelSettings::Webhook(_), None) => {
                let bytes = random::<32>().doing("generate a webhook's secret")?.to_vec();
                let text = format!("{WEBHOOK_SECRET}{}", STANDARD.encode(&bytes));
                Ok(Self::Generated(bytes, text))
            }
            (ChannelSettings::Syslog(_), Some(_)) => refuse("syslog has no secret".to_owned()),
            (ChannelSettings::Syslog(_), None) => Ok(Self::None),
        }
    }
}

/// Parses a webhook secret: `whsec_` and 24 to 64 bytes as base64.
fn webhook_secret(text: &str) -> Result<Vec<u8>> {
    let refuse = || {
        let reason = format!("expected {WEBHOOK_SECRET} and 24 to 64 bytes as base64");
        OperationError::invalid("/secret", reason)
    };
    let encoded = text.strip_prefix(WEBHOOK_SECRET).ok_or_else(refuse)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| refuse())?;
    if (24..=64).contains(&bytes.len()) { Ok(bytes) } else { Err(refuse()) }
}
