//! Sensors → Agents and Sensors → Spark: the hosts that have the program, one a line.

use askama::Template;
use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use xshield_policy::criteria::Criteria;
use xshield_policy::inventory::Source;

use super::commands::{KINDS, Kind};
use super::look::{State, When};
use super::page::{Frame, Section, answer};
use super::routes;
use super::session::Visitor;
use crate::api::admin::page::{Page, PageQuery};
use crate::api::admin::selection::matching;
use crate::api::admin::standing::Spark;
use crate::api::admin::threat_status::AssetThreat;
use crate::auth::{Allowed, Viewer};
use crate::clock::Timestamp;
use crate::problem::Answer;
use crate::query::BothOf;
use crate::state::App;
use crate::store::assets::{self, AssetFilter, Standing, StoredAsset};
use crate::store::threat_assets::{self, StoredThreat};
use crate::store::word;

pub(super) fn router() -> Router<App> {
    Router::new().route("/sensors/agents", get(agents)).route("/sensors/spark", get(spark))
}

/// Which hosts are looked for. An empty field of the form is one that is not there.
#[derive(Debug, Default, Deserialize)]
struct Wanted {
    /// Part of the name.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    status: Option<Standing>,
    /// A criteria expression, as it was typed.
    #[serde(default, rename = "where")]
    criteria: Option<String>,
}

async fn agents(
    Shared(app): Shared<App>,
    Visitor(allowed): Visitor<Viewer>,
    BothOf(wanted, page): BothOf<Wanted, PageQuery>,
) -> Answer<Response> {
    shown(&app, &allowed, Source::Agent, wanted, &page).await
}

async fn spark(
    Shared(app): Shared<App>,
    Visitor(allowed): Visitor<Viewer>,
    BothOf(wanted, page): BothOf<Wanted, PageQuery>,
) -> Answer<Response> {
    shown(&app, &allowed, Source::Spark, wanted, &page).await
}

/// A table of hosts.
#[derive(Template)]
#[template(path = "sensors.html")]
struct SensorsPage {
    frame: Frame,
    /// Where the page is.
    path: &'static str,
    /// For the form that gives commands.
    source: &'static str,
    name: String,
    criteria: String,
    /// Why the expression is none.
    criteria_fault: Option<String>,
    /// Keys that end soon.
    expiring: Vec<String>,
    statuses: Vec<Choice>,
    rows: Vec<Row>,
    /// The page after this one.
    next: Option<String>,
    filtered: bool,
    /// All of them in words.
    all: &'static str,
    kinds: &'static [Kind],
}

/// Something to choose in a form.
struct Choice {
    value: String,
    label: &'static str,
    chosen: bool,
}

struct Row {
    name: String,
    activity: State,
    since: Option<When>,
    /// Whether it is the program that runs since then, or the state that lasts.
    runs: bool,
    route: routes::Now,
    enforcement: State,
    /// Why nothing is enforced, or what went wrong.
    reason: Option<String>,
    revision: State,
    threat: State,
    version: String,
    last: Option<When>,
    problems: usize,
}

/// How a resident agent may be.
const OF_AGENTS: [(Standing, &str); 3] =
    [(Standing::Online, "online"), (Standing::Late, "late"), (Standing::Offline, "offline")];
/// How what something else starts may be.
const OF_SPARK: [(Standing, &str); 2] =
    [(Standing::Active, "active"), (Standing::Inactive, "inactive")];
/// How any host may be.
const OF_ALL: [(Standing, &str); 9] = [
    (Standing::Never, "never checked in"),
    (Standing::Enforcing, "enforcing"),
    (Standing::Blocked, "blocked"),
    (Standing::Failed, "failed"),
    (Standing::Refused, "check-in refused"),
    (Standing::NoPolicy, "no policy"),
    (Standing::Outdated, "older revision"),
    (Standing::IdentityChanged, "identity changed"),
    (Standing::Decommissioned, "decommissioned"),
];

/// Every standing that may be chosen for these hosts.
fn standings(source: Source) -> impl Iterator<Item = (Standing, &'static str)> {
    let own = match source {
        Source::Agent => &OF_AGENTS[..],
        Source::Spark | Source::Edr => &OF_SPARK[..],
    };
    own.iter().chain(&OF_ALL).copied()
}

