//! The record of deliveries over channels.

use std::collections::HashSet;

use xshield_api::channels::{Delivery, DeliveryQuery};
use xshield_api::page::Page;
use xshield_store::Conn;
use xshield_store::deliveries::{self, StoredDelivery};

use super::read::visible;
use crate::caller::Caller;
use crate::error::{OperationError, Result};
use crate::paging::{Paging, paged};

/// Whether the payload is shown.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Payload {
    /// It is.
    Shown,
    /// It is omitted.
    LeftOut,
}

pub(super) fn shown(
    caller: &Caller,
    stored: StoredDelivery,
    allows_private: bool,
    payload: Payload,
) -> Delivery {
    Delivery {
        id: stored.id,
        channel: stored.channel,
        kind: stored.kind.into(),
        state: stored.state.into(),
        alerts: stored.alerts,
        attempts: stored.attempts,
        created_at: stored.created_at,
        last_attempt: stored.last_attempt,
        answer: visible(caller, allows_private, stored.answer),
        payload: stored.payload.filter(|_| payload == Payload::Shown).map(Into::into),
    }
}

/// The names of the channels that may use private addresses.
async fn private_channels(conn: &mut Conn) -> Result<HashSet<String>> {
    let channels = deliveries::channels(conn).await?.into_iter();
    let private = channels.filter(|channel| channel.settings.allows_private());
    Ok(private.map(|channel| channel.name).collect())
}

/// Deliveries, newest first, without their payloads.
///
/// # Errors
/// When the database fails.
pub async fn list_deliveries(
    conn: &mut Conn,
    caller: &Caller,
    query: &DeliveryQuery,
    paging: Paging<i64>,
) -> Result<Page<Delivery>> {
    let channel = query.channel.as_deref();
    let found =
        deliveries::list(conn, channel, query.state, paging.after, paging.to_read()).await?;
    let private = private_channels(conn).await?;
    let show = |stored: StoredDelivery| {
        let allows_private = private.contains(&stored.channel);
        shown(caller, stored, allows_private, Payload::LeftOut)
    };
    Ok(paged(found, paging.limit, |found| found.number, show))
}

/// The delivery of this id, with what was sent.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn delivery(conn: &mut Conn, caller: &Caller, id: &str) -> Result<Delivery> {
    let found = deliveries::get(conn, id).await?;
    let found = found.ok_or_else(|| OperationError::not_found("delivery", id))?;
    let allows_private = private_channels(conn).await?.contains(&found.channel);
    Ok(shown(caller, found, allows_private, Payload::Shown))
}
