//! Enforcement keys: made and shown once, rotated with an overlap, revoked.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_wire::{DeploymentKey, EnforcementKey};

use super::page::{Page, PageQuery};
use crate::auth::{Allowed, Caller, Operator, Viewer};
use crate::clock::Timestamp;
use crate::keys::{new_id, random};
use crate::problem::{Answer, JsonBody, Problem};
use crate::query::QueryOf;
use crate::state::App;
use crate::store::assets::Tags;
use crate::store::audit::{self, Deed};
use crate::store::enforcement_keys::{self, StoredKey};
use crate::store::{Conn, commit};

/// How long the old key lives on after a rotation, in seconds, unless said otherwise.
const OVERLAP: i64 = 7 * 24 * 3600;
const LONGEST_OVERLAP: i64 = 365 * 24 * 3600;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(rotate))
        .routes(routes!(revoke))
}

/// How a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
enum KeyState {
    /// Hosts can use it.
    Active,
    /// Hosts can still use it, but another one follows.
    Rotated,
    /// Over.
    Expired,
    /// Ended by an operator.
    Revoked,
}

/// An enforcement key, without its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Key {
    id: String,
    name: String,
    state: KeyState,
    /// Put on assets that register with it.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    tags: Tags,
    created_at: Timestamp,
    created_by: String,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    replaced_by: Option<String>,
    last_used_at: Option<Timestamp>,
}

impl From<StoredKey> for Key {
    fn from(key: StoredKey) -> Self {
        let state = if key.revoked_at.is_some() {
            KeyState::Revoked
        } else if key.expires_at.is_some_and(|end| end <= Timestamp::now()) {
            KeyState::Expired
        } else if key.replaced_by.is_some() {
            KeyState::Rotated
        } else {
            KeyState::Active
        };
        Self {
            id: key.id,
            name: key.name,
            state,
            tags: key.tags,
            created_at: key.created_at,
            created_by: key.created_by,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            replaced_by: key.replaced_by,
            last_used_at: key.last_used_at,
        }
    }
}

/// A key with its secret, which is not shown again.
#[derive(Serialize, utoipa::ToSchema)]
struct CreatedKey {
    #[serde(flatten)]
    about: Key,
    /// `xek1_…`, for `enforcement-key` in host configurations.
    key: String,
    /// `xdk1_…`: the key, and by which a host knows this platform; for `ctagent register`.
    deployment_key: String,
    /// The command that makes an agent's host known to this platform, `deployment_key` included.
    register: String,
    /// A ready-made host configuration (`config.yaml`).
    config: String,
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
    let keys = enforcement_keys::list(&mut *app.store.read().await?, &after, limit + 1).await?;
    Ok(Json(Page::of(keys, limit, |key| key.id.clone(), Key::from)))
}

/// One enforcement key
#[utoipa::path(get, path = "/api/v1/enforcement-keys/{id}", tag = "enforcement keys",
    params(("id" = String, Path)), responses((status = 200, body = Key)))]
async fn get(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(id): Path<String>,
) -> Answer<Json<Key>> {
    Ok(Json(known(&mut *app.store.read().await?, &id).await?.into()))
}

async fn known(conn: &mut Conn, id: &str) -> Answer<StoredKey> {
    let key = enforcement_keys::get(conn, id).await?;
    key.ok_or_else(|| Problem::not_found("enforcement key", id))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// What it is for.
    #[serde(default)]
    name: String,
    /// Never when left out.
    #[serde(default)]
    expires_at: Option<Timestamp>,
    /// Put on assets that register with it.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    tags: Tags,
}

/// Make an enforcement key
#[utoipa::path(post, path = "/api/v1/enforcement-keys", tag = "enforcement keys",
    request_body = NewKey, responses((status = 201, body = CreatedKey)))]
