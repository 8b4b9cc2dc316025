//! Users and API tokens.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::access::{CreatedToken, NewToken, NewUser, Token, User, UserChange};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_model::role::Role;
use xshield_store::accounts::{Account, ApiToken, TokenKind};
use xshield_store::audit::Deed;
use xshield_store::{accounts, audit, commit};

use super::page::{PageQuery, paged};
use crate::auth::{Admin, Allowed, Viewer, new_token};
use crate::problem::{Answer, JsonBody, Problem};
use crate::query::QueryOf;
use crate::sign_in::hashed;
use crate::state::App;

/// Tokens of one account that work at a time, besides sign-ins.
const MOST_TOKENS: i64 = 100;
/// Tokens of one account that have ended and are still listed.
const MOST_ENDED: i64 = 200;
/// No token's name is longer, in characters.
const LONGEST_NAME: usize = 200;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_users, create_user))
        .routes(routes!(change_user, delete_user))
        .routes(routes!(list_tokens, create_token))
        .routes(routes!(revoke_token))
}

fn user(account: Account) -> User {
    User { name: account.name, role: account.role, created_at: account.created_at }
}

/// List users
#[utoipa::path(get, path = "/api/v1/users", tag = "access", params(PageQuery),
    responses((status = 200, body = Page<User>)))]
async fn list_users(
    State(app): State<App>,
    _: Allowed<Admin>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<User>>> {
    let limit = page.limit()?;
    let after = page.after::<String>()?.unwrap_or_default();
    let users = accounts::list(&mut *app.store.read().await?, &after, limit + 1).await?;
    Ok(Json(paged(users, limit, |user| user.name.clone(), user)))
}

/// Add a user
#[utoipa::path(post, path = "/api/v1/users", tag = "access", request_body = NewUser,
    responses((status = 201, body = User)))]
async fn create_user(
    State(app): State<App>,
    allowed: Allowed<Admin>,
    JsonBody(new): JsonBody<NewUser>,
) -> Answer<(StatusCode, Json<User>)> {
    let name: xshield_policy::names::Name =
        new.name.parse().map_err(|_| Problem::invalid("/name", "expected letters and digits"))?;
    let now = Timestamp::now();
    let password = hashed(&app, "/password", new.password).await?;
    let account = Account { name: String::from(name), role: new.role, password, created_at: now };
    let mut tx = app.store.write().await?;
    if accounts::get(&mut tx, &account.name).await?.is_some() {
        return Err(Problem::conflict("user-exists", "there is such a user").field("/name"));
    }
    accounts::put(&mut tx, &account).await?;
    let deed = Deed {
        actor: &allowed.actor(),
        action: "user.create",
        target: &account.name,
        before: String::new(),
        after: format!("role {:?}", account.role).to_lowercase(),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    Ok((StatusCode::CREATED, Json(user(account))))
}

/// Change a user's role or password
#[utoipa::path(patch, path = "/api/v1/users/{name}", tag = "access", request_body = UserChange,
    params(("name" = String, Path)), responses((status = 200, body = User)))]
async fn change_user(
    State(app): State<App>,
    allowed: Allowed<Admin>,
    Path(name): Path<String>,
    JsonBody(change): JsonBody<UserChange>,
) -> Answer<Json<User>> {
    let now = Timestamp::now();
    let password = match change.password {
        Some(password) => Some(hashed(&app, "/password", password).await?),
        None => None,
    };
    let mut tx = app.store.write().await?;
    let mut account =
        accounts::get(&mut tx, &name).await?.ok_or_else(|| Problem::not_found("user", &name))?;
    let before = format!("role {:?}", account.role).to_lowercase();
    let mut after = String::new();
    if let Some(role) = change.role {
        if account.role == Role::Admin && role != Role::Admin {
            keep_an_admin(accounts::admins(&mut tx).await?)?;
        }
        account.role = role;
        after = format!("role {role:?}").to_lowercase();
    }
    if let Some(password) = password {
        account.password = password;
        accounts::revoke_all(&mut tx, &name, now).await?;
        after.push_str(" new password");
    }
    accounts::put(&mut tx, &account).await?;
    let actor = allowed.actor();
    let deed = Deed { actor: &actor, action: "user.change", target: &name, before, after };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    Ok(Json(user(account)))
}

fn keep_an_admin(admins: i64) -> Answer<()> {
    if admins > 1 {
        return Ok(());
    }
    Err(Problem::conflict("last-admin", "this is the last admin; make another one first"))
}

