//! Enforcement keys and registration tokens: created and shown once, rotated with an overlap, revoked.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::keys::{CreatedKey, Host, Key, NewKey, Rotation};
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_operations::enforcement_keys::{self, Issuer, PlatformAccess};
use xshield_operations::paging::Pages as _;
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::host_access::HostAccess;
use crate::keys::Keys;
use crate::problem::{Answer, ErrorResponse};
use crate::query::QueryOf;
use crate::request_body::JsonBody;
use crate::sealed::Seal;
use crate::settings::Settings;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(hosts))
        .routes(routes!(rotate))
        .routes(routes!(revoke))
}

/// List enforcement keys
#[utoipa::path(get, path = "/api/v1/enforcement-keys", tag = "enforcement keys",
    params(PageQuery), responses((status = 200, body = Page<Key>)))]
async fn list(
    State(store): State<Store>,
    State(settings): State<Arc<Settings>>,
    _: Allowed<Viewer>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Key>>> {
    let paging = page.paging()?;
    let (warning, now) = (settings.key_expiry_warning, Timestamp::now());
    let mut conn = store.read().await?;
    Ok(Json(enforcement_keys::list(&mut conn, paging, warning, now).await?))
}

/// Get an enforcement key
#[utoipa::path(get, path = "/api/v1/enforcement-keys/{id}", tag = "enforcement keys",
    params(("id" = String, Path)), responses((status = 200, body = Key)))]
async fn get(
    State(store): State<Store>,
    State(settings): State<Arc<Settings>>,
    _: Allowed<Viewer>,
    Path(id): Path<String>,
) -> Answer<Json<Key>> {
    let (warning, now) = (settings.key_expiry_warning, Timestamp::now());
    Ok(Json(enforcement_keys::get(&mut *store.read().await?, &id, warning, now).await?))
}

/// The hosts whose last session was set up with a key, by name
#[utoipa::path(get, path = "/api/v1/enforcement-keys/{id}/hosts", tag = "enforcement keys",
    params(("id" = String, Path), PageQuery), responses((status = 200, body = Page<Host>)))]
async fn hosts(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(id): Path<String>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Host>>> {
    let paging = page.paging()?;
    Ok(Json(enforcement_keys::hosts(&mut *store.read().await?, &id, paging).await?))
}

/// Issues keys of this platform.
fn issuer<'a>(
    access: &HostAccess,
    keys: &'a Keys,
    settings: &Settings,
) -> Answer<Issuer<'a, Seal>> {
    let platform = PlatformAccess {
        url: access.public_url(),
        domain: access.public_domain(),
        policy_key: access.policy_key(),
        ca_pem: access.ca_pem().to_owned(),
        trust: access.trust().map_err(|error| ErrorResponse::internal(&error))?.digest(),
    };
    Ok(Issuer { seal: &keys.seal, platform, expiry_warning: settings.key_expiry_warning })
}

/// Create an enforcement key or a registration token
#[utoipa::path(post, path = "/api/v1/enforcement-keys", tag = "enforcement keys",
    request_body = NewKey, responses((status = 201, body = CreatedKey)))]
async fn create(
    State(store): State<Store>,
    State(access): State<HostAccess>,
    State(keys): State<Arc<Keys>>,
    State(settings): State<Arc<Settings>>,
    allowed: Allowed<Operator>,
    JsonBody(new): JsonBody<NewKey>,
) -> Answer<(StatusCode, Json<CreatedKey>)> {
    let issuer = issuer(&access, &keys, &settings)?;
    let now = Timestamp::now();
    let created = enforcement_keys::create(&store, &issuer, &allowed, new, now).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Create the successor of this key; hosts can register with both during the overlap
#[utoipa::path(post, path = "/api/v1/enforcement-keys/{id}/rotate", tag = "enforcement keys",
    params(("id" = String, Path)), request_body = Rotation,
    responses((status = 201, body = CreatedKey)))]
async fn rotate(
    State(store): State<Store>,
    State(access): State<HostAccess>,
    State(keys): State<Arc<Keys>>,
    State(settings): State<Arc<Settings>>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
    JsonBody(rotation): JsonBody<Rotation>,
) -> Answer<(StatusCode, Json<CreatedKey>)> {
    let (store, issuer, now) = (&store, issuer(&access, &keys, &settings)?, Timestamp::now());
    let created = enforcement_keys::rotate(store, &issuer, &allowed, &id, rotation, now).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Revoke a key and end every session set up with it, at once
#[utoipa::path(post, path = "/api/v1/enforcement-keys/{id}/revoke", tag = "enforcement keys",
    params(("id" = String, Path)), responses((status = 200, body = Key)))]
async fn revoke(
    State(store): State<Store>,
    State(settings): State<Arc<Settings>>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<Json<Key>> {
    let (warning, now) = (settings.key_expiry_warning, Timestamp::now());
    Ok(Json(enforcement_keys::revoke(&store, &allowed, &id, warning, now).await?))
}
