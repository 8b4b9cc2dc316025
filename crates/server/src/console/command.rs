//! One command: its progress, and the outcome at each host.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use xshield_api::commands::{Selection, TargetOutcome};
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_model::command::{Progress, TargetState};
use xshield_operations::paging::Pages as _;
use xshield_operations::{commands, diagnostics};
use xshield_store::Store;
use xshield_store::word;

use super::asset::Archive;
use super::commands::{by, label, length, outcome, overall, whom};
use super::display::{State, When};
use super::page::{Frame, Section, answer};
use super::session::Visitor;
use crate::auth::Viewer;
use crate::problem::Answer;
use crate::query::BothOf;
use crate::settings::Settings;
use crate::state::App;

pub(super) fn router() -> Router<App> {
    Router::new().route("/commands/{id}", get(show))
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    state: Option<TargetState>,
}

#[derive(Template)]
#[template(path = "command.html")]
struct CommandPage {
    frame: Frame,
    id: String,
    label: String,
    whom: String,
    duration: Option<String>,
    given: When,
    by: String,
    expires: When,
    cancelled: Option<When>,
    progress: Progress,
    /// The number of hosts in each state, and the filter value for it.
    counts: Vec<(u64, String)>,
    state: State,
    /// The address of this page, for reloading while it changes.
    here: String,
    outcomes: Vec<OutcomeRow>,
    next: Option<String>,
}

impl CommandPage {
    /// Whether outcomes are still pending.
    fn goes_on(&self) -> bool {
        self.progress.under_way() > 0
    }

    fn ended(&self) -> u64 {
        self.progress.assets - self.progress.under_way()
    }
}
struct OutcomeRow {
    asset: String,
    state: State,
    told: Option<When>,
    ended: Option<When>,
    reason: String,
    archive: Option<Archive>,
}

async fn show(
    Shared(store): Shared<Store>,
    Shared(settings): Shared<Arc<Settings>>,
    Visitor(allowed): Visitor<Viewer>,
    Path(id): Path<String>,
    BothOf(wanted, page): BothOf<Wanted, PageQuery>,
) -> Answer<Response> {
    let (paging, now) = (page.paging()?, Timestamp::now());
    let mut conn = store.read().await?;
    let job = commands::known(&mut conn, &id).await?;
    let progress = commands::progress(&mut conn, &id, now).await?;
    let found = commands::outcomes(&mut conn, &id, wanted.state, paging, now).await?;
    let keep_for = settings.keep_uploads_for;
    let collected = diagnostics::of_command(&mut conn, &id, keep_for).await?;
    drop(conn);
    let mut archives: BTreeMap<String, Archive> =
        collected.iter().map(|one| (one.asset.clone(), Archive::of(one, now))).collect();
    let Page { items, next } = found;
    let outcomes = items.into_iter().map(|outcome| {
        let archive = archives.remove(&outcome.asset);
        shown(outcome, archive, now)
    });
    let path = format!("/commands/{id}");
    let state = wanted.state.as_ref().map(word).transpose()?;
    let query = |cursor: Option<&str>| {
        let fields = [("state", state.as_deref()), ("cursor", cursor)];
        let fields: Vec<_> = fields.iter().filter(|(_, value)| value.is_some()).collect();
        match serde_urlencoded::to_string(fields) {
            Ok(query) if !query.is_empty() => format!("{path}?{query}"),
            _ => path.clone(),
        }
    };
    let label = label(&job.kind.into())?;
    let page = CommandPage {
        frame: Frame::new(label.clone(), Section::Commands, allowed.caller()),
        label,
        // Commands of earlier versions store their selection differently.
        whom: serde_json::from_str::<Selection>(&job.target)
            .map_or_else(|_| job.target.clone(), |s| whom(&s)),
        duration: job.duration.map(length),
        given: When::of(job.created_at, now),
        by: by(&job.created_by),
        expires: When::of(job.expires_at, now),
        cancelled: job.cancelled_at.map(|at| When::of(at, now)),
        state: overall(&progress),
        counts: counts(&progress)?,
        progress,
        here: query(page.cursor.as_deref()),
        next: next.map(|cursor| query(Some(&cursor))),
        outcomes: outcomes.collect::<Answer<_>>()?,
        id,
    };
    Ok(answer(StatusCode::OK, &page))
}

fn counts(progress: &Progress) -> Answer<Vec<(u64, String)>> {
    let counts = progress.by_state().into_iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, state)| Ok((count, word(&state)?))).collect()
}

fn shown(of: TargetOutcome, archive: Option<Archive>, now: Timestamp) -> Answer<OutcomeRow> {
    Ok(OutcomeRow {
        state: outcome(&of.state)?,
        told: of.told_at.map(|at| When::of(at, now)),
        ended: of.ended_at.map(|at| When::of(at, now)),
        reason: of.reason.unwrap_or_default(),
        archive,
        asset: of.asset,
    })
}
