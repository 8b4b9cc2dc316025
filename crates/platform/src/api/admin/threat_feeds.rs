//! Threat feeds: what they are, how they stand, and decisions on listings that wait.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_feeds::{Feed, FeedChange, NewFeed, Standing};
use xshield_intelligence::feed;
use xshield_model::Timestamp;
use xshield_model::feed::{Allow, FeedSettings, FeedState, Source, Switch};
use xshield_model::role::Role;
use xshield_store::audit::Deed;
use xshield_store::threat_feeds::StoredFeed;
use xshield_store::{Conn, audit, commit, threat_feeds};
use xshield_threat::FeedId;
use xshield_threat::presets::{Preset, presets};

use crate::auth::{Allowed, Caller, Operator, Viewer};
use crate::problem::{Answer, JsonBody, Problem};
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_feeds, add))
        .routes(routes!(get, change, delete))
        .routes(routes!(list_presets))
}

fn standing(feed: &StoredFeed, now: Timestamp) -> Standing {
    if feed.settings.state == Switch::Off {
        Standing::Off
    } else if feed.is_stale(now) {
        Standing::Stale
    } else if feed.held.is_some() {
        Standing::Held
    } else if feed.state.failure.is_some() {
        Standing::Failing
    } else if feed.state.differs.is_some() {
        Standing::Differs
    } else if feed.last_success.is_none() {
        Standing::New
    } else {
        Standing::Good
    }
}

/// A feed as it is shown.
pub(super) fn shown(app: &App, feed: StoredFeed) -> Feed {
    let state = standing(&feed, Timestamp::now());
    let FeedState {
        changed_at,
        entries,
        added,
        removed,
        read,
        failures,
        failure,
        held,
        differs,
        ..
    } = feed.state;
    Feed {
        running: app.threat.is_running(&feed.id),
        name: feed.id.into(),
        settings: feed.settings,
        has_secret: feed.secret.is_some(),
        state,
        created_at: feed.created_at,
        created_by: feed.created_by,
        next_run: feed.next_run,
        last_run: feed.last_run,
        last_success: feed.last_success,
        changed_at,
        entries,
        added,
        removed,
        read,
        failures,
        failure,
        held,
        differs: differs.map(|differs| differs.listing),
    }
}

/// List threat feeds
#[utoipa::path(get, path = "/api/v1/threat/feeds", tag = "threats",
    responses((status = 200, body = Vec<Feed>)))]
async fn list_feeds(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Vec<Feed>>> {
    let feeds = threat_feeds::all(&mut *app.store.read().await?).await?;
    Ok(Json(feeds.into_iter().map(|feed| shown(&app, feed)).collect()))
}

/// Add a threat feed; it runs at once
#[utoipa::path(post, path = "/api/v1/threat/feeds", tag = "threats", request_body = NewFeed,
    responses((status = 201, body = Feed)))]
async fn add(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    JsonBody(new): JsonBody<NewFeed>,
) -> Answer<(StatusCode, Json<Feed>)> {
    let now = Timestamp::now();
    let settings = feed::checked(new.settings)?;
    permitted(allowed.caller(), &settings, None)?;
    let secret = new.secret.as_deref().map(|secret| sealed(&app, &new.name, secret)).transpose()?;
    let feed = StoredFeed {
        id: new.name,
        settings,
        secret,
        created_at: now,
        created_by: allowed.actor(),
        next_run: now,
        last_run: None,
        last_success: None,
        listing: None,
        held: None,
        state: FeedState::default(),
    };
    let mut tx = app.store.write().await?;
    if threat_feeds::get(&mut tx, feed.id.as_str()).await?.is_some() {
        let detail = format!("there is a feed {} already", feed.id);
        return Err(Problem::conflict("name-in-use", detail).field("/name"));
    }
    threat_feeds::put(&mut tx, &feed).await?;
    record(&mut tx, allowed.caller(), "threat.feed.add", &feed, "", &in_words(&feed.settings))
        .await?;
    commit(tx).await?;
    app.threat.wake.schedule.notify_one();
    Ok((StatusCode::CREATED, Json(shown(&app, feed))))
}

fn sealed(app: &App, feed: &FeedId, secret: &str) -> Answer<String> {
    if axum::http::HeaderValue::from_str(secret).is_err() || secret.is_empty() {
        return Err(Problem::invalid("/secret", "a header can't hold this value"));
    }
    Ok(app.feeds.seal(feed, secret)?)
}

/// What reads files of the platform's machine, or its private network, is for admins: the samples of
/// rejected lines would show what operators may not see.
fn permitted(caller: &Caller, after: &FeedSettings, before: Option<&FeedSettings>) -> Answer<()> {
    let needs_admin = |settings: &FeedSettings| match &settings.source {
        Source::File(_) => Some("reading files of the platform's machine"),
        Source::Url(source) if source.allows(Allow::Private) => Some("reaching private addresses"),
        Source::Url(source) if source.proxy.is_some() => Some("the choice of a proxy"),
        Source::Url(_) => None,
    };
    let Some(what) = needs_admin(after) else { return Ok(()) };
    if caller.role >= Role::Admin || before.is_some_and(|before| before.source == after.source) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed")
        .field("/settings/source")
        .detail(format!("{what} takes the role admin")))
}

