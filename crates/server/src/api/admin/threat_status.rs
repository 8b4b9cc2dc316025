//! The state of the list on the platform and on every host.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_status::Status;
use xshield_model::Timestamp;
use xshield_operations::threat::status as list_status;
use xshield_store::Store;

use crate::auth::{Allowed, Viewer};
use crate::problem::Answer;
use crate::signals::ThreatService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(status))
}

/// The state of the list on the platform and on the hosts
#[utoipa::path(get, path = "/api/v1/threat/status", tag = "threats",
    responses((status = 200, body = Status)))]
async fn status(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
) -> Answer<Json<Status>> {
    Ok(Json(list_status::status(&store, &threats, Timestamp::now()).await?))
}
