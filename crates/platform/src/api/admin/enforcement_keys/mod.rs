//! Enforcement keys and registration tokens: made and shown once, rotated with an overlap, revoked.

mod expiring;
mod followed;
mod made;
mod shown;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
pub(crate) use expiring::{expiring, expiry_series, warning};
pub(crate) use followed::{FollowedKey, followed};
pub(super) use made::in_future;
use made::{Wanted, checked, created, summary};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::keys::{CreatedKey, Host, Key, NewKey, Rotation};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_model::key_kind::KeyKind;
use xshield_store::audit::Deed;
use xshield_store::enforcement_keys::StoredKey;
use xshield_store::{Conn, audit, commit, enforcement_keys, enrolment, identities};

use super::page::{PageQuery, paged};
use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::{Answer, JsonBody, Problem};
use crate::query::QueryOf;
use crate::state::App;

/// How long hosts register with the old key after a rotation, in seconds, unless said otherwise.
const OVERLAP: i64 = 7 * 24 * 3600;
const LONGEST_OVERLAP: i64 = 365 * 24 * 3600;

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
    State(app): State<App>,
    _: Allowed<Viewer>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Key>>> {
    let limit = page.limit()?;
    let after = page.after::<String>()?.unwrap_or_default();
    let mut conn = app.store.read().await?;
    let keys = enforcement_keys::list(&mut conn, &after, limit + 1).await?;
    let ids = keys.iter().map(|key| key.id.as_str());
    let hosts = enrolment::hosts_by_key(&mut conn, ids).await?;
    let hosts: BTreeMap<_, _> = hosts.into_iter().collect();
    let (warning, now) = (app.settings.key_expiry_warning, Timestamp::now());
    Ok(Json(paged(
        keys,
        limit,
        |key| key.id.clone(),
        |key| {
            let hosts = hosts.get(&key.id).copied().unwrap_or(0);
            shown::shown(key, hosts, warning, now)
        },
    )))
}

/// One enforcement key
#[utoipa::path(get, path = "/api/v1/enforcement-keys/{id}", tag = "enforcement keys",
    params(("id" = String, Path)), responses((status = 200, body = Key)))]
async fn get(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(id): Path<String>,
) -> Answer<Json<Key>> {
    let mut conn = app.store.read().await?;
    let key = known(&mut conn, &id).await?;
    Ok(Json(with_hosts(&app, &mut conn, key).await?))
}

async fn with_hosts(app: &App, conn: &mut Conn, key: StoredKey) -> Answer<Key> {
    let hosts = enrolment::hosts_by_key(conn, std::iter::once(key.id.as_str())).await?;
    let hosts = hosts.first().map_or(0, |(_, hosts)| *hosts);
    Ok(shown::shown(key, hosts, app.settings.key_expiry_warning, Timestamp::now()))
}

/// The hosts whose last session was set up with a key, by name
#[utoipa::path(get, path = "/api/v1/enforcement-keys/{id}/hosts", tag = "enforcement keys",
    params(("id" = String, Path), PageQuery), responses((status = 200, body = Page<Host>)))]
async fn hosts(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(id): Path<String>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Host>>> {
    let limit = page.limit()?;
    let after = page.after::<String>()?.unwrap_or_default();
    let mut conn = app.store.read().await?;
    known(&mut conn, &id).await?;
    let hosts = enrolment::hosts_of(&mut conn, &id, &after, limit + 1).await?;
    Ok(Json(paged(hosts, limit, |host| host.name.to_string(), shown::host)))
}

async fn known(conn: &mut Conn, id: &str) -> Answer<StoredKey> {
    let key = enforcement_keys::get(conn, id).await?;
    key.ok_or_else(|| Problem::not_found("enforcement key", id))
}

/// Make an enforcement key or a registration token
#[utoipa::path(post, path = "/api/v1/enforcement-keys", tag = "enforcement keys",
    request_body = NewKey, responses((status = 201, body = CreatedKey)))]