async fn shown(
    app: &App,
    allowed: &Allowed<Viewer>,
    source: Source,
    wanted: Wanted,
    page: &PageQuery,
) -> Answer<Response> {
    let (limit, now) = (page.limit()?, Timestamp::now());
    let (title, section, path, source_word, all) = match source {
        Source::Agent => ("Agents", Section::Agents, "/sensors/agents", "agent", "agents"),
        Source::Spark | Source::Edr => {
            ("Spark", Section::Spark, "/sensors/spark", "spark", "Spark hosts")
        }
    };
    let criteria = wanted.criteria.as_deref().map(str::parse::<Criteria>).transpose();
    let (criteria, criteria_fault) = match criteria {
        Ok(criteria) => (criteria, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut conn = app.store.read().await?;
    let ids = match (&criteria, &criteria_fault) {
        (Some(criteria), _) => Some(matching(&mut conn, criteria).await?),
        // What can't be read means nobody, not everybody.
        (None, Some(_)) => Some(Vec::new()),
        (None, None) => None,
    };
    let filter = AssetFilter {
        name: wanted.name.clone(),
        standing: wanted.status,
        source: Some(source),
        ids,
        ..AssetFilter::default()
    };
    let after = page.after::<String>()?;
    let found = assets::list(&mut conn, &filter, after.as_deref(), limit + 1, now).await?;
    let mut threats = threat_assets::some(&mut conn, found.iter().map(|asset| &asset.id)).await?;
    drop(conn);
    let place = |asset: &StoredAsset| asset.name.as_str().to_owned();
    let Page { items: rows, next } = Page::of(found, limit, place, |asset| {
        let threat = threats.remove(asset.id.as_str()).unwrap_or_default();
        row(app, &asset, &threat, now)
    });
    let statuses = standings(source).map(|(standing, label)| {
        let value = word(&standing)?;
        Ok(Choice { value, label, chosen: wanted.status == Some(standing) })
    });
    let next = next.map(|cursor| following(path, &wanted, &cursor)).transpose()?;
    let page = SensorsPage {
        frame: Frame::new(title, section, &allowed.caller),
        path,
        source: source_word,
        filtered: wanted.name.is_some() || wanted.status.is_some() || wanted.criteria.is_some(),
        name: wanted.name.unwrap_or_default(),
        criteria: wanted.criteria.unwrap_or_default(),
        criteria_fault,
        expiring: super::page::warnings(app).await?,
        statuses: statuses.collect::<Answer<_>>()?,
        rows,
        next,
        all,
        kinds: &KINDS,
    };
    Ok(answer(StatusCode::OK, &page))
}

fn row(app: &App, asset: &StoredAsset, threat: &StoredThreat, now: Timestamp) -> Row {
    let spark = Spark::of(asset, app.compiling.failure(&asset.id), now);
    let started = spark.usage.map(|usage| Timestamp::from_unix(usage.started));
    let since = spark.inactive_since.or(started);
    let enforcement = match asset.pending {
        Some(_) => State::new("identity changed", super::look::Tone::Bad),
        None => State::enforcement(&spark),
    };
    Row {
        name: asset.name.to_string(),
        activity: State::activity(&spark),
        since: since.map(|since| When::of(since, now)),
        runs: spark.inactive_since.is_none(),
        route: routes::Now::of(&spark),
        enforcement,
        reason: spark.trouble(),
        revision: State::revision(&spark),
        threat: State::threat(AssetThreat::of(threat).as_ref()),
        last: spark.last_check_in.map(|last| When::of(last, now)),
        problems: spark.problems.len(),
        version: spark.version,
    }
}

/// The page after this one, of the same hosts.
fn following(path: &str, wanted: &Wanted, cursor: &str) -> Answer<String> {
    let mut query = vec![("cursor", cursor.to_owned())];
    query.extend(wanted.name.clone().map(|name| ("name", name)));
    query.extend(wanted.criteria.clone().map(|criteria| ("where", criteria)));
    if let Some(status) = &wanted.status {
        query.push(("status", word(status)?));
    }
    Ok(format!("{path}?{}", serde_urlencoded::to_string(query).unwrap_or_default()))
}
