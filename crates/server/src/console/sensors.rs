//! Sensors → Agents and Sensors → Spark: the hosts with the program, one per line.

use askama::Template;
use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde::de::IgnoredAny;
use xshield_api::assets::Asset;
use xshield_api::page::PageQuery;
use xshield_api::query::number;
use xshield_model::Timestamp;
use xshield_model::asset_filter::AssetStanding;
use xshield_operations::By;
use xshield_operations::assets::{Sorting, Table, TableQuery, table};
use xshield_operations::paging::Pages as _;
use xshield_operations::protection;
use xshield_operations::standing::trouble;
use xshield_policy::criteria::Criteria;
use xshield_policy::inventory::Source;
use xshield_store::word;

use super::commands::{KINDS, Kind};
use super::display::{State, When};
use super::page::{Frame, Section, answer};
use super::routes;
use super::session::Visitor;
use crate::auth::Viewer;
use crate::problem::Answer;
use crate::query::BothOf;
use crate::state::{App, HostTableParts};

pub(super) fn router() -> Router<App> {
    Router::new().route("/sensors/agents", get(agents)).route("/sensors/spark", get(spark))
}

/// The filter. An empty form field counts as absent.
#[derive(Debug, Default, Deserialize)]
struct Wanted {
    /// Part of the name.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    status: Option<AssetStanding>,
    /// A criteria expression as entered.
    #[serde(default, rename = "where")]
    criteria: Option<String>,
    #[serde(default)]
    sort: Option<Sorting>,
    /// The page number, from 1.
    #[serde(default, deserialize_with = "number")]
    page: Option<u32>,
}

async fn agents(
    Shared(hosts): Shared<HostTableParts>,
    Visitor(allowed): Visitor<Viewer>,
    BothOf(wanted, page): BothOf<Wanted, PageQuery>,
) -> Answer<Response> {
    shown(&hosts, &allowed, Source::Agent, wanted, &page).await
}

async fn spark(
    Shared(hosts): Shared<HostTableParts>,
    Visitor(allowed): Visitor<Viewer>,
    BothOf(wanted, page): BothOf<Wanted, PageQuery>,
) -> Answer<Response> {
    shown(&hosts, &allowed, Source::Spark, wanted, &page).await
}

/// A table of hosts.
#[derive(Template)]
#[template(path = "sensors.html")]
struct SensorsPage {
    frame: Frame,
    /// The URL path of the page.
    path: &'static str,
    /// For the form that sends commands.
    source: &'static str,
    name: String,
    criteria: String,
    /// Why the expression is invalid.
    criteria_fault: Option<String>,
    /// Keys that expire soon.
    expiring: Vec<String>,
    statuses: Vec<Choice>,
    rows: Vec<Row>,
    columns: Vec<Column>,
    /// The number of matching hosts on all pages.
    total: u64,
    /// The first and the last on this page, from 1.
    first: u64,
    last: u64,
    before: Option<String>,
    next: Option<String>,
    sort: Option<String>,
    filtered: bool,
    /// All of them in words.
    all: &'static str,
    kinds: &'static [Kind],
}

/// The head of a column.
struct Column {
    title: &'static str,
    number: bool,
    /// The URL for sorting by it, if possible.
    link: Option<String>,
    /// `ascending` or `descending` if the list is sorted by it.
    sorted: Option<&'static str>,
}

/// An option of a form.
struct Choice {
    value: String,
    label: &'static str,
    chosen: bool,
}

struct Row {
    name: String,
    activity: State,
    since: Option<When>,
    /// Whether it is the run time of the program, or the duration of the state.
    runs: bool,
    route: routes::Now,
    enforcement: State,
    /// Why nothing is enforced, or what failed.
    reason: Option<String>,
    inbound: Option<String>,
    outbound: Option<String>,
    segments: String,
    tags: Vec<String>,
    addresses: String,
    revision: State,
    threat: State,
    version: String,
    last: Option<When>,
    problems: usize,
}