/// Delete a user and the user's tokens
#[utoipa::path(delete, path = "/api/v1/users/{name}", tag = "access",
    params(("name" = String, Path)), responses((status = 204)))]
async fn delete_user(
    State(app): State<App>,
    allowed: Allowed<Admin>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let mut tx = app.store.write().await?;
    let account =
        accounts::get(&mut tx, &name).await?.ok_or_else(|| Problem::not_found("user", &name))?;
    if account.role == Role::Admin {
        keep_an_admin(accounts::admins(&mut tx).await?)?;
    }
    accounts::delete(&mut tx, &name).await?;
    let deed = Deed {
        actor: &allowed.actor(),
        action: "user.delete",
        target: &name,
        before: format!("role {:?}", account.role).to_lowercase(),
        after: String::new(),
    };
    audit::record(&mut tx, deed, Timestamp::now()).await?;
    commit(tx).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(token: ApiToken) -> Token {
    Token {
        id: token.id,
        user: token.account,
        name: token.name,
        role: token.role,
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
        revoked_at: token.revoked_at,
    }
}

/// List tokens: all for admins, their own for others
#[utoipa::path(get, path = "/api/v1/tokens", tag = "access", params(PageQuery),
    responses((status = 200, body = Page<Token>)))]
async fn list_tokens(
    State(app): State<App>,
    allowed: Allowed<Viewer>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Token>>> {
    let limit = page.limit()?;
    let after = page.after::<String>()?.unwrap_or_default();
    let caller = allowed.caller();
    let whose = (caller.role < Role::Admin).then_some(caller.account.as_str());
    let mut conn = app.store.read().await?;
    let tokens = accounts::list_tokens(&mut conn, whose, &after, limit + 1).await?;
    Ok(Json(paged(tokens, limit, |token| token.id.clone(), shown)))
}

/// Make an API token for oneself
#[utoipa::path(post, path = "/api/v1/tokens", tag = "access", request_body = NewToken,
    responses((status = 201, body = CreatedToken)))]
async fn create_token(
    State(app): State<App>,
    allowed: Allowed<Viewer>,
    JsonBody(new): JsonBody<NewToken>,
) -> Answer<(StatusCode, Json<CreatedToken>)> {
    let now = Timestamp::now();
    let caller = allowed.caller();
    let role = new.role.unwrap_or(caller.role);
    if role > caller.role {
        return Err(Problem::invalid("/role", "more than your own role"));
    }
    if new.name.chars().count() > LONGEST_NAME {
        return Err(Problem::invalid("/name", format!("longer than {LONGEST_NAME} characters")));
    }
    super::enforcement_keys::in_future(new.expires_at, now)?;
    let (token, text) =
        new_token(TokenKind::Api, &caller.account, &new.name, role, new.expires_at, now)
            .map_err(|error| Problem::internal(&error))?;
    let mut tx = app.store.write().await?;
    if accounts::count_tokens(&mut tx, &caller.account, now).await? >= MOST_TOKENS {
        let detail = format!("the account has {MOST_TOKENS} tokens that work; revoke one first");
        return Err(Problem::conflict("too-many-tokens", detail));
    }
    accounts::trim_ended(&mut tx, &caller.account, MOST_ENDED, now).await?;
    accounts::insert_token(&mut tx, &token).await?;
    let deed = Deed {
        actor: &caller.actor(),
        action: "token.create",
        target: &token.id,
        before: String::new(),
        after: format!("{:?}, role {role:?}", token.name).to_lowercase(),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token: text, about: shown(token) })))
}

/// Revoke a token: any for admins, their own for others
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "access",
    params(("id" = String, Path)), responses((status = 204)))]
async fn revoke_token(
    State(app): State<App>,
    allowed: Allowed<Viewer>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let now = Timestamp::now();
    let caller = allowed.caller();
    let mut tx = app.store.write().await?;
    let known = accounts::get_token(&mut tx, &id)
        .await?
        .filter(|(token, _)| caller.role == Role::Admin || token.account == caller.account);
    let (token, _) = known.ok_or_else(|| Problem::not_found("token", &id))?;
    accounts::revoke_token(&mut tx, &id, now).await?;
    let deed = Deed {
        actor: &caller.actor(),
        action: "token.revoke",
        target: &id,
        before: format!("{:?} of {}", token.name, token.account),
        after: String::new(),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    Ok(StatusCode::NO_CONTENT)
}
