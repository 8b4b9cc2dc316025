//! `POST /host/v1/reports`: what a host observed. Acknowledged once it is on disk, counted once even when
//! repeated.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::request::Parts;
use xshield_model::Timestamp;
use xshield_wire::message::{ReportAnswer, VERSION};

use super::signed::{SignedRequest, session_of};
use crate::intake::{Intake, Place, Taken};
use crate::keys::Keys;
use crate::problem::{Answer, ErrorResponse};

/// Proof that the host of this session may report now; obtained before any of the body is read.
pub(super) struct Admitted(Place);

impl<S> FromRequestParts<S> for Admitted
where
    S: Send + Sync,
    Arc<Keys>: FromRef<S>,
    Arc<Intake>: FromRef<S>,
{
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        let keys = Arc::<Keys>::from_ref(state);
        let session = session_of(&keys, &parts.headers, Timestamp::now())?;
        Ok(Self(Arc::<Intake>::from_ref(state).admit(&session.asset)?))
    }
}

pub(super) async fn take(
    State(intake): State<Arc<Intake>>,
    Admitted(place): Admitted,
    request: SignedRequest,
) -> Answer<Json<ReportAnswer>> {
    let SignedRequest { asset, body, now, .. } = request;
    let received = intake.read(Bytes::clone(&body)).await?;
    // Releases its memory for others.
    drop(body);
    let acknowledged = received.batch();
    let outcome = match intake.take(place, received, asset.problems, now).await? {
        Taken::Counted => "counted",
        Taken::Known => "known",
    };
    metrics::counter!("xshield_reports_total", "outcome" => outcome).increment(1);
    Ok(Json(ReportAnswer { version: VERSION, acknowledged }))
}
