//! Notification channels and the record of their deliveries.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::channels::{
    Channel, ChannelInput, Channels, Delivery, DeliveryQuery, WrittenChannel,
};
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_operations::channels;
use xshield_operations::paging::Pages as _;
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::query::BothOf;
use crate::request_body::JsonBody;
use crate::signals::ChannelService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .routes(routes!(test))
        .routes(routes!(list_deliveries))
        .routes(routes!(get_delivery))
}

/// List channels
#[utoipa::path(get, path = "/api/v1/alert-channels", tag = "alerts",
    responses((status = 200, body = Channels)))]
async fn list(State(store): State<Store>, allowed: Allowed<Viewer>) -> Answer<Json<Channels>> {
    let mut conn = store.read().await?;
    Ok(Json(channels::list(&mut conn, allowed.caller(), Timestamp::now()).await?))
}

/// Get a channel
#[utoipa::path(get, path = "/api/v1/alert-channels/{name}", tag = "alerts",
    params(("name" = String, Path)), responses((status = 200, body = Channel)))]
async fn get(
    State(store): State<Store>,
    allowed: Allowed<Viewer>,
    Path(name): Path<String>,
) -> Answer<Json<Channel>> {
    let mut conn = store.read().await?;
    Ok(Json(channels::get(&mut conn, allowed.caller(), &name, Timestamp::now()).await?))
}

/// Create or replace a channel
#[utoipa::path(put, path = "/api/v1/alert-channels/{name}", tag = "alerts",
    params(("name" = String, Path)), request_body = ChannelInput,
    responses((status = 200, body = WrittenChannel)))]
async fn put(
    State(store): State<Store>,
    State(engine): State<ChannelService>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
    JsonBody(input): JsonBody<ChannelInput>,
) -> Answer<Json<WrittenChannel>> {
    let now = Timestamp::now();
    Ok(Json(channels::put(&store, &engine, &allowed, &name, input, now).await?))
}

/// Delete a channel, its pending deliveries and its delivery record
#[utoipa::path(delete, path = "/api/v1/alert-channels/{name}", tag = "alerts",
    params(("name" = String, Path)), responses((status = 204)))]
async fn delete(
    State(store): State<Store>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    channels::delete(&store, &allowed, &name, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send a test message over a channel now, once; returns what the other end answered
#[utoipa::path(post, path = "/api/v1/alert-channels/{name}/test", tag = "alerts",
    params(("name" = String, Path)), responses((status = 200, body = Delivery)))]
async fn test(
    State(store): State<Store>,
    State(engine): State<ChannelService>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<Json<Delivery>> {
    let now = Timestamp::now();
    Ok(Json(channels::test(&store, &engine, &allowed, &name, now).await?))
}

/// List deliveries, newest first
#[utoipa::path(get, path = "/api/v1/deliveries", tag = "alerts", params(DeliveryQuery, PageQuery),
    responses((status = 200, body = Page<Delivery>)))]
async fn list_deliveries(
    State(store): State<Store>,
    allowed: Allowed<Viewer>,
    BothOf(query, page): BothOf<DeliveryQuery, PageQuery>,
) -> Answer<Json<Page<Delivery>>> {
    let (caller, paging) = (allowed.caller(), page.paging()?);
    let mut conn = store.read().await?;
    Ok(Json(channels::list_deliveries(&mut conn, caller, &query, paging).await?))
}

/// Get a delivery, with what was sent
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", tag = "alerts",
    params(("id" = String, Path)), responses((status = 200, body = Delivery)))]
async fn get_delivery(
    State(store): State<Store>,
    allowed: Allowed<Viewer>,
    Path(id): Path<String>,
) -> Answer<Json<Delivery>> {
    let mut conn = store.read().await?;
    Ok(Json(channels::delivery(&mut conn, allowed.caller(), &id).await?))
}
