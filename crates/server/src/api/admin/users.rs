//! Users and API tokens.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::access::{CreatedToken, NewToken, NewUser, Token, User, UserChange};
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_operations::paging::Pages as _;
use xshield_operations::{tokens, users};
use xshield_store::Store;

use crate::auth::{Admin, Allowed, Viewer};
use crate::problem::Answer;
use crate::query::QueryOf;
use crate::request_body::JsonBody;
use crate::sign_in::PasswordHashing;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_users, create_user))
        .routes(routes!(change_user, delete_user))
        .routes(routes!(list_tokens, create_token))
        .routes(routes!(revoke_token))
}

/// List users
#[utoipa::path(get, path = "/api/v1/users", tag = "access", params(PageQuery),
    responses((status = 200, body = Page<User>)))]
async fn list_users(
    State(store): State<Store>,
    _: Allowed<Admin>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<User>>> {
    let paging = page.paging()?;
    Ok(Json(users::list(&mut *store.read().await?, paging).await?))
}

/// Add a user
#[utoipa::path(post, path = "/api/v1/users", tag = "access", request_body = NewUser,
    responses((status = 201, body = User)))]
async fn create_user(
    State(store): State<Store>,
    State(passwords): State<PasswordHashing>,
    allowed: Allowed<Admin>,
    JsonBody(new): JsonBody<NewUser>,
) -> Answer<(StatusCode, Json<User>)> {
    let user = users::create(&store, &passwords, &allowed, new, Timestamp::now()).await?;
    Ok((StatusCode::CREATED, Json(user)))
}

/// Change a user's role or password
#[utoipa::path(patch, path = "/api/v1/users/{name}", tag = "access", request_body = UserChange,
    params(("name" = String, Path)), responses((status = 200, body = User)))]
async fn change_user(
    State(store): State<Store>,
    State(passwords): State<PasswordHashing>,
    allowed: Allowed<Admin>,
    Path(name): Path<String>,
    JsonBody(change): JsonBody<UserChange>,
) -> Answer<Json<User>> {
    let now = Timestamp::now();
    Ok(Json(users::change(&store, &passwords, &allowed, &name, change, now).await?))
}

/// Delete a user and the user's tokens
#[utoipa::path(delete, path = "/api/v1/users/{name}", tag = "access",
    params(("name" = String, Path)), responses((status = 204)))]
async fn delete_user(
    State(store): State<Store>,
    allowed: Allowed<Admin>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    users::delete(&store, &allowed, &name, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List tokens: admins see all, others their own
#[utoipa::path(get, path = "/api/v1/tokens", tag = "access", params(PageQuery),
    responses((status = 200, body = Page<Token>)))]
async fn list_tokens(
    State(store): State<Store>,
    allowed: Allowed<Viewer>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Token>>> {
    let paging = page.paging()?;
    Ok(Json(tokens::list(&mut *store.read().await?, &allowed, paging).await?))
}

/// Create an API token for oneself
#[utoipa::path(post, path = "/api/v1/tokens", tag = "access", request_body = NewToken,
    responses((status = 201, body = CreatedToken)))]
async fn create_token(
    State(store): State<Store>,
    allowed: Allowed<Viewer>,
    JsonBody(new): JsonBody<NewToken>,
) -> Answer<(StatusCode, Json<CreatedToken>)> {
    let created = tokens::create(&store, &allowed, new, Timestamp::now()).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Revoke a token: admins can revoke any, others their own
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "access",
    params(("id" = String, Path)), responses((status = 204)))]
async fn revoke_token(
    State(store): State<Store>,
    allowed: Allowed<Viewer>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    tokens::revoke(&store, &allowed, &id, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
