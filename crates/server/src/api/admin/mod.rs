//! The API that operators, the console and the CLI use: `/api/v1`, described at `/api/v1/openapi.json`.

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, Response, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;

use crate::state::App;

mod access_log;
mod agent_events;
mod alerts;
mod assets;
mod audit_log;
mod channels;
mod claims;
mod commands;
mod enforcement_keys;
mod health;
mod host_configuration;
mod host_telemetry;
mod identities;
pub(super) mod policy;
mod sign_in;
mod telemetry;
mod threat_decisions;
mod threat_events;
mod threat_exceptions;
mod threat_export;
mod threat_feeds;
mod threat_impact;
mod threat_modes;
mod threat_revisions;
mod threat_status;
mod threat_why;
mod users;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Xshield platform",
        description = "Errors are RFC 9457 problem documents. Lists are paginated: pass `next` \
             as `cursor` to get the next page."
    ),
    security(("token" = [])),
    modifiers(&Token),
    components(schemas(xshield_api::problem::ProblemDocument))
)]
struct Described;

struct Token;

impl utoipa::Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// `/api/v1`.
pub(super) fn router() -> Router<App> {
    let (router, mut described) = OpenApiRouter::with_openapi(Described::openapi())
        .merge(sign_in::router())
        .merge(users::router())
        .merge(assets::router())
        .merge(identities::router())
        .merge(claims::router())
        .merge(telemetry::router())
        .merge(threat_events::router())
        .merge(threat_export::router())
        .merge(threat_impact::router())
        .merge(access_log::router())
        .merge(alerts::router())
        .merge(channels::router())
        .merge(commands::router())
        .merge(host_configuration::router())
        .merge(host_telemetry::router())
        .merge(agent_events::router())
        .merge(enforcement_keys::router())
        .merge(health::router())
        .merge(policy::router())
        .merge(audit_log::router())
        .merge(threat_why::router())
        .merge(threat_feeds::router())
        .merge(threat_decisions::router())
        .merge(threat_exceptions::router())
        .merge(threat_revisions::router())
        .merge(threat_modes::router())
        .merge(threat_status::router())
        .merge(super::host::trust::router())
        .split_for_parts();
    complete(&mut described);
    let described = axum::body::Bytes::from(described.to_json().unwrap_or_default());
    router.route(
        "/api/v1/openapi.json",
        get(move || {
            let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
            async move { (json, described).into_response() }
        }),
    )
}

/// Gives every operation a unique id, e.g. `get_assets_asset_ports` (client generators derive function names
/// from it), and the response that all of them may return.
fn complete(described: &mut utoipa::openapi::OpenApi) {
    for (path, item) in &mut described.paths.paths {
        let words: Vec<&str> = path
            .trim_start_matches("/api/v1/")
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        let name = words.join("_");
        let operations = [
            ("get", &mut item.get),
            ("put", &mut item.put),
            ("post", &mut item.post),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                operation.operation_id = Some(format!("{method}_{name}"));
                operation.responses.responses.insert("default".to_owned(), refusal().into());
            }
        }
    }
}

fn refusal() -> Response {
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description("The request was refused or failed: see the problem document.")
        .content("application/problem+json", problem)
        .build()
}
