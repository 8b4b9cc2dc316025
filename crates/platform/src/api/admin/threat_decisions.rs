//! A feed's run on demand, and decisions on listings that wait.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_feeds::Feed;
use xshield_intelligence::judge::content_name;
use xshield_model::Timestamp;
use xshield_model::feed::{Differs, Held};
use xshield_model::file_name::FileName;
use xshield_store::threat_feeds::StoredFeed;
use xshield_store::{commit, threat_feeds};
use xshield_threat::FeedId;

use super::threat_feeds::{named, record, shown};
use crate::auth::{Allowed, Operator};
use crate::problem::{Answer, Problem};
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(run)).routes(routes!(approve)).routes(routes!(reject))
}

/// How long an answer waits for a run to end.
const WAIT_FOR_RUN: Duration = Duration::from_secs(60);

/// Run a threat feed now; the answer comes when the run has ended, or after a minute
#[utoipa::path(post, path = "/api/v1/threat/feeds/{name}/run", tag = "threats",
    params(("name" = String, Path)), responses((status = 200, body = Feed)))]
async fn run(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<Json<Feed>> {
    let mut tx = app.store.write().await?;
    let feed = named(&mut tx, &name).await?;
    record(&mut tx, allowed.caller(), "threat.feed.run", &feed, "", "").await?;
    commit(tx).await?;
    if let Some(running) = app.feeds.begin_run(&feed.id) {
        tokio::spawn(running.finish());
    }
    drop(tokio::time::timeout(WAIT_FOR_RUN, ended(&app, &feed.id)).await);
    let feed = named(&mut *app.store.read().await?, &name).await?;
    Ok(Json(shown(&app, feed)))
}

/// Done when no run of the feed is on its way.
async fn ended(app: &App, feed: &FeedId) {
    loop {
        let next = app.threat.wake.ended.notified();
        tokio::pin!(next);
        // From here on no end is missed.
        next.as_mut().enable();
        if !app.threat.is_running(feed) {
            return;
        }
        next.await;
    }
}

/// Let the listing that waits take effect, or the one that was turned away and that the source still gives
#[utoipa::path(post, path = "/api/v1/threat/feeds/{name}/approve", tag = "threats",
    params(("name" = String, Path)), responses((status = 200, body = Feed)))]
async fn approve(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<Json<Feed>> {
    let mut tx = app.store.write().await?;
    let mut feed = named(&mut tx, &name).await?;
    let (file, held) = match waiting(&mut feed) {
        Ok(waiting) => waiting,
        Err(nothing) => turned_away(&mut feed).ok_or(nothing)?,
    };
    let before = format!("{} entries", feed.state.entries);
    let after = format!("{} entries: {}", held.entries, held.reasons.join("; "));
    feed.listing = Some(file);
    feed.state.entries = held.entries;
    feed.state.added = held.added;
    feed.state.removed = held.removed;
    feed.state.changed_at = Some(Timestamp::now());
    feed.state.turned_away = None;
    feed.state.differs = None;
    threat_feeds::put(&mut tx, &feed).await?;
    record(&mut tx, allowed.caller(), "threat.feed.approve", &feed, &before, &after).await?;
    commit(tx).await?;
    // What goes wrong is shown with the list.
    drop(app.threat.compile().await);
    Ok(Json(shown(&app, feed)))
}

/// Turn the listing that waits away; the one in force stays, also when the feed says the same again
#[utoipa::path(post, path = "/api/v1/threat/feeds/{name}/reject", tag = "threats",
    params(("name" = String, Path)), responses((status = 200, body = Feed)))]
async fn reject(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<Json<Feed>> {
    let waits = named(&mut *app.store.read().await?, &name).await?.held;
    let listings = app.threat.listings.clone();
    let read = move || waits.and_then(|file| listings.load(file));
    let content = tokio::task::spawn_blocking(read).await?;
    let mut tx = app.store.write().await?;
    let mut feed = named(&mut tx, &name).await?;
    if feed.held != waits {
        let detail = "the feed ran meanwhile, and another listing waits now; look at it again";
        return Err(Problem::conflict("listing-changed", detail));
    }
    let (file, held) = waiting(&mut feed)?;
    feed.state.turned_away = content.map(|listing| content_name(&listing));
    let listing = Held { at: Timestamp::now(), ..held.clone() };
    feed.state.differs = Some(Differs { file: file.to_string(), listing });
    // What changes it tells from here on would be changes of what was turned away.
    feed.state.in_step = false;
    feed.state.bookmark = Default::default();
    threat_feeds::put(&mut tx, &feed).await?;
    let before = format!("{} entries: {}", held.entries, held.reasons.join("; "));
    record(&mut tx, allowed.caller(), "threat.feed.reject", &feed, &before, "").await?;
    commit(tx).await?;
    Ok(Json(shown(&app, feed)))
}

/// Takes the listing that was turned away out of the feed.
fn turned_away(feed: &mut StoredFeed) -> Option<(FileName, Held)> {
    let Differs { file, listing } = feed.state.differs.take()?;
    Some((file.parse().ok()?, listing))
}

/// Takes the listing that waits out of the feed.
fn waiting(feed: &mut StoredFeed) -> Answer<(FileName, Held)> {
    match (feed.held.take(), feed.state.held.take()) {
        (Some(file), Some(held)) => Ok((file, held)),
        _ => {
            let detail = format!("no listing of feed {} waits for a decision", feed.id);
            Err(Problem::conflict("nothing-held", detail))
        }
    }
}
