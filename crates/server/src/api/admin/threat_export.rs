//! The complete list, or the complete difference of two revisions, as text, streamed.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use hyper::body::Frame;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_list::{DiffQuery, ListQuery};
use xshield_operations::threat::export::{self, Lines};
use xshield_store::Store;

use crate::auth::{Allowed, Viewer};
use crate::problem::Answer;
use crate::query::QueryOf;
use crate::signals::ThreatService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(changes))
}

/// The complete list at a revision: one prefix per line, after a comment that identifies it. It can be read
/// as a feed
#[utoipa::path(get, path = "/api/v1/threat/list", tag = "threats", params(ListQuery),
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn list(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
    QueryOf(query): QueryOf<ListQuery>,
) -> Answer<Response> {
    Ok(text(export::list(&store, &threats, &query).await?))
}

/// Everything that was added or removed between two revisions: `+` or `-` and a prefix per line
#[utoipa::path(get, path = "/api/v1/threat/diff/all", tag = "threats", params(DiffQuery),
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn changes(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
    QueryOf(query): QueryOf<DiffQuery>,
) -> Answer<Response> {
    Ok(text(export::changes(&store, &threats, &query).await?))
}

fn text(lines: Lines) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (kind, Body::new(Pieces(lines))).into_response()
}

/// Lines as a response body.
struct Pieces(Lines);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|text| Ok(Frame::data(Bytes::from(text)))))
    }
}
