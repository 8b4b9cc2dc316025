//! Signing in and out, and information about the platform.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::access::{Login, Me, NewPassword, PlatformInfo, SignedIn};
use xshield_model::Timestamp;
use xshield_operations::enforcement_keys::expiring;
use xshield_operations::sign_in;
use xshield_store::Store;

use crate::auth::{Allowed, Caller, Viewer};
use crate::connections::registry::Connection;
use crate::host_access::HostAccess;
use crate::problem::Answer;
use crate::request_body::JsonBody;
use crate::settings::Settings;
use crate::sign_in::SignInParts;
use crate::sign_in::{Admitted, SignInPermit, change_password, with_password};
use crate::state::App;

/// The names of sign-ins are cut to this length, in characters.
const LONGEST: usize = 200;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(logout))
        .routes(routes!(me))
        .routes(routes!(password))
        .routes(routes!(platform))
}

/// Sign in with a password
#[utoipa::path(post, path = "/api/v1/login", tag = "access", security(()),
    request_body = Login, responses((status = 200, body = SignedIn)))]
async fn login(
    State(parts): State<SignInParts>,
    sign_in_permit: SignInPermit,
    Extension(connection): Extension<Connection>,
    JsonBody(login): JsonBody<Login>,
) -> Answer<Json<SignedIn>> {
    let name: String = login.name.as_deref().unwrap_or("sign-in").chars().take(LONGEST).collect();
    let Admitted { token, text, expires_at } =
        with_password(&parts, sign_in_permit, &connection, &login.user, login.password, &name)
            .await?;
    Ok(Json(SignedIn {
        token: text,
        id: token.id,
        user: token.account,
        role: token.role.into(),
        expires_at,
    }))
}

/// Revoke the token of this request
#[utoipa::path(post, path = "/api/v1/logout", tag = "access", responses((status = 204)))]
async fn logout(State(store): State<Store>, allowed: Allowed<Viewer>) -> Answer<StatusCode> {
    sign_in::out(&store, &allowed, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The account and role of this token
#[utoipa::path(get, path = "/api/v1/me", tag = "access", responses((status = 200, body = Me)))]
async fn me(allowed: Allowed<Viewer>) -> Json<Me> {
    let Caller { account, role, token } = allowed.caller().clone();
    Json(Me { user: account, role: role.into(), token })
}

/// Change one's own password; ends all other sign-ins and tokens of the account
#[utoipa::path(put, path = "/api/v1/me/password", tag = "access", request_body = NewPassword,
    responses((status = 204)))]
async fn password(
    State(parts): State<SignInParts>,
    allowed: Allowed<Viewer>,
    sign_in_permit: SignInPermit,
    JsonBody(NewPassword { old, new }): JsonBody<NewPassword>,
) -> Answer<StatusCode> {
    change_password(&parts, sign_in_permit, &allowed, old, new).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What hosts need to know about the platform
#[utoipa::path(get, path = "/api/v1/platform", tag = "access",
    responses((status = 200, body = PlatformInfo)))]
async fn platform(
    State(store): State<Store>,
    State(settings): State<Arc<Settings>>,
    State(access): State<HostAccess>,
    _: Allowed<Viewer>,
) -> Answer<Json<PlatformInfo>> {
    let (within, now) = (settings.key_expiry_warning, Timestamp::now());
    let expiring_keys = expiring(&mut *store.read().await?, within, now).await?;
    Ok(Json(PlatformInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        url: access.public_url(),
        ca_pem: access.ca_pem().to_owned(),
        policy_key: access.policy_key(),
        expiring_keys,
    }))
}
