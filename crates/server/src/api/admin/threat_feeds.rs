//! Threat feeds: their configuration and state.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_feeds::{Feed, FeedChange, NewFeed, Preset};
use xshield_intelligence::feed;
use xshield_model::Timestamp;
use xshield_operations::threat::feeds;
use xshield_store::Store;
use xshield_threat::presets::presets;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::request_body::JsonBody;
use crate::signals::ThreatService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_feeds, add))
        .routes(routes!(get, change, delete))
        .routes(routes!(list_presets))
}

/// List threat feeds
#[utoipa::path(get, path = "/api/v1/threat/feeds", tag = "threats",
    responses((status = 200, body = Vec<Feed>)))]
async fn list_feeds(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
) -> Answer<Json<Vec<Feed>>> {
    let mut conn = store.read().await?;
    Ok(Json(feeds::list(&mut conn, &threats, Timestamp::now()).await?))
}

/// Add a threat feed; it runs at once
#[utoipa::path(post, path = "/api/v1/threat/feeds", tag = "threats", request_body = NewFeed,
    responses((status = 201, body = Feed)))]
async fn add(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    JsonBody(new): JsonBody<NewFeed>,
) -> Answer<(StatusCode, Json<Feed>)> {
    let settings = feed::checked(new.settings)?;
    let (wanted, secret) = ((new.name, settings), new.secret.as_deref());
    let now = Timestamp::now();
    let feed = feeds::add(&store, &threats, &allowed, wanted, secret, now).await?;
    Ok((StatusCode::CREATED, Json(feed)))
}

/// Get a threat feed
#[utoipa::path(get, path = "/api/v1/threat/feeds/{name}", tag = "threats",
    params(("name" = String, Path)), responses((status = 200, body = Feed)))]
async fn get(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
    Path(name): Path<String>,
) -> Answer<Json<Feed>> {
    let mut conn = store.read().await?;
    Ok(Json(feeds::get(&mut conn, &threats, &name, Timestamp::now()).await?))
}

/// Change a threat feed; it runs at once
#[utoipa::path(put, path = "/api/v1/threat/feeds/{name}", tag = "threats",
    params(("name" = String, Path)), request_body = FeedChange,
    responses((status = 200, body = Feed)))]
async fn change(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
    JsonBody(change): JsonBody<FeedChange>,
) -> Answer<Json<Feed>> {
    let settings = feed::checked(change.settings)?;
    let (wanted, secret) = ((name.as_str(), settings), change.secret.as_deref());
    let now = Timestamp::now();
    Ok(Json(feeds::change(&store, &threats, &allowed, wanted, secret, now).await?))
}

/// Delete a threat feed; its entries leave the list
#[utoipa::path(delete, path = "/api/v1/threat/feeds/{name}", tag = "threats",
    params(("name" = String, Path)), responses((status = 204)))]
async fn delete(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    feeds::delete(&store, &threats, &allowed, &name, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Well-known feeds, with their terms of use
#[utoipa::path(get, path = "/api/v1/threat/presets", tag = "threats",
    responses((status = 200, body = Vec<Object>)))]
async fn list_presets(_: Allowed<Viewer>) -> Answer<Json<Vec<Preset>>> {
    Ok(Json(presets().into_iter().map(Preset::from).collect()))
}
