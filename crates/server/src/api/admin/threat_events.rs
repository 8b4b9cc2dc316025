//! "Malicious IP Match": traffic with listed peers, by time, asset and address.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::page::{Page, PageQuery};
use xshield_api::threat_events::{AddressView, Losses, ThreatEventQuery};
use xshield_model::alert::EventView;
use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::paging::Pages as _;
use xshield_operations::threat::events;
use xshield_store::Store;

use crate::auth::{Allowed, Viewer};
use crate::problem::Answer;
use crate::query::BothOf;
use crate::signals::ThreatService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_asset))
        .routes(routes!(address))
        .routes(routes!(losses))
}

/// Traffic with listed peers, most recently seen first
#[utoipa::path(get, path = "/api/v1/threat/events", tag = "threat events",
    params(ThreatEventQuery, PageQuery), responses((status = 200, body = Page<EventView>)))]
async fn list(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<ThreatEventQuery, PageQuery>,
) -> Answer<Json<Page<EventView>>> {
    Ok(Json(events::list(&store, &compiler, query, page.paging()?).await?))
}

/// An asset's traffic with listed peers, most recently seen first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/threat-events", tag = "threat events",
    params(("asset" = String, Path, description = "id or name"), ThreatEventQuery, PageQuery),
    responses((status = 200, body = Page<EventView>)))]
async fn of_asset(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    BothOf(mut query, page): BothOf<ThreatEventQuery, PageQuery>,
) -> Answer<Json<Page<EventView>>> {
    query.asset = Some(asset);
    Ok(Json(events::list(&store, &compiler, query, page.paging()?).await?))
}

/// An address: which assets communicated with it and when, and which feeds list it now
#[utoipa::path(get, path = "/api/v1/threat/addresses/{address}", tag = "threat events",
    params(("address" = String, Path)), responses((status = 200, body = AddressView)))]
async fn address(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
    Path(address): Path<String>,
) -> Answer<Json<AddressView>> {
    Ok(Json(events::address(&mut *store.read().await?, &threats, &address).await?))
}

/// Matches that hosts could not record, latest losses first
#[utoipa::path(get, path = "/api/v1/threat/losses", tag = "threat events",
    responses((status = 200, body = Losses)))]
async fn losses(State(store): State<Store>, _: Allowed<Viewer>) -> Answer<Json<Losses>> {
    Ok(Json(events::losses(&mut *store.read().await?).await?))
}