/// States of a resident agent.
const OF_AGENTS: [(AssetStanding, &str); 3] = [
    (AssetStanding::Online, "online"),
    (AssetStanding::Late, "late"),
    (AssetStanding::Offline, "offline"),
];
/// States of a program that something else starts.
const OF_SPARK: [(AssetStanding, &str); 2] =
    [(AssetStanding::Active, "active"), (AssetStanding::Inactive, "inactive")];
/// States of any host.
const OF_ALL: [(AssetStanding, &str); 11] = [
    (AssetStanding::Unprotected, "not protected"),
    (AssetStanding::Problems, "with problems"),
    (AssetStanding::Never, "never checked in"),
    (AssetStanding::Enforcing, "ruleset in the kernel"),
    (AssetStanding::Blocked, "blocked"),
    (AssetStanding::Failed, "failed"),
    (AssetStanding::Refused, "check-in refused"),
    (AssetStanding::NoPolicy, "no policy"),
    (AssetStanding::Outdated, "older revision"),
    (AssetStanding::IdentityChanged, "identity changed"),
    (AssetStanding::Decommissioned, "decommissioned"),
];

/// Every state that can be selected for these hosts.
fn standings(source: Source) -> impl Iterator<Item = (AssetStanding, &'static str)> {
    let own = match source {
        Source::Agent => &OF_AGENTS[..],
        Source::Spark | Source::Edr => &OF_SPARK[..],
    };
    own.iter().chain(&OF_ALL).copied()
}

async fn shown(
    hosts: &HostTableParts,
    allowed: &By<Viewer>,
    source: Source,
    wanted: Wanted,
    page: &PageQuery,
) -> Answer<Response> {
    let (limit, now) = (page.paging::<IgnoredAny>()?.limit, Timestamp::now());
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
    let sorting = wanted.sort.unwrap_or_default();
    let query = TableQuery {
        source,
        name: wanted.name.clone(),
        standing: wanted.status,
        criteria,
        sorting,
        page: u64::from(wanted.page.unwrap_or(1)),
        limit,
    };
    // An unreadable expression matches nobody, not everybody.
    let found = match &criteria_fault {
        Some(_) => Table::empty(),
        None => table(&hosts.store, &hosts.compiler, query, now).await?,
    };
    let Table { total, pages, page: at, left_out, items } = found;
    let rows: Vec<Row> = items.into_iter().map(|asset| row(asset, now)).collect();
    let first = left_out.saturating_add(1);
    let last = left_out.saturating_add(rows.len() as u64);
    let leading = |page: u64| link(path, &wanted, Some(sorting), Some(page), limit);
    let before = (at > 1).then(|| leading(at - 1)).transpose()?;
    let next = (at < pages).then(|| leading(at + 1)).transpose()?;
    let columns = columns(source, path, &wanted, limit)?;
    let sort = wanted.sort.map(|sort| word(&sort)).transpose()?;
    let statuses = standings(source).map(|(standing, label)| {
        let value = word(&standing)?;
        Ok(Choice { value, label, chosen: wanted.status == Some(standing) })
    });
    let page = SensorsPage {
        frame: Frame::new(title, section, allowed.caller()),
        path,
        source: source_word,
        filtered: wanted.name.is_some() || wanted.status.is_some() || wanted.criteria.is_some(),
        name: wanted.name.unwrap_or_default(),
        criteria: wanted.criteria.unwrap_or_default(),
        criteria_fault,
        expiring: super::page::warnings(&hosts.store, &hosts.settings).await?,
        statuses: statuses.collect::<Answer<_>>()?,
        rows,
        columns,
        total,
        first,
        last,
        before,
        next,
        sort,
        all,
        kinds: &KINDS,
    };
    Ok(answer(StatusCode::OK, &page))
}

/// The number of addresses per row; the host's page has more.
const ADDRESSES: usize = 3;

