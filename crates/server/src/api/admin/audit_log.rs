//! The audit log.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::audit::AuditQuery;
use xshield_api::page::{Page, PageQuery};
use xshield_model::audit_entry::AuditEntry;
use xshield_operations::audit_log;
use xshield_operations::paging::Pages as _;
use xshield_store::Store;
use xshield_store::audit::AuditFilter;

use crate::auth::{Allowed, Viewer};
use crate::problem::Answer;
use crate::query::BothOf;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// List audit log entries, newest first
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditQuery, PageQuery),
    responses((status = 200, body = Page<AuditEntry>)))]
async fn list(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<AuditQuery, PageQuery>,
) -> Answer<Json<Page<AuditEntry>>> {
    let paging = page.paging()?;
    let AuditQuery { actor, action, target, since } = query;
    let filter = AuditFilter { actor, action, target, since };
    Ok(Json(audit_log::list(&mut *store.read().await?, &filter, paging).await?))
}