async fn create(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    JsonBody(new): JsonBody<NewKey>,
) -> Answer<(StatusCode, Json<CreatedKey>)> {
    let now = Timestamp::now();
    in_future(new.expires_at, now)?;
    if new.name.chars().count() > 200 {
        return Err(Problem::invalid("/name", "longer than 200 characters"));
    }
    let (stored, key) = make(&app, &allowed.caller, new, now)?;
    let mut tx = app.store.write().await?;
    enforcement_keys::insert(&mut tx, &stored).await?;
    let deed = Deed {
        actor: &allowed.caller.actor(),
        action: "enforcement-key.create",
        target: &stored.id,
        before: String::new(),
        after: summary(&stored),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    Ok((StatusCode::CREATED, Json(shown(&app, stored, key)?)))
}

/// Refuses an end that is over.
pub(super) fn in_future(end: Option<Timestamp>, now: Timestamp) -> Answer<()> {
    if end.is_some_and(|end| end <= now) {
        return Err(Problem::invalid("/expires_at", "not in the future"));
    }
    Ok(())
}

fn make(
    app: &App,
    caller: &Caller,
    new: NewKey,
    now: Timestamp,
) -> Answer<(StoredKey, EnforcementKey)> {
    let id = new_id("").map_err(|error| Problem::internal(&error))?;
    let secret = random::<32>().map_err(|error| Problem::internal(&error))?;
    let sealed = app.keys.seal.secret(&id, &secret).map_err(|error| Problem::internal(&error))?;
    let key_id = id.parse().map_err(|error| Problem::internal(&error))?;
    let stored = StoredKey {
        id,
        name: new.name,
        sealed_secret: sealed,
        tags: new.tags,
        created_at: now,
        created_by: caller.actor(),
        expires_at: new.expires_at,
        revoked_at: None,
        replaced_by: None,
        last_used_at: None,
    };
    Ok((stored, EnforcementKey::new(key_id, secret)))
}

fn summary(key: &StoredKey) -> String {
    let end = key.expires_at.map_or_else(|| "never".to_owned(), Timestamp::to_rfc3339);
    let tags: Vec<_> = key.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("name {:?}, expires {end}, tags [{}]", key.name, tags.join(", "))
}

fn shown(app: &App, stored: StoredKey, key: EnforcementKey) -> Answer<CreatedKey> {
    let trust = app.trust().map_err(|error| Problem::internal(&error))?.digest();
    let text = key.to_text().to_string();
    let deployment_key = DeploymentKey::new(key, trust).to_text().to_string();
    let domain = app.public_domain();
    let register = format!("ctagent register --domain {domain} --deploymentKey {deployment_key}");
    let config = host_config(app, &text);
    Ok(CreatedKey { about: stored.into(), key: text, deployment_key, register, config })
}

/// The `config.yaml` with which a host finds and trusts this platform.
fn host_config(app: &App, key: &str) -> String {
    let mut config = format!(
        "platform: {}\nenforcement-key: {key}\npolicy-keys:\n  - {}\nca: |\n",
        app.public_url(),
        app.keys.policy.public(),
    );
    for line in app.tls.ca_pem().lines().filter(|line| !line.trim().is_empty()) {
        // Writing to a string can't fail.
        let _ = writeln!(config, "  {}", line.trim());
    }
    config
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// Seconds that the old key stays usable; a week when left out.
    #[serde(default)]
    overlap_seconds: Option<i64>,
    /// When the new key ends; never when left out.
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// Make the key that follows this one, which stays usable for an overlap
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
    let ended = old.revoked_at.is_some() || old.expires_at.is_some_and(|end| end <= now);
    if ended || old.replaced_by.is_some() {
        let detail = "the key has ended or is rotated already; make a new one instead";
        return Err(Problem::conflict("key-not-active", detail));
    }
    let new = NewKey { name: old.name, expires_at: rotation.expires_at, tags: old.tags };
    let (stored, key) = make(&app, &allowed.caller, new, now)?;
    enforcement_keys::insert(&mut tx, &stored).await?;
    let end = now.plus(overlap);
    enforcement_keys::replace(&mut tx, &id, &stored.id, end).await?;
    let deed = Deed {
        actor: &allowed.caller.actor(),
        action: "enforcement-key.rotate",
        target: &id,
        before: String::new(),
        after: format!("followed by {}, ends {}", stored.id, end.to_rfc3339()),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    Ok((StatusCode::CREATED, Json(shown(&app, stored, key)?)))
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
    let after = known(&mut tx, &id).await?;
    let deed = Deed {
        actor: &allowed.caller.actor(),
        action: "enforcement-key.revoke",
        target: &id,
        before: summary(&before),
        after: "revoked".to_owned(),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    Ok(Json(after.into()))
}