async fn create(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    JsonBody(new): JsonBody<NewKey>,
) -> Answer<(StatusCode, Json<CreatedKey>)> {
    let now = Timestamp::now();
    let (stored, key) = checked(new, now)?.make(&app, allowed.caller(), now)?;
    let mut tx = app.store.write().await?;
    enforcement_keys::insert(&mut tx, &stored).await?;
    let deed = Deed {
        actor: &allowed.actor(),
        action: "enforcement-key.create",
        target: &stored.id,
        before: String::new(),
        after: summary(&stored),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    Ok((StatusCode::CREATED, Json(created(&app, stored, key, now)?)))
}

/// Make the key that follows this one, with which hosts register for an overlap
#[utoipa::path(post, path = "/api/v1/enforcement-keys/{id}/rotate", tag = "enforcement keys",
    params(("id" = String, Path)), request_body = Rotation,
    responses((status = 201, body = CreatedKey)))]
async fn rotate(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
    JsonBody(rotation): JsonBody<Rotation>,
) -> Answer<(StatusCode, Json<CreatedKey>)> {
    let now = Timestamp::now();
    let overlap = rotation.overlap_seconds.unwrap_or(OVERLAP);
    if !(0..=LONGEST_OVERLAP).contains(&overlap) {
        let reason = format!("not between 0 and {LONGEST_OVERLAP}");
        return Err(Problem::invalid("/overlap_seconds", reason));
    }
    in_future(rotation.expires_at, now)?;
    let mut tx = app.store.write().await?;
    let old = known(&mut tx, &id).await?;
    if old.kind == KeyKind::Token {
        let detail = "a registration token is for one host; make a new one instead";
        return Err(Problem::conflict("key-not-active", detail));
    }
    if old.revoked_at.is_some() || old.has_expired(now) || old.replaced_by.is_some() {
        let detail = "the key has ended or is rotated already; make a new one instead";
        return Err(Problem::conflict("key-not-active", detail));
    }
    // A key that was made for 90 days is followed by one for 90 days.
    let lasts = old.expires_at.map(|end| end.0 - old.created_at.0);
    let expires_at = rotation.expires_at.or(lasts.map(|seconds| now.plus(seconds)));
    let wanted = Wanted::following(old, expires_at);
    let (stored, key) = wanted.make(&app, allowed.caller(), now)?;
    enforcement_keys::insert(&mut tx, &stored).await?;
    let end = now.plus(overlap);
    enforcement_keys::replace(&mut tx, &id, &stored.id, end).await?;
    let deed = Deed {
        actor: &allowed.actor(),
        action: "enforcement-key.rotate",
        target: &id,
        before: String::new(),
        after: format!(
            "followed by {} ({}), ends {}",
            stored.id,
            summary(&stored),
            end.to_rfc3339()
        ),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    Ok((StatusCode::CREATED, Json(created(&app, stored, key, now)?)))
}

/// End a key and every session set up with it, now
#[utoipa::path(post, path = "/api/v1/enforcement-keys/{id}/revoke", tag = "enforcement keys",
    params(("id" = String, Path)), responses((status = 200, body = Key)))]
async fn revoke(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<Json<Key>> {
    let now = Timestamp::now();
    let mut tx = app.store.write().await?;
    let before = known(&mut tx, &id).await?;
    enforcement_keys::revoke(&mut tx, &id, now).await?;
    identities::forget_of_key(&mut tx, &id).await?;
    let after = known(&mut tx, &id).await?;
    let deed = Deed {
        actor: &allowed.actor(),
        action: "enforcement-key.revoke",
        target: &id,
        before: summary(&before),
        after: "revoked".to_owned(),
    };
    audit::record(&mut tx, deed, now).await?;
    let shown = with_hosts(&app, &mut tx, after).await?;
    commit(tx).await?;
    Ok(Json(shown))
}
