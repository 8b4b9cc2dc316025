//! Delivers alerts over channels, independently for each channel, until the receiver has accepted them.
//!
//! An attempt is recorded before it is made, and its outcome after it: when the platform stops in between,
//! the same payload is sent again with the same id. A failing channel is retried after growing delays; alerts
//! that accumulate meanwhile are sent as one digest.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use xshield_model::Timestamp;
use xshield_model::alert::{Alert, AlertKind, NAME, Severity};
use xshield_model::alert_rule::RuleState;
use xshield_model::delivery::{DeliveryKind, DeliveryState};
use xshield_model::secrets::Secrets;
use xshield_store::alerts::StoredAlert;
use xshield_store::deliveries::{NewDelivery, StoredChannel, StoredDelivery};
use xshield_store::ids::{new_id, random};
use xshield_store::{Store, StoreError, StoreResult, commit, deliveries};

use crate::outgoing::{Outgoing, Secret, SendError};
use crate::payload::{self, DeliveryInfo};
use crate::send::{send, shortened};
use crate::wake::Wake;

/// The maximum time between two checks of the channels.
const EVERY: Duration = Duration::from_secs(5);
/// More alerts than these are sent as one digest.
const ONE_BY_ONE: u64 = 3;
/// The longest delay for a failing channel, in seconds.
const LONGEST_PAUSE: i64 = 3600;
/// A delivery that fails for this long is given up, in seconds.
const GIVE_UP_AFTER: i64 = 7 * 24 * 3600;

/// Delivers over channels.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Channels, pending alerts and deliveries.
    pub store: Store,
    /// Wakes the delivery.
    pub wake: Arc<Wake>,
    /// Opens the channels' secrets.
    pub secrets: Arc<dyn Secrets>,
    /// The platform's URL, for people.
    pub platform: String,
    /// Seconds until the first retry of a failed delivery.
    pub retry_first: i64,
}

/// Runs until the platform shuts down.
pub async fn run(delivery: Delivery) {
    let mut working = JoinSet::new();
    let mut busy = HashSet::new();
    loop {
        match due_channels(&delivery).await {
            Ok(channels) => {
                for channel in channels {
                    if busy.insert(channel.id.clone()) {
                        working.spawn(work(delivery.clone(), channel));
                    }
                }
            }
            Err(error) => tracing::error!(%error, "could not read the alert channels"),
        }
        tokio::select! {
            () = delivery.wake.due.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
            Some(done) = working.join_next() => match done {
                Ok(id) => {
                    busy.remove(&id);
                }
                // The work on a channel panicked: its id is lost, so all are checked again.
                Err(error) => {
                    tracing::error!(%error, "a delivery task failed");
                    working.abort_all();
                    while working.join_next().await.is_some() {}
                    busy.clear();
                }
            },
        }
    }
}

/// Channels that are due and have something to deliver.
async fn due_channels(by: &Delivery) -> StoreResult<Vec<StoredChannel>> {
    let now = Timestamp::now();
    let mut conn = by.store.read().await?;
    let mut due = Vec::new();
    for channel in deliveries::channels(&mut conn).await? {
        if channel.state == RuleState::Disabled || channel.next_attempt > now {
            continue;
        }
        let has_notices = deliveries::waiting(&mut conn, &channel.id, now).await?.due > 0;
        if has_notices || deliveries::next(&mut conn, &channel.id).await?.is_some() {
            due.push(channel);
        }
    }
    Ok(due)
}

/// Delivers what is due on a channel, until nothing is left or an attempt fails. Returns the channel's id.
async fn work(by: Delivery, channel: StoredChannel) -> String {
    loop {
        match deliver_next(&by, &channel).await {
            Ok(DeliveryOutcome::Delivered) => {}
            Ok(DeliveryOutcome::Nothing | DeliveryOutcome::Failed) => break,
            Err(error) => {
                tracing::error!(%error, channel.name, "could not record a delivery");
                break;
            }
        }
    }
    channel.id
}

enum DeliveryOutcome {
    Delivered,
    Failed,
    Nothing,
}

