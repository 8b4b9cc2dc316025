//! `POST /host/v1/reports`: what a host observed. Acknowledged once it is on disk, counted once even when
//! repeated.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use xshield_model::Timestamp;
use xshield_wire::message::{ReportAnswer, VERSION};

use super::signed::{FromHost, session_of};
use crate::intake::{Place, Taken};
use crate::problem::{Answer, Problem};
use crate::state::App;

/// Proof that the host of this session may report now; obtained before any of the body is read.
pub(super) struct Admitted(Place);

impl FromRequestParts<App> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let session = session_of(app, &parts.headers, Timestamp::now())?;
        Ok(Self(app.intake.admit(&session.asset)?))
    }
}

pub(super) async fn take(
    State(app): State<App>,
    Admitted(place): Admitted,
    request: FromHost,
) -> Answer<Json<ReportAnswer>> {
    let FromHost { asset, body, now, .. } = request;
    let received = app.intake.read(Bytes::clone(&body)).await?;
    // Releases its memory for others.
    drop(body);
    let acknowledged = received.batch();
    let outcome = match app.intake.take(place, received, asset.problems, now).await? {
        Taken::Counted => "counted",
        Taken::Known => "known",
    };
    metrics::counter!("xshield_reports_total", "outcome" => outcome).increment(1);
    Ok(Json(ReportAnswer { version: VERSION, acknowledged }))
}
