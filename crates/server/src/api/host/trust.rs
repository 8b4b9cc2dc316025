//! `GET /host/v1/trust`: the keys and certificates that hosts of this platform trust. Nothing in it is
//! secret, and a client must not trust it merely because this server sent it: deployment keys carry its
//! digest.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::trust::PublicTrust;
use xshield_wire::message::Message as _;

use super::ruleset::has;
use crate::client::Client;
use crate::host_access::HostAccess;
use crate::limits::Limits;
use crate::problem::{Answer, ErrorResponse};
use crate::state::App;

/// It only changes with the platform's keys.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Documented together with the operator API, since it needs no signature.
pub(in crate::api) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get))
}

/// The trust information for hosts of this platform: public; verify it by the digest in a deployment key
#[utoipa::path(get, path = "/host/v1/trust", tag = "hosts", security(()),
    responses((status = 200, body = PublicTrust)))]
async fn get(
    State(limits): State<Arc<Limits>>,
    State(access): State<HostAccess>,
    Extension(Client(from)): Extension<Client>,
    headers: HeaderMap,
) -> Answer<Response> {
    limits.trust(from.ip())?;
    let trust = access.trust().map_err(|error| ErrorResponse::internal(&error))?;
    let digest = trust.digest().to_string();
    let etag = HeaderValue::from_str(&format!("\"{digest}\""))
        .map_err(|error| ErrorResponse::internal(&error))?;
    let about = [(header::ETAG, etag), (header::CACHE_CONTROL, KEPT)];
    if has(&headers, &digest) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    let body = trust.to_json().map_err(|error| ErrorResponse::internal(&error))?;
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((about, kind, body).into_response())
}
