//! Channels, as a caller may see them.

use xshield_api::channels::{Channel, Channels};
use xshield_model::Timestamp;
use xshield_model::role::Role;
use xshield_store::Conn;
use xshield_store::deliveries::{self, StoredChannel, Waiting};

use crate::caller::Caller;
use crate::error::{OperationError, Result};

/// The part of a receiver's answer that the caller may see: the text of a receiver in a private network is
/// for admins. A leading number, as in SMTP and HTTP, is shown to everyone.
pub(super) fn visible(caller: &Caller, allows_private: bool, answer: String) -> String {
    if !allows_private || caller.role >= Role::Admin || answer.is_empty() {
        return answer;
    }
    let number = answer
        .split(' ')
        .next()
        .filter(|word| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit()));
    match number {
        Some(number) => format!("{number} (the rest is for admins)"),
        None => "only admins may see the answer".to_owned(),
    }
}

pub(super) fn shown(caller: &Caller, channel: StoredChannel, waiting: Waiting) -> Channel {
    let allows_private = channel.settings.allows_private();
    Channel {
        name: channel.name,
        settings: channel.settings.into(),
        state: channel.state.into(),
        has_secret: channel.sealed_secret.is_some(),
        created_at: channel.created_at,
        created_by: channel.created_by,
        waiting: waiting.all,
        failures: channel.failures,
        next_attempt: Some(channel.next_attempt).filter(|_| channel.failures > 0),
        last_success: channel.last_success,
        last_failure: channel.last_failure,
        last_answer: visible(caller, allows_private, channel.last_answer),
    }
}

/// The stored channel of this name.
pub(super) async fn known(conn: &mut Conn, name: &str) -> Result<StoredChannel> {
    let channel = deliveries::channel(conn, name).await?;
    channel.ok_or_else(|| OperationError::not_found("channel", name))
}

/// All channels.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, caller: &Caller, now: Timestamp) -> Result<Channels> {
    let mut items = Vec::new();
    for channel in deliveries::channels(conn).await? {
        let waiting = deliveries::waiting(conn, &channel.id, now).await?;
        items.push(shown(caller, channel, waiting));
    }
    Ok(Channels { items })
}

/// The channel of this name.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(conn: &mut Conn, caller: &Caller, name: &str, now: Timestamp) -> Result<Channel> {
    let channel = known(conn, name).await?;
    let waiting = deliveries::waiting(conn, &channel.id, now).await?;
    Ok(shown(caller, channel, waiting))
}
