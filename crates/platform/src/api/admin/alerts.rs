//! Alert rules, and the alerts they gave.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::alerts::{NamedRule, NumberedAlert, Rules};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_model::alert_rule::{AlertRule, RuleError};
use xshield_policy::names::Name;
use xshield_store::alerts::{AlertFilter, StoredAlert, StoredRule};
use xshield_store::audit::Deed;
use xshield_store::{alerts, audit, commit, deliveries};

use super::page::{PageQuery, paged};
use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::{Answer, JsonBody, Problem};
use crate::query::BothOf;
use crate::state::App;

/// More would be judged for every match.
const MOST_RULES: usize = 200;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_rules))
        .routes(routes!(get_rule, put_rule, delete_rule))
        .routes(routes!(list))
}

fn shown(stored: StoredRule, withheld: u64) -> NamedRule {
    let StoredRule { name, rule, created_at, created_by } = stored;
    NamedRule { name, rule, created_at, created_by, withheld }
}

/// List alert rules
#[utoipa::path(get, path = "/api/v1/alert-rules", tag = "alerts",
    responses((status = 200, body = Rules)))]
async fn list_rules(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Rules>> {
    let mut conn = app.store.read().await?;
    let withheld = alerts::withheld(&mut conn).await?;
    let rules = alerts::rules(&mut conn).await?;
    let of = |stored: StoredRule| {
        let withheld = withheld.get(&stored.name).copied().unwrap_or_default();
        shown(stored, withheld)
    };
    Ok(Json(Rules { items: rules.into_iter().map(of).collect() }))
}

/// One alert rule
#[utoipa::path(get, path = "/api/v1/alert-rules/{name}", tag = "alerts",
    params(("name" = String, Path)), responses((status = 200, body = NamedRule)))]
async fn get_rule(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(name): Path<String>,
) -> Answer<Json<NamedRule>> {
    let mut conn = app.store.read().await?;
    let stored = alerts::rule(&mut conn, &name).await?;
    let stored = stored.ok_or_else(|| Problem::not_found("alert rule", &name))?;
    let withheld = alerts::withheld(&mut conn).await?.get(&name).copied().unwrap_or_default();
    Ok(Json(shown(stored, withheld)))
}

/// What a field's fault looks like in an answer.
pub(super) fn refused(error: RuleError) -> Problem {
    Problem::invalid(error.field, error.reason)
}

/// Write an alert rule, in place of the one with its name
#[utoipa::path(put, path = "/api/v1/alert-rules/{name}", tag = "alerts",
    params(("name" = String, Path)), request_body = AlertRule,
    responses((status = 200, body = NamedRule)))]
async fn put_rule(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
    JsonBody(rule): JsonBody<AlertRule>,
) -> Answer<Json<NamedRule>> {
    let name = named(&name)?;
    rule.check().map_err(refused)?;
    let now = Timestamp::now();
    let mut tx = app.store.write().await?;
    for channel in &rule.channels {
        if deliveries::channel(&mut tx, channel).await?.is_none() {
            return Err(Problem::invalid("/channels", format!("there is no channel {channel:?}")));
        }
    }
    let before = alerts::rule(&mut tx, &name).await?;
    if before.is_none() && alerts::rules(&mut tx).await?.len() >= MOST_RULES {
        let detail = format!("there are {MOST_RULES} alert rules already; delete one");
        return Err(Problem::conflict("too-many-rules", detail));
    }
    let actor = allowed.actor();
    let stored = StoredRule { name, rule, created_at: now, created_by: actor.clone() };
    alerts::put_rule(&mut tx, &stored).await?;
    let deed = Deed {
        actor: &actor,
        action: "alert-rule.put",
        target: &stored.name,
        before: before.map(|before| summary(&before.rule)).unwrap_or_default(),
        after: summary(&stored.rule),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    Ok(Json(shown(stored, 0)))
}

/// A name as assets, segments and templates have one.
pub(super) fn named(name: &str) -> Answer<String> {
    let checked: Name =
        name.parse().map_err(|error| Problem::invalid("/name", format!("{error}")))?;
    Ok(checked.as_str().to_owned())
}

fn summary(rule: &AlertRule) -> String {
    serde_json::to_string(rule).unwrap_or_default()
}

/// Delete an alert rule
#[utoipa::path(delete, path = "/api/v1/alert-rules/{name}", tag = "alerts",
    params(("name" = String, Path)), responses((status = 204)))]
async fn delete_rule(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let mut tx = app.store.write().await?;
    let before = alerts::rule(&mut tx, &name).await.ok().flatten();
    if !alerts::delete_rule(&mut tx, &name).await? {
        return Err(Problem::not_found("alert rule", &name));
    }
    let deed = Deed {
        actor: &allowed.actor(),
        action: "alert-rule.delete",
        target: &name,
        before: before.map(|before| summary(&before.rule)).unwrap_or_default(),
        after: String::new(),
    };
    audit::record(&mut tx, deed, Timestamp::now()).await?;
    commit(tx).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct AlertQuery {
    /// The rule that gave it.
    #[serde(default)]
    rule: Option<String>,
    /// The asset's name.
    #[serde(default)]
    asset: Option<String>,
    /// The peer.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    address: Option<std::net::IpAddr>,
    /// `threat-match`, `feed-stale`, `feed-held` or `recorder-losses`.
    #[serde(default)]
    kind: Option<String>,
    /// Not before this time (RFC 3339).
    #[serde(default)]
    since: Option<Timestamp>,
}

fn numbered(StoredAlert { id, alert }: StoredAlert) -> NumberedAlert {
    NumberedAlert { number: id, alert }
}

/// Alerts, the newest first
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(AlertQuery, PageQuery),
    responses((status = 200, body = Page<NumberedAlert>)))]
async fn list(
    State(app): State<App>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<AlertQuery, PageQuery>,
) -> Answer<Json<Page<NumberedAlert>>> {
    let limit = page.limit()?;
    let AlertQuery { rule, asset, address, kind, since } = query;
    let filter = AlertFilter { rule, asset, remote: address, kind, since };
    let mut conn = app.store.read().await?;
    let found = alerts::list(&mut conn, &filter, page.after()?, limit + 1).await?;
    Ok(Json(paged(found, limit, |alert| alert.id, numbered)))
}
