//! The overview: numbers of hosts that need attention, with links to them.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use xshield_model::Timestamp;
use xshield_model::asset_filter::AssetStanding;
use xshield_operations::assets::{Counts, counts};
use xshield_operations::compiler::RulesetCompiler;
use xshield_policy::inventory::Source;
use xshield_store::Store;
use xshield_store::word;

use super::page::{Frame, Section, answer};
use super::session::Visitor;
use crate::auth::Viewer;
use crate::problem::Answer;
use crate::settings::Settings;
use crate::state::App;

pub(super) fn router() -> Router<App> {
    Router::new().route("/", get(overview))
}

/// What is counted, most important first, with its label.
const COUNTED: [(AssetStanding, &str); 12] = [
    (AssetStanding::Unprotected, "not protected"),
    (AssetStanding::Refused, "check-in refused"),
    (AssetStanding::IdentityChanged, "claimed by another machine"),
    (AssetStanding::Failed, "failed"),
    (AssetStanding::Blocked, "blocked by another firewall"),
    (AssetStanding::Offline, "offline"),
    (AssetStanding::Inactive, "inactive"),
    (AssetStanding::Late, "late"),
    (AssetStanding::Never, "never checked in"),
    (AssetStanding::Outdated, "without the desired ruleset"),
    (AssetStanding::Waiting, "with a pending name or address"),
    (AssetStanding::Problems, "with problems"),
];

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    expiring: Vec<String>,
    kinds: Vec<Kind>,
}

/// The hosts with one program.
struct Kind {
    title: &'static str,
    path: &'static str,
    total: u64,
    /// Empty: no host needs attention.
    counts: Vec<Count>,
}

struct Count {
    number: u64,
    words: &'static str,
    link: String,
}

async fn overview(
    Shared(store): Shared<Store>,
    Shared(compiler): Shared<Arc<RulesetCompiler>>,
    Shared(settings): Shared<Arc<Settings>>,
    Visitor(allowed): Visitor<Viewer>,
) -> Answer<Response> {
    let now = Timestamp::now();
    let mut kinds = Vec::new();
    for (source, title, path) in
        [(Source::Agent, "Agents", "/sensors/agents"), (Source::Spark, "Spark", "/sensors/spark")]
    {
        kinds.push(kind(&store, &compiler, source, title, path, now).await?);
    }
    let page = OverviewPage {
        frame: Frame::new("Overview", Section::Overview, allowed.caller()),
        expiring: super::page::warnings(&store, &settings).await?,
        kinds,
    };
    Ok(answer(StatusCode::OK, &page))
}

async fn kind(
    store: &Store,
    compiler: &RulesetCompiler,
    source: Source,
    title: &'static str,
    path: &'static str,
    now: Timestamp,
) -> Answer<Kind> {
    let counted = || COUNTED.into_iter().filter(|(standing, _)| concerns(*standing, source));
    let standings = counted().map(|(standing, _)| standing);
    let Counts { total, by_standing } = counts(store, compiler, source, standings, now).await?;
    let mut counts = Vec::new();
    for ((standing, number), (_, words)) in by_standing.into_iter().zip(counted()) {
        if number > 0 {
            let link = format!("{path}?status={}", word(&standing)?);
            counts.push(Count { number, words, link });
        }
    }
    Ok(Kind { title, path, total, counts })
}

/// A resident agent is late or offline; a program that something else starts is inactive.
fn concerns(standing: AssetStanding, source: Source) -> bool {
    match standing {
        AssetStanding::Late | AssetStanding::Offline => source == Source::Agent,
        AssetStanding::Inactive => source != Source::Agent,
        _ => true,
    }
}
