//! Addresses that are never blocked, whatever feeds say.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_list::{Exception, NewException, Validity};
use xshield_model::Timestamp;
use xshield_operations::ids::new_id;
use xshield_store::audit::Deed;
use xshield_store::threat_lists::StoredException;
use xshield_store::{audit, commit, threat_lists};
use xshield_threat::Prefix;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::{Answer, JsonBody, Problem};
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(delete))
}

/// Longest reason, in characters.
const MAX_REASON: usize = 500;
/// A wider exception would be no exception.
const LEAST_BITS: (u8, u8) = (8, 16);

/// List exceptions
#[utoipa::path(get, path = "/api/v1/threat/exceptions", tag = "threats",
    responses((status = 200, body = Vec<Exception>)))]
async fn list(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Vec<Exception>>> {
    let networks = networks(&app).await?;
    let stored = threat_lists::exceptions(&mut *app.store.read().await?).await?;
    Ok(Json(stored.into_iter().map(|one| shown(one, &networks)).collect()))
}

async fn networks(app: &App) -> Answer<Vec<String>> {
    let committed = app.compiler.committed().await?;
    let networks = committed.iter().flat_map(|committed| committed.policy.networks());
    Ok(networks.map(|network| network.name.as_str().to_owned()).collect())
}

fn shown(stored: StoredException, networks: &[String]) -> Exception {
    let gone = |name: &str| !networks.iter().any(|known| known == name);
    let state = if stored.expires_at.is_some_and(|end| end <= Timestamp::now()) {
        Validity::Expired
    } else if stored.target.strip_prefix("network:").is_some_and(gone) {
        Validity::NoNetwork
    } else {
        Validity::Active
    };
    Exception {
        id: stored.id,
        target: stored.target,
        reason: stored.reason,
        state,
        created_at: stored.created_at,
        created_by: stored.created_by,
        expires_at: stored.expires_at,
    }
}

/// Never block these addresses, from now on
#[utoipa::path(post, path = "/api/v1/threat/exceptions", tag = "threats",
    request_body = NewException, responses((status = 201, body = Exception)))]
async fn add(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    JsonBody(new): JsonBody<NewException>,
) -> Answer<(StatusCode, Json<Exception>)> {
    let now = Timestamp::now();
    let networks = networks(&app).await?;
    let target = target(&new.target, &networks)?;
    let reason = new.reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON {
        let wanted = format!("expected 1 to {MAX_REASON} characters that say why");
        return Err(Problem::invalid("/reason", wanted));
    }
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(Problem::invalid("/expires_at", "not in the future"));
    }
    let exception = StoredException {
        id: new_id("ex-").map_err(|error| Problem::internal(&error))?,
        target,
        reason: reason.to_owned(),
        created_at: now,
        created_by: allowed.actor(),
        expires_at: new.expires_at,
    };
    let mut tx = app.store.write().await?;
    threat_lists::insert_exception(&mut tx, &exception).await?;
    let end = exception
        .expires_at
        .map_or("for good".to_owned(), |end| format!("until {}", end.to_rfc3339()));
    let deed = Deed {
        actor: &exception.created_by,
        action: "threat.exception.add",
        target: &exception.target,
        before: String::new(),
        after: format!("{}, {end}: {}", exception.id, exception.reason),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    // What goes wrong is shown with the list.
    drop(app.threat.compile().await);
    Ok((StatusCode::CREATED, Json(shown(exception, &networks))))
}

/// The target as it is stored.
fn target(text: &str, networks: &[String]) -> Answer<String> {
    let text = text.trim();
    if let Some(name) = text.strip_prefix("network:") {
        if networks.iter().any(|known| known == name) {
            return Ok(text.to_owned());
        }
        let reason = format!("the committed policy has no named network {name:?}");
        return Err(Problem::invalid("/target", reason));
    }
    let prefix: Prefix = text
        .parse()
        .map_err(|reason| Problem::invalid("/target", format!("{text:?}: {reason}")))?;
    let least = if matches!(prefix, Prefix::V4(_)) { LEAST_BITS.0 } else { LEAST_BITS.1 };
    if prefix.bits() < least {
        let reason =
            format!("wider than /{least}; set the mode to off if nothing is to be blocked");
        return Err(Problem::invalid("/target", reason));
    }
    Ok(prefix.to_string())
}

/// End an exception
#[utoipa::path(delete, path = "/api/v1/threat/exceptions/{id}", tag = "threats",
    params(("id" = String, Path)), responses((status = 204)))]
async fn delete(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let mut tx = app.store.write().await?;
    let known = threat_lists::exceptions(&mut tx).await?;
    let exception = known.into_iter().find(|one| one.id == id);
    let exception = exception.ok_or_else(|| Problem::not_found("threat exception", &id))?;
    threat_lists::delete_exception(&mut tx, &id).await?;
    let deed = Deed {
        actor: &allowed.actor(),
        action: "threat.exception.remove",
        target: &exception.target,
        before: format!("{id}: {}", exception.reason),
        after: String::new(),
    };
    audit::record(&mut tx, deed, Timestamp::now()).await?;
    commit(tx).await?;
    // What goes wrong is shown with the list.
    drop(app.threat.compile().await);
    Ok(StatusCode::NO_CONTENT)
}