async fn deliver_next(by: &Delivery, channel: &StoredChannel) -> StoreResult<DeliveryOutcome> {
    let waiting = deliveries::next(&mut *by.store.read().await?, &channel.id).await?;
    let delivery = match waiting {
        Some(delivery) => delivery,
        None => match form(by, channel).await? {
            Some(delivery) => delivery,
            None => return Ok(DeliveryOutcome::Nothing),
        },
    };
    let mut tx = by.store.write().await?;
    deliveries::attempt(&mut tx, &delivery.id, Timestamp::now()).await?;
    commit(tx).await?;
    let sent = try_once(by, channel, &delivery).await;
    record(by, channel, &delivery, sent).await
}

/// Creates the next delivery from what is due.
async fn form(by: &Delivery, channel: &StoredChannel) -> StoreResult<Option<StoredDelivery>> {
    let now = Timestamp::now();
    let mut tx = by.store.write().await?;
    let waiting = deliveries::waiting(&mut tx, &channel.id, now).await?;
    let together = waiting.due > ONE_BY_ONE || waiting.digests > 0 || channel.failures > 0;
    let most = if together { channel.settings.alerts_at_once() } else { 1 };
    let due = deliveries::take_due(&mut tx, &channel.id, now, most).await?;
    if due.is_empty() {
        // Damaged ones may have been removed.
        commit(tx).await?;
        return Ok(None);
    }
    let kind = if due.len() == 1 { DeliveryKind::Alert } else { DeliveryKind::Digest };
    let id = delivery_id()?;
    let info = DeliveryInfo { id: &id, kind, at: now, platform: &by.platform };
    let payload = payload::of(&due, &channel.settings, info);
    let alerts = due.len() as u64;
    let new = NewDelivery { id: &id, channel: &channel.id, kind, alerts, payload: &payload };
    deliveries::insert(&mut tx, &new, DeliveryState::Waiting, now).await?;
    commit(tx).await?;
    deliveries::get(&mut *by.store.read().await?, &id).await
}

fn delivery_id() -> StoreResult<String> {
    new_id("dl-").map_err(|error| StoreError::damaged("name a delivery", error))
}

async fn try_once(
    by: &Delivery,
    channel: &StoredChannel,
    delivery: &StoredDelivery,
) -> Result<String, SendError> {
    let Some(payload) = &delivery.payload else { return Err(SendError::Damaged) };
    let secret = channel
        .sealed_secret
        .as_ref()
        .map(|sealed| by.secrets.open(&sealed_for(&channel.id), sealed))
        .transpose()
        .map_err(|_| SendError::Secret)?
        .map(Secret);
    let out = Outgoing {
        id: &delivery.id,
        created_at: delivery.created_at,
        payload,
        secret: secret.as_ref(),
        platform: &by.platform,
    };
    send(&channel.settings, &out).await
}

/// The context that a channel's secret is bound to.
#[must_use]
pub fn sealed_for(channel: &str) -> String {
    format!("alert channel {channel}")
}

async fn record(
    by: &Delivery,
    channel: &StoredChannel,
    delivery: &StoredDelivery,
    sent: Result<String, SendError>,
) -> StoreResult<DeliveryOutcome> {
    let now = Timestamp::now();
    let mut tx = by.store.write().await?;
    let outcome = match &sent {
        Ok(answer) => {
            deliveries::settle(&mut tx, &delivery.id, DeliveryState::Delivered, answer).await?;
            deliveries::channel_works(&mut tx, &channel.id, answer, now).await?;
            DeliveryOutcome::Delivered
        }
        Err(error) => {
            let answer = shortened(&error.to_string());
            let over = delivery.created_at.plus(GIVE_UP_AFTER) <= now;
            if error.is_final() || over {
                tracing::error!(channel.name, delivery.id, answer, "giving up a delivery");
                deliveries::settle(&mut tx, &delivery.id, DeliveryState::GivenUp, &answer).await?;
            } else {
                tracing::warn!(channel.name, delivery.id, answer, "a delivery failed");
                deliveries::settle(&mut tx, &delivery.id, DeliveryState::Waiting, &answer).await?;
            }
            if error.is_final() {
                // The channel itself works.
                DeliveryOutcome::Delivered
            } else {
                // Only the database knows about failures since the work began.
                let failures = deliveries::channel(&mut tx, &channel.name).await?;
                let failures = failures.map_or(0, |channel| channel.failures);
                let pause = pause(by.retry_first, failures);
                let next = now.plus(asked_to_wait(error.retry_after()).max(pause));
                deliveries::channel_fails(&mut tx, &channel.id, &answer, now, next).await?;
                DeliveryOutcome::Failed
            }
        }
    };
    commit(tx).await?;
    let label = if sent.is_ok() { "delivered" } else { "failed" };
    metrics::counter!("xshield_deliveries_total", "outcome" => label).increment(1);
    Ok(outcome)
}

