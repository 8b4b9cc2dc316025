//! The list at its revisions: what changed, and going back.

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::page::{Page, PageQuery};
use xshield_api::threat_list::{DiffQuery, Difference, Done, Half, Revision};
use xshield_intelligence::parts::SharedSet;
use xshield_model::Timestamp;
use xshield_operations::paging::{Pages as _, paged};
use xshield_store::audit::Deed;
use xshield_store::threat_lists::StoredRevision;
use xshield_store::{audit, commit, threat_assets, threat_lists};
use xshield_threat::ThreatSet;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::{Answer, Problem};
use crate::query::QueryOf;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(revisions))
        .routes(routes!(diff))
        .routes(routes!(restore))
        .routes(routes!(resume))
}

/// List revisions of the list, the newest first
#[utoipa::path(get, path = "/api/v1/threat/revisions", tag = "threats", params(PageQuery),
    responses((status = 200, body = Page<Revision>)))]
async fn revisions(
    State(app): State<App>,
    _: Allowed<Viewer>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Revision>>> {
    let limit = page.limit()?;
    let mut conn = app.store.read().await?;
    let found = threat_lists::revisions(&mut conn, page.after()?, limit + 1).await?;
    let current = app.threat.current().revision.map(|name| name.revision);
    let shown = |stored: StoredRevision| Revision {
        in_force: current == Some(stored.revision),
        revision: stored.revision,
        digest: stored.digest.to_string(),
        entries: stored.entries,
        added: stored.added,
        removed: stored.removed,
        reason: stored.reason,
        created_at: stored.created_at,
        feeds: stored.sources.feeds.into_iter().map(|feed| feed.name.into()).collect(),
    };
    Ok(Json(paged(found, limit, |stored| stored.revision, shown)))
}

const SAMPLES: usize = 100;

fn half(set: &ThreatSet) -> Half {
    let size = set.size();
    Half {
        entries: size.entries,
        v4_addresses: size.v4_addresses,
        samples: set.iter().take(SAMPLES).map(|prefix| prefix.to_string()).collect(),
    }
}

/// What came and went between two revisions
#[utoipa::path(get, path = "/api/v1/threat/diff", tag = "threats", params(DiffQuery),
    responses((status = 200, body = Difference)))]
async fn diff(
    State(app): State<App>,
    _: Allowed<Viewer>,
    QueryOf(query): QueryOf<DiffQuery>,
) -> Answer<Json<Difference>> {
    let (from, to) = two(&app, &query).await?;
    let compare = move || {
        let [before, after] = sets_of(&app, [&from, &to])?;
        Ok(Json(Difference {
            from: from.revision,
            to: to.revision,
            added: half(&after.difference(&before)),
            removed: half(&before.difference(&after)),
        }))
    };
    tokio::task::spawn_blocking(compare).await?
}

/// The revisions that a question is about.
pub(super) async fn two(app: &App, query: &DiffQuery) -> Answer<(StoredRevision, StoredRevision)> {
    let from = query.from.ok_or_else(|| Problem::invalid("?from", "name a revision"))?;
    let from = known(app, from).await?;
    let to = match query.to {
        Some(to) => known(app, to).await?,
        None => threat_lists::latest(&mut *app.store.read().await?)
            .await?
            .ok_or_else(|| Problem::not_found("threat revision", "newest"))?,
    };
    Ok((from, to))
}

/// The addresses of revisions. Blocks.
pub(super) fn sets_of<const N: usize>(
    app: &App,
    revisions: [&StoredRevision; N],
) -> Answer<[SharedSet; N]> {
    let mut sets = [const { None }; N];
    for (set, revision) in sets.iter_mut().zip(revisions) {
        let found = app.threat.paths.set(revision.digest);
        *set = found.map_err(|error| Problem::internal(&error))?;
    }
    if sets.iter().any(Option::is_none) {
        let detail = "its snapshot is gone or damaged".to_owned();
        return Err(Problem::conflict("revision-damaged", detail));
    }
    Ok(sets.map(Option::unwrap_or_default))
}

pub(super) async fn known(app: &App, revision: u64) -> Answer<StoredRevision> {
    let found = threat_lists::revision(&mut *app.store.read().await?, revision).await?;
    found.ok_or_else(|| Problem::not_found("threat revision", &revision.to_string()))
}

/// Go back to the listings of a revision, less today's exceptions and protected ranges. Feeds are
/// still read, but count again only after 'resume'.
#[utoipa::path(post, path = "/api/v1/threat/revisions/{revision}/restore", tag = "threats",
    params(("revision" = u64, Path)), responses((status = 200, body = Done)))]
async fn restore(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(revision): Path<String>,
) -> Answer<Json<Done>> {
    let missing = || Problem::not_found("threat revision", &revision);
    let number = revision.parse().map_err(|_| missing())?;
    known(&app, number).await?;
    pin(&app, &allowed.actor(), Some(number)).await
}

/// Let feeds count again
#[utoipa::path(post, path = "/api/v1/threat/resume", tag = "threats",
    responses((status = 200, body = Done)))]
async fn resume(State(app): State<App>, allowed: Allowed<Operator>) -> Answer<Json<Done>> {
    pin(&app, &allowed.actor(), None).await
}

async fn pin(app: &App, actor: &str, to: Option<u64>) -> Answer<Json<Done>> {
    let words = |pinned: Option<u64>| match pinned {
        Some(revision) => format!("the listings of revision {revision}"),
        None => "the feeds".to_owned(),
    };
    let mut tx = app.store.write().await?;
    let mut settings = threat_assets::settings(&mut tx).await?;
    let before = settings.pinned;
    settings.pinned = to;
    threat_assets::put_settings(&mut tx, &settings).await?;
    let deed = Deed {
        actor,
        action: if to.is_some() { "threat.restore" } else { "threat.resume" },
        target: "threat list",
        before: words(before),
        after: words(to),
    };
    audit::record(&mut tx, deed, Timestamp::now()).await?;
    commit(tx).await?;
    // What goes wrong is shown with the list.
    drop(app.threat.compile().await);
    let current = app.threat.current().revision;
    Ok(Json(Done {
        restored: to,
        revision: current.map(|name| name.revision),
        entries: current.map_or(0, |name| name.entries),
        trouble: app.threat.trouble(),
    }))
}
