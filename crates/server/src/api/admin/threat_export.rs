//! The whole list, or the whole difference of two revisions, as text: made piece by piece while it is
//! sent, so that no answer is in memory as a whole.

use std::convert::Infallible;
use std::fmt::Write as _;
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
use xshield_intelligence::parts::SharedSet;
use xshield_store::threat_lists;
use xshield_threat::{Prefix, ThreatSet};

use super::threat_revisions::{known, sets_of, two};
use crate::auth::{Allowed, Viewer};
use crate::problem::{Answer, Problem};
use crate::query::QueryOf;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(changes))
}

/// The whole list at a revision: a prefix a line, behind a comment that names it. It can be read as a feed
#[utoipa::path(get, path = "/api/v1/threat/list", tag = "threats", params(ListQuery),
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn list(
    State(app): State<App>,
    _: Allowed<Viewer>,
    QueryOf(query): QueryOf<ListQuery>,
) -> Answer<Response> {
    let revision = match query.revision {
        Some(revision) => known(&app, revision).await?,
        None => threat_lists::latest(&mut *app.store.read().await?)
            .await?
            .ok_or_else(|| Problem::not_found("threat revision", "newest"))?,
    };
    let head = format!(
        "# threat list, revision {} of {}, {} entries, sha256 {}\n",
        revision.revision,
        revision.created_at.to_rfc3339(),
        revision.entries,
        revision.digest
    );
    let worker = app.clone();
    let read = move || sets_of(&worker, [&revision]);
    let [set] = tokio::task::spawn_blocking(read).await??;
    Ok(text(head, vec![Part { sign: "", set }]))
}

/// Everything that came and went between two revisions: `+` or `-` and a prefix a line
#[utoipa::path(get, path = "/api/v1/threat/diff/all", tag = "threats", params(DiffQuery),
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn changes(
    State(app): State<App>,
    _: Allowed<Viewer>,
    QueryOf(query): QueryOf<DiffQuery>,
) -> Answer<Response> {
    let (from, to) = two(&app, &query).await?;
    let worker = app.clone();
    let compare = move || {
        let [before, after] = sets_of(&worker, [&from, &to])?;
        let (added, removed) = (after.difference(&before), before.difference(&after));
        let head = format!(
            "# threat list, revision {} to {}, {} entries came and {} went\n",
            from.revision,
            to.revision,
            added.len(),
            removed.len()
        );
        let part = |sign, set: ThreatSet| Part { sign, set: set.into() };
        Ok::<_, Problem>(text(head, vec![part("+", added), part("-", removed)]))
    };
    tokio::task::spawn_blocking(compare).await?
}

/// Prefixes that are written with the same sign in front.
struct Part {
    sign: &'static str,
    set: SharedSet,
}

fn text(head: String, parts: Vec<Part>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (kind, Body::new(Lines { head: Some(head), parts, part: 0, next: 0 })).into_response()
}

/// Lines of a piece.
const PIECE: usize = 4096;

/// The lines of some sets, a piece at a time.
struct Lines {
    head: Option<String>,
    parts: Vec<Part>,
    /// The part that is being written, and its next entry.
    part: usize,
    next: usize,
}

impl Lines {
    fn piece(&mut self) -> Option<String> {
        if let Some(head) = self.head.take() {
            return Some(head);
        }
        loop {
            let Part { sign, set } = self.parts.get(self.part)?;
            let v4 = set.v4().iter_from(self.next).map(Prefix::V4);
            let v6 = set.v6().iter_from(self.next.saturating_sub(set.v4().len()));
            let (mut text, mut taken) = (String::new(), 0);
            for prefix in v4.chain(v6.map(Prefix::V6)).take(PIECE) {
                // Writing to a string can't fail.
                let _ = writeln!(text, "{sign}{prefix}");
                taken += 1;
            }
            self.next += taken;
            if taken > 0 {
                return Some(text);
            }
            (self.part, self.next) = (self.part + 1, 0);
        }
    }
}

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.piece().map(|text| Ok(Frame::data(Bytes::from(text)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_written_once_however_the_pieces_fall() {
        for (v4, v6) in
            [(0, 0), (1, 0), (0, 1), (PIECE, 0), (PIECE - 1, 2), (PIECE, PIECE), (3 * PIECE + 5, 7)]
        {
            let of_v4 = (0..v4 as u32).map(|n| Prefix::V4(xshield_threat::Net::host(n * 2)));
            let of_v6 = (0..v6 as u128).map(|n| Prefix::V6(xshield_threat::Net::host(n * 2)));
            let set: ThreatSet = of_v4.chain(of_v6).collect();
            let expected: Vec<String> = set.iter().map(|prefix| format!("+{prefix}")).collect();
            let expected: Vec<String> = expected
                .iter()
                .cloned()
                .chain(set.iter().map(|prefix| format!("-{prefix}")))
                .collect();
            let set: SharedSet = set.into();
            let parts = vec![Part { sign: "+", set: set.clone() }, Part { sign: "-", set }];
            let mut lines = Lines { head: Some("# head\n".to_owned()), parts, part: 0, next: 0 };
            let mut pieces = std::iter::from_fn(|| lines.piece());
            assert_eq!(pieces.next().as_deref(), Some("# head\n"));
            let pieces: Vec<String> = pieces.collect();
            assert!(pieces.iter().all(|piece| piece.lines().count() <= PIECE));
            let written = pieces.concat();
            let written: Vec<&str> = written.lines().collect();
            assert_eq!(written, expected, "{v4} and {v6}");
        }
    }
}
