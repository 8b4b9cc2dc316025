//! The HTTPS interface of the platform.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use xshield_store::Store;

use crate::bodies;
use crate::console;
use crate::problem::{Answer, ErrorResponse};
use crate::readiness::Readiness;
use crate::state::App;

pub mod admin;
pub mod host;
mod key_metrics;
pub(crate) mod metrics_page;

/// The complete router.
pub fn router(app: App) -> Router {
    Router::new()
        .merge(admin::router())
        .merge(console::router())
        .layer(from_fn(carried_through))
        .merge(host::router())
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_page::show))
        .fallback(|request: Request| async move {
            ErrorResponse::not_found("resource", request.uri().path())
        })
        .method_not_allowed_fallback(|request: Request| async move {
            ErrorResponse::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
            )
            .detail(format!("{} {}", request.method(), request.uri().path()))
        })
        .layer(from_fn_with_state(app.clone(), console::browser::guard))
        .layer(from_fn(measured))
        // Handlers that read bodies without `bodies` get small ones.
        .layer(DefaultBodyLimit::max(bodies::MAX_UNAUTHENTICATED))
        .with_state(app)
}

async fn ready(
    State(store): State<Store>,
    State(readiness): State<Arc<Readiness>>,
) -> Answer<&'static str> {
    readiness.check(&store).await.map_err(|reason| {
        let title = "Platform not ready";
        let mut problem = ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", title)
            .detail(format!("{reason}; check its log and the disk of its data directory"));
        problem.retry_after = Some(5);
        problem
    })?;
    Ok("ready\n")
}

/// Completes an operator's change once the whole request has arrived, even when the connection ends before
/// the response: otherwise half of a change could remain, possibly only in memory. Requests that change
/// nothing end with their connection.
async fn carried_through(request: Request, next: Next) -> Response {
    let only_tried = request.uri().path() == admin::policy::VALIDATE;
    if request.method().is_safe() || only_tried {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request)).await {
        Ok(answer) => answer,
        Err(error) => ErrorResponse::from(error).into_response(),
    }
}

/// Counts and times requests, and adds the headers of every response.
async fn measured(request: Request, next: Next) -> Response {
    let started = Instant::now();
    // Unknown methods must not create metric series of their own.
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let mut response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    let labels = [("method", method.to_owned()), ("path", path.clone()), ("status", status)];
    metrics::counter!("xshield_http_requests_total", &labels).increment(1);
    metrics::histogram!("xshield_http_seconds", "method" => method, "path" => path)
        .record(started.elapsed().as_secs_f64());
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
