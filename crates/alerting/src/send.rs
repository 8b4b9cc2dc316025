//! Sends a payload over a channel, once.

use xshield_model::channel::{ChannelSettings, Payload};

use crate::outgoing::{Outgoing, SendError, WITHIN};
use crate::{mail, syslog, webhook};

/// The number of characters kept of an answer.
const MAX_ANSWER: usize = 500;

/// Sends the payload, and returns the receiver's answer.
///
/// # Errors
/// See [`SendError`].
pub async fn send(channel: &ChannelSettings, out: &Outgoing<'_>) -> Result<String, SendError> {
    let sent = async {
        match (channel, out.payload) {
            (ChannelSettings::Mail(settings), Payload::Mail { subject, text }) => {
                mail::send(settings, out, subject, text).await
            }
            (ChannelSettings::Webhook(settings), Payload::Webhook { body }) => {
                webhook::send(settings, out, body).await
            }
            (ChannelSettings::Syslog(settings), Payload::Syslog { messages }) => {
                syslog::send(settings, messages).await
            }
            _ => Err(SendError::OtherKind),
        }
    };
    let answer = tokio::time::timeout(WITHIN, sent).await.map_err(|_| SendError::TooSlow)??;
    Ok(shortened(&answer))
}

/// An answer truncated to the limit.
#[must_use]
pub fn shortened(answer: &str) -> String {
    let line = crate::mail_text::line(answer);
    match line.char_indices().nth(MAX_ANSWER) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}
