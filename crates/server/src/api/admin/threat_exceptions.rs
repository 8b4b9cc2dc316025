//! Addresses that are never blocked, whatever feeds list.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_list::{Exception, NewException};
use xshield_model::Timestamp;
use xshield_operations::threat::exceptions;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::request_body::JsonBody;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(delete))
}

/// List exceptions
#[utoipa::path(get, path = "/api/v1/threat/exceptions", tag = "threats",
    responses((status = 200, body = Vec<Exception>)))]
async fn list(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Vec<Exception>>> {
    Ok(Json(exceptions::list(&app.store, &app.compiler, Timestamp::now()).await?))
}

/// Never block these addresses from now on
#[utoipa::path(post, path = "/api/v1/threat/exceptions", tag = "threats",
    request_body = NewException, responses((status = 201, body = Exception)))]
async fn add(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    JsonBody(new): JsonBody<NewException>,
) -> Answer<(StatusCode, Json<Exception>)> {
    let (store, compiler, now) = (&app.store, &app.compiler, Timestamp::now());
    let added = exceptions::add(store, compiler, &*app, &allowed, new, now).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Delete an exception
#[utoipa::path(delete, path = "/api/v1/threat/exceptions/{id}", tag = "threats",
    params(("id" = String, Path)), responses((status = 204)))]
async fn delete(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    exceptions::delete(&app.store, &*app, &allowed, &id, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
