//! Static files of the pages: style, scripts, icon. Their URL contains a digest of their content, so browsers
//! may cache them forever.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use ring::digest::{SHA256, digest};

use crate::problem::{Answer, ErrorResponse};
use crate::state::App;

/// A static file.
struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const FILES: [File; 4] = [
    File {
        name: "console.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../../static/console.css"),
    },
    File {
        name: "console.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../static/console.js"),
    },
    File {
        name: "htmx.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../static/htmx-2.0.11.min.js"),
    },
    File {
        name: "icon.svg",
        kind: "image/svg+xml",
        bytes: include_bytes!("../../static/icon.svg"),
    },
];

/// One digest for all: they belong together.
static DIGEST: LazyLock<String> = LazyLock::new(|| {
    let all: Vec<u8> = FILES.iter().flat_map(|file| file.bytes.iter().copied()).collect();
    digest(&SHA256, &all).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
});

/// The URL of a file.
pub(super) fn href(name: &str) -> String {
    format!("/static/{}/{name}", *DIGEST)
}

pub(super) fn router() -> Router<App> {
    Router::new().route("/static/{digest}/{name}", get(file))
}

async fn file(Path((digest, name)): Path<(String, String)>) -> Answer<Response> {
    let found = FILES.iter().find(|file| digest == *DIGEST && file.name == name);
    let file = found.ok_or_else(|| ErrorResponse::not_found("file", &name))?;
    let mut response = file.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    Ok(response)
}