/// Seconds until the next attempt: doubled after each failure, plus or minus a quarter.
fn pause(first: i64, failures: u32) -> i64 {
    let doubled = first.saturating_mul(1 << failures.min(20)).clamp(1, LONGEST_PAUSE);
    // Without random bytes the delay is not randomized.
    let spread = random::<2>().map_or(0, |bytes| i64::from(u16::from_le_bytes(bytes)));
    let half = doubled / 2;
    doubled - half / 2 + spread % (half + 1)
}

/// The delay that a receiver asks for, in seconds, at most that of a failing one.
fn asked_to_wait(said: Option<u64>) -> i64 {
    said.map_or(0, |seconds| i64::try_from(seconds).unwrap_or(i64::MAX).min(LONGEST_PAUSE))
}

/// The alert for testing a channel.
fn test_alert(channel: &str, now: Timestamp) -> Alert {
    Alert {
        name: format!("Test of {NAME}"),
        kind: AlertKind::Test,
        severity: Severity::Low,
        rule: "test".to_owned(),
        at: now,
        summary: format!("Test of the channel {channel}: alerts will arrive here"),
        withheld: 0,
        counted: None,
        event: None,
    }
}

/// Tests a channel now, once, and records the delivery.
///
/// # Errors
/// When the database fails. A channel that doesn't work is not an error.
pub async fn test(by: &Delivery, channel: &StoredChannel) -> StoreResult<StoredDelivery> {
    let now = Timestamp::now();
    let id = delivery_id()?;
    let info = DeliveryInfo { id: &id, kind: DeliveryKind::Test, at: now, platform: &by.platform };
    let alert = StoredAlert { id: 0, alert: test_alert(&channel.name, now) };
    let payload = payload::of(&[alert], &channel.settings, info);
    let kind = DeliveryKind::Test;
    let new = NewDelivery { id: &id, channel: &channel.id, kind, alerts: 0, payload: &payload };
    let mut tx = by.store.write().await?;
    // Not pending: nothing else should try it, and it is not retried.
    deliveries::insert(&mut tx, &new, DeliveryState::GivenUp, now).await?;
    deliveries::attempt(&mut tx, &id, now).await?;
    commit(tx).await?;
    let lost = || StoreError::damaged("read a delivery back", format!("there is no {id}"));
    let delivery = deliveries::get(&mut *by.store.read().await?, &id).await?.ok_or_else(lost)?;
    let sent = try_once(by, channel, &delivery).await;
    let mut tx = by.store.write().await?;
    match sent {
        Ok(answer) => {
            deliveries::settle(&mut tx, &id, DeliveryState::Delivered, &answer).await?;
            // Pending alerts need not wait any longer.
            deliveries::channel_works(&mut tx, &channel.id, &answer, Timestamp::now()).await?;
        }
        Err(error) => {
            let answer = shortened(&error.to_string());
            deliveries::settle(&mut tx, &id, DeliveryState::GivenUp, &answer).await?;
        }
    }
    commit(tx).await?;
    by.wake.due.notify_one();
    deliveries::get(&mut *by.store.read().await?, &id).await?.ok_or_else(lost)
}
