//! Alert rules and the alerts they raised.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::alerts::{AlertQuery, NamedRule, NumberedAlert, Rules};
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_model::alert_rule::AlertRule;
use xshield_operations::alert_rules;
use xshield_operations::paging::Pages as _;
use xshield_store::Store;
use xshield_store::alerts::AlertFilter;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::query::BothOf;
use crate::request_body::JsonBody;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_rules))
        .routes(routes!(get_rule, put_rule, delete_rule))
        .routes(routes!(list))
}

/// List alert rules
#[utoipa::path(get, path = "/api/v1/alert-rules", tag = "alerts",
    responses((status = 200, body = Rules)))]
async fn list_rules(State(store): State<Store>, _: Allowed<Viewer>) -> Answer<Json<Rules>> {
    Ok(Json(alert_rules::list(&mut *store.read().await?).await?))
}

/// Get an alert rule
#[utoipa::path(get, path = "/api/v1/alert-rules/{name}", tag = "alerts",
    params(("name" = String, Path)), responses((status = 200, body = NamedRule)))]
async fn get_rule(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(name): Path<String>,
) -> Answer<Json<NamedRule>> {
    Ok(Json(alert_rules::get(&mut *store.read().await?, &name).await?))
}

/// Create or replace an alert rule
#[utoipa::path(put, path = "/api/v1/alert-rules/{name}", tag = "alerts",
    params(("name" = String, Path)), request_body = AlertRule,
    responses((status = 200, body = NamedRule)))]
async fn put_rule(
    State(store): State<Store>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
    JsonBody(rule): JsonBody<AlertRule>,
) -> Answer<Json<NamedRule>> {
    let now = Timestamp::now();
    Ok(Json(alert_rules::put(&store, &allowed, &name, rule, now).await?))
}

/// Delete an alert rule
#[utoipa::path(delete, path = "/api/v1/alert-rules/{name}", tag = "alerts",
    params(("name" = String, Path)), responses((status = 204)))]
async fn delete_rule(
    State(store): State<Store>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    alert_rules::delete(&store, &allowed, &name, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List alerts, newest first
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(AlertQuery, PageQuery),
    responses((status = 200, body = Page<NumberedAlert>)))]
async fn list(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<AlertQuery, PageQuery>,
) -> Answer<Json<Page<NumberedAlert>>> {
    let paging = page.paging()?;
    let AlertQuery { rule, asset, address, kind, since } = query;
    let filter = AlertFilter { rule, asset, remote: address, kind, since };
    Ok(Json(alert_rules::alerts(&mut *store.read().await?, &filter, paging).await?))
}