fn row(asset: Asset, now: Timestamp) -> Row {
    let spark = asset.spark;
    let started = spark.usage.map(|usage| Timestamp::from_unix(usage.started));
    let since = spark.inactive_since.or(started);
    let protection = asset.protection.unwrap_or_else(|| protection::of(None, &spark));
    let enforcement = match asset.pending_identity {
        Some(_) => State::new("identity changed", super::display::Tone::Bad),
        None => State::protection(&protection, &spark),
    };
    let mut addresses: Vec<String> =
        asset.addresses.iter().take(ADDRESSES).map(ToString::to_string).collect();
    if asset.addresses.len() > ADDRESSES {
        addresses.push(format!("and {} more", asset.addresses.len() - ADDRESSES));
    }
    Row {
        name: asset.name.to_string(),
        activity: State::activity(&spark),
        since: since.map(|since| When::of(since, now)),
        runs: spark.inactive_since.is_none(),
        route: routes::Now::of(&spark),
        enforcement,
        reason: trouble(&spark).or(protection.reason),
        inbound: protection.inbound,
        outbound: protection.outbound,
        segments: protection.segments.join(", "),
        tags: asset.tags.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        addresses: addresses.join(", "),
        revision: State::revision(&spark),
        threat: State::threat(asset.threat.as_ref()),
        last: spark.last_check_in.map(|last| When::of(last, now)),
        problems: spark.problems.len(),
        version: spark.version,
    }
}

/// The heads of the table with the links for sorting; a second click reverses the order.
fn columns(source: Source, path: &str, wanted: &Wanted, limit: u32) -> Answer<Vec<Column>> {
    use Sorting::{
        CheckIn, CheckInDown, Name, NameDown, Revision, RevisionDown, Version, VersionDown,
    };
    let checked_in = match source {
        Source::Agent => "Last check-in",
        Source::Spark | Source::Edr => "Last execution",
    };
    let sorting = wanted.sort.unwrap_or_default();
    let column = |(title, ways): (&'static str, Option<[Sorting; 2]>)| {
        let sorted = ways.and_then(|[up, down]| match sorting {
            now if now == up => Some("ascending"),
            now if now == down => Some("descending"),
            _ => None,
        });
        let to = ways.map(|[up, down]| if sorting == up { down } else { up });
        let link = to.map(|to| link(path, wanted, Some(to), None, limit)).transpose()?;
        Ok(Column { title, number: title == "Problems", link, sorted })
    };
    let all = [
        ("Host", Some([Name, NameDown])),
        ("Activity", None),
        ("Route", None),
        ("Enforcement", None),
        ("Segments", None),
        (checked_in, Some([CheckIn, CheckInDown])),
        ("Tags", None),
        ("Addresses", None),
        ("Revision", Some([Revision, RevisionDown])),
        ("Threat list", None),
        ("Version", Some([Version, VersionDown])),
        ("Problems", None),
    ];
    all.into_iter().map(column).collect()
}

/// The same hosts in another order or on another page.
fn link(
    path: &str,
    wanted: &Wanted,
    sort: Option<Sorting>,
    page: Option<u64>,
    limit: u32,
) -> Answer<String> {
    let mut query: Vec<(&str, String)> = Vec::new();
    query.extend(wanted.name.clone().map(|name| ("name", name)));
    query.extend(wanted.criteria.clone().map(|criteria| ("where", criteria)));
    if let Some(status) = &wanted.status {
        query.push(("status", word(status)?));
    }
    if let Some(sort) = sort.filter(|sort| *sort != Sorting::default()) {
        query.push(("sort", word(&sort)?));
    }
    query.extend(page.filter(|page| *page > 1).map(|page| ("page", page.to_string())));
    if limit != PageQuery::default().paging::<IgnoredAny>()?.limit {
        query.push(("limit", limit.to_string()));
    }
    Ok(format!("{path}?{}", serde_urlencoded::to_string(query).unwrap_or_default()))
}