/// The feed that a path names.
pub(super) async fn named(conn: &mut Conn, name: &str) -> Answer<StoredFeed> {
    let found = threat_feeds::get(conn, name).await?;
    found.ok_or_else(|| Problem::not_found("threat feed", name))
}

/// One threat feed
#[utoipa::path(get, path = "/api/v1/threat/feeds/{name}", tag = "threats",
    params(("name" = String, Path)), responses((status = 200, body = Feed)))]
async fn get(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(name): Path<String>,
) -> Answer<Json<Feed>> {
    let feed = named(&mut *app.store.read().await?, &name).await?;
    Ok(Json(shown(&app, feed)))
}

/// Change a threat feed; it runs at once
#[utoipa::path(put, path = "/api/v1/threat/feeds/{name}", tag = "threats",
    params(("name" = String, Path)), request_body = FeedChange,
    responses((status = 200, body = Feed)))]
async fn change(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
    JsonBody(change): JsonBody<FeedChange>,
) -> Answer<Json<Feed>> {
    let settings = feed::checked(change.settings)?;
    let mut tx = app.store.write().await?;
    let mut feed = named(&mut tx, &name).await?;
    permitted(allowed.caller(), &settings, Some(&feed.settings))?;
    match change.secret {
        Some(secret) => feed.secret = Some(sealed(&app, &feed.id, &secret)?),
        None if feed.secret.is_some() && !same_server(&feed.settings, &settings) => {
            let reason = "the stored secret was given for another server; give one for this server";
            return Err(Problem::invalid("/secret", reason));
        }
        None => {}
    }
    let before = in_words(&feed.settings);
    let read_otherwise = feed.settings.source != settings.source
        || feed.settings.format != settings.format
        || feed.settings.confidence != settings.confidence
        || feed.settings.exchange != settings.exchange;
    // What may wait, or be turned away, is asked for again: the server would say that it is as before.
    if read_otherwise || feed.settings.empty != settings.empty {
        feed.state.validators = Default::default();
        feed.state.bookmark = Default::default();
        feed.state.in_step = false;
        feed.state.events = None;
    }
    feed.settings = settings;
    feed.next_run = Timestamp::now();
    threat_feeds::put(&mut tx, &feed).await?;
    let after = in_words(&feed.settings);
    record(&mut tx, allowed.caller(), "threat.feed.change", &feed, &before, &after).await?;
    commit(tx).await?;
    app.threat.wake.schedule.notify_one();
    // What goes wrong is shown with the list.
    drop(app.threat.compile().await);
    Ok(Json(shown(&app, feed)))
}

/// Whether a secret given for one is safe with the other: the same server, over the same way.
fn same_server(before: &FeedSettings, after: &FeedSettings) -> bool {
    match (&before.source, &after.source) {
        (Source::Url(before), Source::Url(after)) => {
            before.url.origin() == after.url.origin()
                && before.proxy == after.proxy
                && before.ca == after.ca
                && before.key_in_url() == after.key_in_url()
        }
        _ => false,
    }
}

/// Remove a threat feed; its entries leave the list
#[utoipa::path(delete, path = "/api/v1/threat/feeds/{name}", tag = "threats",
    params(("name" = String, Path)), responses((status = 204)))]
async fn delete(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let mut tx = app.store.write().await?;
    let feed = named(&mut tx, &name).await?;
    threat_feeds::delete(&mut tx, &name).await?;
    let before = in_words(&feed.settings);
    record(&mut tx, allowed.caller(), "threat.feed.remove", &feed, &before, "").await?;
    commit(tx).await?;
    // What goes wrong is shown with the list.
    drop(app.threat.compile().await);
    Ok(StatusCode::NO_CONTENT)
}

/// Well-known feeds, with their terms of use
#[utoipa::path(get, path = "/api/v1/threat/presets", tag = "threats",
    responses((status = 200, body = Vec<Object>)))]
async fn list_presets(_: Allowed<Viewer>) -> Answer<Json<Vec<Preset>>> {
    Ok(Json(presets()))
}

/// Writes down what was done to a feed.
pub(super) async fn record(
    conn: &mut Conn,
    caller: &Caller,
    action: &'static str,
    feed: &StoredFeed,
    before: &str,
    after: &str,
) -> Answer<()> {
    let deed = Deed {
        actor: &caller.actor(),
        action,
        target: feed.id.as_str(),
        before: before.to_owned(),
        after: after.to_owned(),
    };
    Ok(audit::record(conn, deed, Timestamp::now()).await?)
}

fn in_words(settings: &FeedSettings) -> String {
    serde_json::to_string(settings).unwrap_or_default()
}
