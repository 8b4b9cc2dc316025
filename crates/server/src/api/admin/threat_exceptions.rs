//! Addresses that are never blocked, whatever feeds list.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_list::{Exception, NewException};
use xshield_model::Timestamp;
use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::threat::exceptions;
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::request_body::JsonBody;
use crate::signals::ThreatService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(delete))
}

/// List exceptions
#[utoipa::path(get, path = "/api/v1/threat/exceptions", tag = "threats",
    responses((status = 200, body = Vec<Exception>)))]
async fn list(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    _: Allowed<Viewer>,
) -> Answer<Json<Vec<Exception>>> {
    Ok(Json(exceptions::list(&store, &compiler, Timestamp::now()).await?))
}

/// Never block these addresses from now on
#[utoipa::path(post, path = "/api/v1/threat/exceptions", tag = "threats",
    request_body = NewException, responses((status = 201, body = Exception)))]
async fn add(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    JsonBody(new): JsonBody<NewException>,
) -> Answer<(StatusCode, Json<Exception>)> {
    let (store, compiler, now) = (&store, &compiler, Timestamp::now());
    let added = exceptions::add(store, compiler, &threats, &allowed, new, now).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Delete an exception
#[utoipa::path(delete, path = "/api/v1/threat/exceptions/{id}", tag = "threats",
    params(("id" = String, Path)), responses((status = 204)))]
async fn delete(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    exceptions::delete(&store, &threats, &allowed, &id, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
