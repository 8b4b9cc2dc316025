//! Why an address is blocked, or not.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_why::{Addresses, Explanation, FeedEntry, Kept};
use xshield_model::Timestamp;
use xshield_threat::compile::{Counts, Why};

use crate::auth::{Allowed, Viewer};
use crate::problem::{Answer, JsonBody, Problem};
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(one)).routes(routes!(many))
}

/// No request asks about more addresses.
const MOST_ADDRESSES: usize = 10_000;

fn explanation(why: Why) -> Explanation {
    let feeds: Vec<FeedEntry> = why
        .listed
        .into_iter()
        .map(|entry| FeedEntry {
            feed: entry.feed.into(),
            entry: entry.entry.to_string(),
            confidence: entry.confidence.percent(),
            counts: entry.counts == Counts::Yes,
            since: entry.since.map(Timestamp::from_unix),
            until: entry.until.map(Timestamp::from_unix),
        })
        .collect();
    let exceptions = why.exceptions.into_iter();
    let protected = why.protected.into_iter();
    Explanation {
        address: why.address,
        listed: why.blocked_as.is_some(),
        blocked_as: why.blocked_as.map(|prefix| prefix.to_string()),
        since: feeds.iter().filter(|feed| feed.counts).filter_map(|feed| feed.since).min(),
        feeds,
        exceptions: exceptions
            .map(|one| Kept { prefix: one.prefix.to_string(), by: one.name })
            .collect(),
        protected: protected
            .map(|one| Kept { prefix: one.prefix.to_string(), by: word(one.by) })
            .collect(),
    }
}

fn word(by: xshield_threat::protect::ProtectedBy) -> String {
    xshield_store::word(&by).unwrap_or_default()
}

/// Why an address is blocked, since when and by whom
#[utoipa::path(get, path = "/api/v1/threat/why/{address}", tag = "threats",
    params(("address" = String, Path)), responses((status = 200, body = Explanation)))]
async fn one(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(address): Path<String>,
) -> Answer<Json<Explanation>> {
    let address = address.parse::<IpAddr>().map_err(|_| {
        Problem::invalid("/address", format!("{address:?} is not an IPv4 or IPv6 address"))
    })?;
    Ok(Json(explanation(app.threat.why(address.to_canonical()))))
}

/// Which of many addresses are on the list, and why; those that are not are left out
#[utoipa::path(post, path = "/api/v1/threat/why", tag = "threats", request_body = Addresses,
    responses((status = 200, body = Vec<Explanation>)))]
async fn many(
    State(app): State<App>,
    _: Allowed<Viewer>,
    JsonBody(asked): JsonBody<Addresses>,
) -> Answer<Json<Vec<Explanation>>> {
    if asked.addresses.len() > MOST_ADDRESSES {
        let reason = format!("more than {MOST_ADDRESSES}; ask several times");
        return Err(Problem::invalid("/addresses", reason));
    }
    let list = app.threat.list();
    let listed = asked.addresses.into_iter().map(|address| list.why(address.to_canonical()));
    Ok(Json(listed.filter(|why| why.blocked_as.is_some()).map(explanation).collect()))
}
