//! What hosts say of themselves and operators decide about.

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::claims::{About, Claim, Named};
use xshield_model::Timestamp;
use xshield_model::claim;
use xshield_operations::lookup::asset as named;
use xshield_policy::names::Name;
use xshield_store as store;
use xshield_store::commit;

use crate::auth::{Allowed, Operator, Viewer};
use crate::holding::{self, Decision};
use crate::problem::{Answer, JsonBody, Problem};
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(accept))
        .routes(routes!(refuse))
        .routes(routes!(rename))
}

/// A claim as it is shown.
pub(super) fn shown(asset: &Name, claim: &claim::Claim) -> Claim {
    Claim {
        asset: asset.clone(),
        fact: claim.fact.kind().to_owned(),
        value: claim.fact.value(),
        standing: claim.standing,
        reason: claim.reason,
        since: claim.since,
    }
}

/// What waits for an operator, of all assets; at most 10,000
#[utoipa::path(get, path = "/api/v1/claims", tag = "assets",
    responses((status = 200, body = Vec<Claim>)))]
async fn list(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Vec<Claim>>> {
    let waiting = store::claims::waiting(&mut *app.store.read().await?).await?;
    Ok(Json(waiting.iter().map(|(asset, claim)| shown(asset, claim)).collect()))
}

fn decision(about: &About) -> Answer<Decision> {
    about.what.parse().map_err(|reason| Problem::invalid("/what", reason))
}

/// Hold what a host says of itself; an address is taken from the asset that has it
#[utoipa::path(post, path = "/api/v1/assets/{asset}/claims/accept", tag = "assets",
    params(("asset" = String, Path, description = "id or name")), request_body = About,
    responses((status = 200, body = Named)))]
async fn accept(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(about): JsonBody<About>,
) -> Answer<Json<Named>> {
    let decision = decision(&about)?;
    let mut tx = app.store.write().await?;
    let asset = named(&mut tx, &asset).await?;
    let actor = allowed.actor();
    holding::accept(&mut tx, &asset, &decision, &actor, Timestamp::now()).await?;
    let asset = named(&mut tx, asset.id.as_str()).await?;
    commit(tx).await?;
    app.compiler.inventory_changed();
    Ok(Json(Named { name: asset.name }))
}

/// Do not hold what a host says of itself, whatever it says later; take an address from it
#[utoipa::path(post, path = "/api/v1/assets/{asset}/claims/refuse", tag = "assets",
    params(("asset" = String, Path, description = "id or name")), request_body = About,
    responses((status = 200, body = Named)))]
async fn refuse(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(about): JsonBody<About>,
) -> Answer<Json<Named>> {
    let decision = decision(&about)?;
    let mut tx = app.store.write().await?;
    let asset = named(&mut tx, &asset).await?;
    let actor = allowed.actor();
    holding::refuse(&mut tx, &asset, &decision, &actor, Timestamp::now()).await?;
    commit(tx).await?;
    app.compiler.inventory_changed();
    Ok(Json(Named { name: asset.name }))
}

/// Give an asset another name
#[utoipa::path(post, path = "/api/v1/assets/{asset}/rename", tag = "assets",
    params(("asset" = String, Path, description = "id or name")), request_body = Named,
    responses((status = 200, body = Named)))]
async fn rename(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(Named { name }): JsonBody<Named>,
) -> Answer<Json<Named>> {
    let mut tx = app.store.write().await?;
    let asset = named(&mut tx, &asset).await?;
    holding::rename(&mut tx, &asset, &name, &allowed.actor(), Timestamp::now()).await?;
    commit(tx).await?;
    app.compiler.inventory_changed();
    Ok(Json(Named { name }))
}
