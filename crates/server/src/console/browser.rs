//! Browser-specific behavior: protection against cross-site requests, and errors as pages.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};

use super::page::{ErrorPage, answer};
use super::sign_in;
use crate::problem::ErrorResponse;
use crate::settings::{PublicUrl, Settings};

/// For a year (RFC 6797).
const STAYS_HTTPS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The header that htmx sends with each of its requests.
const HTMX: &str = "hx-request";

/// Paths for programs: they return no pages and accept no cookies.
const PROGRAMS: [&str; 5] = ["/api/", "/host/", "/healthz", "/readyz", "/metrics"];

/// Refuses cross-site requests and renders problems as pages for people.
pub(crate) async fn guard(
    State(settings): State<Arc<Settings>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if PROGRAMS.iter().any(|start| path.starts_with(start)) {
        return next.run(request).await;
    }
    let asks = ClientKind::of(request.headers());
    let is_named = is_public_name(request.headers(), &settings.public_urls);
    let to = match *request.method() {
        Method::GET => request.uri().path_and_query().map_or("/", |to| to.as_str()).to_owned(),
        _ => "/".to_owned(),
    };
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let response = if changes && !is_same_origin(request.headers()) {
        metrics::counter!("xshield_refused_total", "reason" => "cross-site").increment(1);
        ErrorResponse::new(StatusCode::FORBIDDEN, "cross-site", "Cross-site request")
            .detail("the request does not come from a page of this console; open the page again")
            .into_response()
    } else {
        next.run(request).await
    };
    let mut response = shown(response, asks, &to);
    if is_named {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, STAYS_HTTPS);
    }
    response
}

/// Whether the browser used one of the platform's public names. Browsers remember HSTS for names on all
/// ports, not for addresses; and they ignore it for a server whose certificate they don't trust (RFC 6797,
/// 8.1), so the header does no harm while the platform's own CA is unknown to them.
fn is_public_name(headers: &HeaderMap, urls: &[PublicUrl]) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    urls.iter().any(|url| {
        url.host.parse::<IpAddr>().is_err()
            && url.host != "localhost"
            && url.host.eq_ignore_ascii_case(name)
    })
}

/// The kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientKind {
    /// A browser that displays the response.
    Browser,
    /// A script of ours in a page that is displayed already.
    Htmx,
    /// A client that displays no pages.
    Program,
}

impl ClientKind {
    fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        if headers.contains_key(HTMX) {
            Self::Htmx
        } else if accept.is_some_and(|accept| accept.contains("text/html")) {
            Self::Browser
        } else {
            Self::Program
        }
    }
}

/// Whether a request comes from the same origin, as stated by the browser; a request without that information
/// is refused. (`Sec-Fetch-Site` is sent by every current browser; `Origin` by older ones, too.)
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.strip_prefix("https://") == Some(host),
        _ => false,
    }
}

/// A problem as a page; unauthenticated visitors are redirected to sign in and return to `to`.
fn shown(mut response: Response, asks: ClientKind, to: &str) -> Response {
    if asks == ClientKind::Program {
        return response;
    }
    let Some(problem) = response.extensions_mut().remove::<ErrorResponse>() else {
        return response;
    };
    if problem.kind == "/problems/unauthenticated" {
        let sign_in = sign_in::href(to);
        if asks == ClientKind::Htmx {
            let mut response = StatusCode::UNAUTHORIZED.into_response();
            // A complete page replaces the displayed one.
            if let Ok(here) = HeaderValue::from_str(&sign_in::href("/")) {
                response.headers_mut().insert("hx-redirect", here);
            }
            return response;
        }
        return Redirect::to(&sign_in).into_response();
    }
    let mut page = answer(problem.status, &ErrorPage::of(&problem));
    if let Some(wait) = response.headers().get(header::RETRY_AFTER) {
        page.headers_mut().insert(header::RETRY_AFTER, wait.clone());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsts_is_set_for_names_and_not_for_addresses() {
        let urls = ["https://x.example.com:8443", "https://10.0.0.1:8443", "https://localhost"];
        let urls: Vec<PublicUrl> = urls.iter().map(|url| url.parse().unwrap()).collect();
        for (host, kept) in [
            ("x.example.com", true),
            ("X.example.com:8443", true),
            ("y.example.com", false),
            ("10.0.0.1:8443", false),
            ("localhost", false),
            ("[::1]:8443", false),
            ("", false),
        ] {
            let headers = [(header::HOST, HeaderValue::from_static(host))].into_iter().collect();
            assert_eq!(is_public_name(&headers, &urls), kept, "{host}");
        }
    }

    #[test]
    fn only_this_origin_counts_as_same_origin() {
        for (sent, same) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", "https://x:8443"), ("host", "x:8443")], true),
            (&[("origin", "http://x:8443"), ("host", "x:8443")], false),
            (&[("origin", "https://evil"), ("host", "x:8443")], false),
            (&[("origin", "null"), ("host", "x:8443")], false),
            (&[("host", "x:8443")], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://x:8443"),
                    ("host", "x:8443"),
                ],
                false,
            ),
        ] {
            let headers: HeaderMap = sent
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect();
            assert_eq!(is_same_origin(&headers), same, "{sent:?}");
        }
    }
}
