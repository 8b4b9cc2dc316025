//! The impact of a change of the list's settings, before it is made.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_modes::PrivateRangesImpact;
use xshield_model::Timestamp;
use xshield_operations::threat::private_ranges as ranges;
use xshield_store::Store;

use crate::auth::{Allowed, Viewer};
use crate::problem::Answer;
use crate::signals::ThreatService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(private_ranges))
}

/// The impact of letting feeds list private ranges
#[utoipa::path(get, path = "/api/v1/threat/private-ranges/impact", tag = "threats",
    responses((status = 200, body = PrivateRangesImpact)))]
async fn private_ranges(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
) -> Answer<Json<PrivateRangesImpact>> {
    Ok(Json(ranges::impact(&store, &threats, Timestamp::now()).await?))
}
