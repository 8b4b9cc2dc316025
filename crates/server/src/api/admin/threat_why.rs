//! Why an address is blocked or not.

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_why::{Addresses, Explanation};
use xshield_operations::threat::why;

use crate::auth::{Allowed, Viewer};
use crate::problem::Answer;
use crate::request_body::JsonBody;
use crate::signals::ThreatService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(one)).routes(routes!(many))
}

/// Why an address is blocked, since when and by which feeds
#[utoipa::path(get, path = "/api/v1/threat/why/{address}", tag = "threats",
    params(("address" = String, Path)), responses((status = 200, body = Explanation)))]
async fn one(
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
    Path(address): Path<String>,
) -> Answer<Json<Explanation>> {
    Ok(Json(why::why(&threats, &address)?))
}

/// Which of many addresses are on the list, and why; addresses that are not are omitted
#[utoipa::path(post, path = "/api/v1/threat/why", tag = "threats", request_body = Addresses,
    responses((status = 200, body = Vec<Explanation>)))]
async fn many(
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
    JsonBody(asked): JsonBody<Addresses>,
) -> Answer<Json<Vec<Explanation>>> {
    Ok(Json(why::why_many(&threats, asked)?))
}
