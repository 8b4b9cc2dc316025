//! The revisions of the list: what changed, and rolling back.

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::page::{Page, PageQuery};
use xshield_api::threat_list::{DiffQuery, Difference, Done, Revision};
use xshield_model::Timestamp;
use xshield_operations::paging::Pages as _;
use xshield_operations::threat::revisions as operations;
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::query::QueryOf;
use crate::signals::ThreatService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(revisions))
        .routes(routes!(diff))
        .routes(routes!(restore))
        .routes(routes!(resume))
}

/// List revisions of the list, newest first
#[utoipa::path(get, path = "/api/v1/threat/revisions", tag = "threats", params(PageQuery),
    responses((status = 200, body = Page<Revision>)))]
async fn revisions(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Revision>>> {
    let mut conn = store.read().await?;
    Ok(Json(operations::list(&mut conn, &threats, page.paging()?).await?))
}

/// The entries added and removed between two revisions
#[utoipa::path(get, path = "/api/v1/threat/diff", tag = "threats", params(DiffQuery),
    responses((status = 200, body = Difference)))]
async fn diff(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
    QueryOf(query): QueryOf<DiffQuery>,
) -> Answer<Json<Difference>> {
    Ok(Json(operations::diff(&store, &threats, &query).await?))
}

/// Roll back to the listings of a revision, less the current exceptions and protected ranges. Feeds are still
/// fetched, but take effect again only after 'resume'.
#[utoipa::path(post, path = "/api/v1/threat/revisions/{revision}/restore", tag = "threats",
    params(("revision" = u64, Path)), responses((status = 200, body = Done)))]
async fn restore(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    Path(revision): Path<String>,
) -> Answer<Json<Done>> {
    let now = Timestamp::now();
    Ok(Json(operations::restore(&store, &threats, &allowed, &revision, now).await?))
}

/// Let feeds take effect again
#[utoipa::path(post, path = "/api/v1/threat/resume", tag = "threats",
    responses((status = 200, body = Done)))]
async fn resume(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
) -> Answer<Json<Done>> {
    Ok(Json(operations::resume(&store, &threats, &allowed, Timestamp::now()).await?))
}
