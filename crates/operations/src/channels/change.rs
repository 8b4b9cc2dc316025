//! Creating, changing, testing and deleting channels.

use xshield_api::channels::{ChannelInput, Delivery, WrittenChannel};
use xshield_model::Timestamp;
use xshield_model::channel::ChannelSettings;
use xshield_model::role::Role;
use xshield_store::deliveries::{self, StoredChannel};
use xshield_store::{Store, alerts, word};

use super::deliveries::{Payload, shown as shown_delivery};
use super::engine::ChannelEngine;
use super::read::{known, shown};
use super::secret::Secret;
use crate::alert_rules::checked_name;
use crate::caller::{By, Caller, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{Doing as _, OperationError, Result};
use crate::ids::new_id;

const MOST_CHANNELS: usize = 100;

/// Creates or replaces a channel.
///
/// # Errors
/// When a value is invalid, it uses private addresses and the caller is no admin, there are too many, or the
/// database fails.
pub async fn put(
    store: &Store,
    engine: &impl ChannelEngine,
    by: &By<Operator>,
    name: &str,
    input: ChannelInput,
    now: Timestamp,
) -> Result<WrittenChannel> {
    let name = checked_name(name)?;
    engine.check(&input.settings)?;
    let mut change = AuditedChange::begin(store, by, now).await?;
    let before = deliveries::channel(&mut change, &name).await?;
    permitted(by.caller(), &input.settings, before.as_ref())?;
    if before.is_none() && deliveries::channels(&mut change).await?.len() >= MOST_CHANNELS {
        let detail = format!("there are {MOST_CHANNELS} channels already; delete one");
        return Err(OperationError::conflict("too-many-channels", detail));
    }
    let id = match &before {
        Some(before) => before.id.clone(),
        None => new_id("ch-").doing("make an id for a channel")?,
    };
    let secret = Secret::of(&input, before.as_ref())?;
    let sealed_secret = match &secret {
        Secret::Kept => before.as_ref().and_then(|before| before.sealed_secret.clone()),
        Secret::None => None,
        Secret::Given(bytes) | Secret::Generated(bytes, _) => Some(engine.seal(&id, bytes)?),
    };
    let kept = before.as_ref();
    let channel = StoredChannel {
        name,
        id,
        settings: input.settings,
        sealed_secret,
        state: input.state,
        created_at: kept.map_or(now, |before| before.created_at),
        created_by: kept.map_or_else(|| by.actor(), |before| before.created_by.clone()),
        next_attempt: Timestamp(0),
        failures: 0,
        last_success: kept.and_then(|before| before.last_success),
        last_failure: kept.and_then(|before| before.last_failure),
        last_answer: kept.map_or_else(String::new, |before| before.last_answer.clone()),
    };
    deliveries::put_channel(&mut change, &channel).await?;
    let waiting = deliveries::waiting(&mut change, &channel.id, now).await?;
    let entry = AuditEntry {
        action: "alert-channel.put",
        target: &channel.name,
        before: before.map(|before| before.settings.summary()).unwrap_or_default(),
        after: channel.settings.summary(),
    };
    change.commit(entry).await?;
    engine.channels_changed();
    let generated = match secret {
        Secret::Generated(_, text) => Some(text),
        Secret::None | Secret::Kept | Secret::Given(_) => None,
    };
    Ok(WrittenChannel { channel: shown(by.caller(), channel, waiting), secret: generated })
}

/// Channels to private addresses are for admins: the answers from there, or their absence, would tell
/// operators about networks that they can't reach.
fn permitted(
    caller: &Caller,
    after: &ChannelSettings,
    before: Option<&StoredChannel>,
) -> Result<()> {
    let is_the_same = |before: &StoredChannel| {
        before.settings.allows_private() && before.settings.place() == after.place()
    };
    if !after.allows_private() || caller.role >= Role::Admin || before.is_some_and(is_the_same) {
        return Ok(());
    }
    Err(OperationError::Forbidden {
        detail: "reaching private addresses requires the role admin".to_owned(),
        field: Some("/settings/allow_private"),
    })
}

/// Deletes a channel, its pending deliveries and its delivery record.
///
/// # Errors
/// When there is none of this name, an alert rule uses it, or the database fails.
pub async fn delete(store: &Store, by: &By<Operator>, name: &str, now: Timestamp) -> Result<()> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let rules = alerts::rules(&mut change).await?;
    if let Some(user) = rules.iter().find(|stored| stored.rule.channels.iter().any(|c| c == name)) {
        let detail = format!("alert rule {:?} uses it; change that first", user.name);
        return Err(OperationError::conflict("channel-in-use", detail));
    }
    if !deliveries::delete_channel(&mut change, name).await? {
        return Err(OperationError::not_found("channel", name));
    }
    let (before, after) = (String::new(), String::new());
    change.commit(AuditEntry { action: "alert-channel.delete", target: name, before, after }).await
}

/// Sends a test alert over a channel now, and returns the receiver's answer.
///
/// # Errors
/// When there is none of this name, or the database fails.
pub async fn test(
    store: &Store,
    engine: &impl ChannelEngine,
    by: &By<Operator>,
    name: &str,
    now: Timestamp,
) -> Result<Delivery> {
    let channel = known(&mut *store.read().await?, name).await?;
    let tested = engine.send_test(&channel).await?;
    let (before, after) = (String::new(), word(&tested.state)?);
    let entry = AuditEntry { action: "alert-channel.test", target: name, before, after };
    AuditedChange::begin(store, by, now).await?.commit(entry).await?;
    let allows_private = channel.settings.allows_private();
    Ok(shown_delivery(by.caller(), tested, allows_private, Payload::Shown))
}
