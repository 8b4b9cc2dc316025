//! `GET /host/v1/notify`: held open until something is pending that the host does not know yet.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio::time::{Duration, Instant, timeout_at};
use xshield_intelligence::Threats;
use xshield_store::Store;
use xshield_store::pending;
use xshield_wire::control::{NOTIFY_HOLD, Notification};
use xshield_wire::message::VERSION;

use super::signed::SignedRequest;
use crate::held_polls::{self, HeldPolls, LOOK_AGAIN, WakeReason};
use crate::problem::{Answer, ErrorResponse};

#[derive(Debug, Default, Deserialize)]
struct Query {
    #[serde(default)]
    seen: String,
}

pub(super) async fn wait(
    State(store): State<Store>,
    State(threat): State<Arc<Threats>>,
    State(held_polls): State<Arc<HeldPolls>>,
    request: SignedRequest,
) -> Answer<Response> {
    let Query { seen } = serde_urlencoded::from_str(&request.query)
        .map_err(|error| ErrorResponse::invalid("?seen", error.to_string()))?;
    let id = request.asset.id.clone();
    // Thousands of polls are open: each keeps as little memory as possible.
    drop(request);
    let registration = held_polls.register(&id);
    let until = Instant::now() + Duration::from_secs(NOTIFY_HOLD);
    loop {
        let now = pending::of(&mut *store.read().await?, &id).await?;
        let Some(now) = now else { return Err(gone()) };
        let token = held_polls::token(&threat.added_to(now));
        if token != seen {
            metrics::counter!("xshield_notifications_total").increment(1);
            return Ok(Json(Notification { version: VERSION, seen: token }).into_response());
        }
        let look_again = Instant::now() + LOOK_AGAIN;
        match timeout_at(until.min(look_again), registration.wake_reason()).await {
            Ok(WakeReason::CheckNow) => {}
            Ok(WakeReason::Replaced | WakeReason::Closing) => break,
            Err(_) if Instant::now() >= until => break,
            Err(_) => {}
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Deleted or decommissioned while the poll was open; the next request tells which.
fn gone() -> ErrorResponse {
    ErrorResponse::new(StatusCode::UNAUTHORIZED, "asset-unknown", "Unknown asset")
        .detail("the asset was deleted or decommissioned; check in for details")
}
