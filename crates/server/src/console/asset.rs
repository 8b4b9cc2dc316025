//! One host: its state, its routes to the platform, its reports.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use xshield_api::agents::{AgentEvent, AgentEventQuery, Diagnostics, DiagnosticsQuery};
use xshield_api::assets::{Asset, PastProblem, Spark, WaitingIdentity};
use xshield_model::Timestamp;
use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::paging::Paging;
use xshield_operations::standing::trouble;
use xshield_operations::{agent_events, assets, commands, diagnostics, host_telemetry, protection};
use xshield_policy::inventory::Source;
use xshield_store::Store;
use xshield_store::word;
use xshield_wire::message::Problem;
use xshield_wire::telemetry::AgentEventKind;

use super::commands::{self as given, KINDS, Kind};
use super::display::{State, Tone, When, bytes};
use super::page::{Frame, Section, answer};
use super::routes::{self, Route};
use super::session::Visitor;
use crate::auth::Viewer;
use crate::problem::Answer;
use crate::settings::Settings;
use crate::state::App;

/// The number of events, commands and archives shown; the CLI and the API have the rest.
const RECENT: u32 = 20;
/// The number of addresses shown; the API has the rest.
const ADDRESSES: usize = 50;

pub(super) fn router() -> Router<App> {
    Router::new().route("/assets/{asset}", get(show))
}

#[derive(Template)]
#[template(path = "asset.html")]
struct AssetPage {
    frame: Frame,
    name: String,
    /// The table that lists it.
    table: (&'static str, &'static str),
    activity: State,
    since: Option<When>,
    missed: Option<String>,
    enforcement: State,
    trouble: Option<String>,
    inbound: Option<String>,
    outbound: Option<String>,
    segments: String,
    /// Check-ins refused since the last accepted one.
    refused: Option<Refused>,
    revision: State,
    threat: State,
    threat_failure: Option<String>,
    last: Option<When>,
    version: String,
    route: routes::Now,
    routes: Vec<Route>,
    /// Findings of the platform about it: pending names and addresses, copies.
    findings: Vec<Problem>,
    problems: Vec<Told>,
    /// Resolved problems.
    past: Vec<Told>,
    events: Vec<Event>,
    facts: Vec<(&'static str, String)>,
    usage: Option<Usage>,
    commands: Vec<given::Given>,
    archives: Vec<Archive>,
    kinds: &'static [Kind],
    waiting: Vec<Waiting>,
}

/// Refused check-ins.
struct Refused {
    times: u64,
    first: When,
    last: When,
}

/// An identity key that claims the asset's name and is not pinned.
struct Waiting {
    fingerprint: String,
    from: String,
    key: String,
    first: When,
    last: When,
    attempts: u64,
}

impl Waiting {
    fn of(other: WaitingIdentity, now: Timestamp) -> Self {
        Self {
            fingerprint: other.fingerprint.to_string(),
            from: other.from.map_or_else(|| "not known".to_owned(), |from| from.to_string()),
            first: When::of(other.since, now),
            last: When::of(other.last_seen, now),
            key: other.key,
            attempts: other.attempts,
        }
    }
}

/// A problem that the host reported.
struct Told {
    code: String,
    text: String,
    current: bool,
    first: When,
    last: When,
    times: u64,
}

/// An event of the host's program.
struct Event {
    at: When,
    kind: State,
    text: String,
}

/// The resource usage of a resident program.
struct Usage {
    since: When,
    cpu: String,
    memory: String,
}

/// Collected diagnostics.
pub(super) struct Archive {
    pub(super) id: String,
    pub(super) size: String,
    pub(super) created: When,
    pub(super) whole: bool,
}

impl Archive {
    pub(super) fn of(collected: &Diagnostics, now: Timestamp) -> Self {
        Self {
            id: collected.id.clone(),
            size: bytes(collected.size),
            created: When::of(collected.created_at, now),
            whole: collected.complete,
        }
    }
}

async fn show(
    Shared(store): Shared<Store>,
    Shared(compiler): Shared<Arc<RulesetCompiler>>,
    Shared(settings): Shared<Arc<Settings>>,
    Visitor(allowed): Visitor<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Response> {
    let now = Timestamp::now();
    let asset = assets::get(&store, &compiler, &asset, now).await?;
    let id = asset.id.as_str();
    let mut conn = store.read().await?;
    let told = assets::problems(&mut conn, id).await?;
    let (query, recent) = (AgentEventQuery::default(), Paging::first(RECENT));
    let events = agent_events::list(&mut conn, Some(id), &query, recent).await?.items;
    let host = host_telemetry::reported(&mut conn, &asset.id).await?;
    let query = DiagnosticsQuery { asset: Some(id.to_owned()), command: None };
    let (keep_for, recent) = (settings.keep_uploads_for, Paging::first(RECENT));
    let archives = diagnostics::list(&mut conn, query, keep_for, recent).await?.items;
    let commands = commands::at_asset(&mut conn, id, RECENT, now).await?;
    drop(conn);

    let mut facts = facts(&asset);
    if let Some(host) = host.map(|host| host.host) {
        facts.push(("Machine", format!("{} processors, {}", host.cpu.count, bytes(host.memory))));
        facts.push(("Architecture", host.architecture));
        facts.extend(host.runs_in.map(|name| ("Runs in", name)));
        facts.extend(host.hardware.map(|name| ("Hardware", name)));
    }
    let tags: Vec<_> = asset.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !tags.is_empty() {
        facts.push(("Tags", tags.join(", ")));
    }
    let spark = asset.spark;
    let protection = asset.protection.unwrap_or_else(|| protection::of(None, &spark));
    let threat = asset.threat;
    let told = told.into_iter().map(|told| problem(told, now));
    let (current, past) = told.partition(|told: &Told| told.current);
    let (section, table) = match asset.source.known() {
        Some(Source::Agent) => (Section::Agents, ("/sensors/agents", "Agents")),
        Some(Source::Spark) => (Section::Spark, ("/sensors/spark", "Spark")),
        Some(Source::Edr) | None => (Section::Elsewhere, ("/sensors/agents", "Agents")),
    };
    let page = AssetPage {
        frame: Frame::new(asset.name.as_str(), section, allowed.caller()),
        name: asset.name.to_string(),
        table,
        activity: State::activity(&spark),
        since: spark.inactive_since.map(|since| When::of(since, now)),
        missed: missed(&spark),
        enforcement: State::protection(&protection, &spark),
        trouble: trouble(&spark).or(protection.reason),
        inbound: protection.inbound,
        outbound: protection.outbound,
        segments: protection.segments.join(", "),
        refused: spark.refused.as_ref().map(|refusal| Refused {
            times: refusal.times,
            first: When::of(refusal.first_at, now),
            last: When::of(refusal.last_at, now),
        }),
        revision: State::revision(&spark),
        threat: State::threat(threat.as_ref()),
        threat_failure: threat.and_then(|threat| threat.failure),
        last: spark.last_check_in.map(|last| When::of(last, now)),
        route: routes::Now::of(&spark),
        routes: routes::all(&spark, now),
        findings: asset.findings.unwrap_or_default(),
        problems: current,
        past,
        events: events.into_iter().map(|event| happened(event, now)).collect::<Answer<_>>()?,
        facts,
        usage: spark.usage.map(|usage| Usage {
            since: When::of(Timestamp::from_unix(usage.started), now),
            cpu: format!("{}.{} % of a core", usage.cpu / 10, usage.cpu % 10),
            memory: bytes(usage.memory.saturating_mul(1024)),
        }),
        commands: commands
            .into_iter()
            .map(|command| given::at_asset(command, now))
            .collect::<Answer<_>>()?,
        archives: archives.iter().map(|one| Archive::of(one, now)).collect(),
        kinds: &KINDS,
        waiting: asset
            .waiting_identities
            .into_iter()
            .flatten()
            .map(|other| Waiting::of(other, now))
            .collect(),
        version: spark.version,
    };
    Ok(answer(StatusCode::OK, &page))
}

fn missed(spark: &Spark) -> Option<String> {
    let (missed, interval) = (spark.missed?, spark.interval?);
    Some(match missed {
        0 => format!("every {interval} s"),
        1 => format!("missed one check-in of one every {interval} s"),
        _ => format!("missed {missed} check-ins of one every {interval} s"),
    })
}

fn facts(asset: &Asset) -> Vec<(&'static str, String)> {
    let shown = asset.addresses.iter().take(ADDRESSES);
    let mut addresses: Vec<_> = shown.map(ToString::to_string).collect();
    if asset.addresses.len() > ADDRESSES {
        addresses.push(format!("and {} more", asset.addresses.len() - ADDRESSES));
    }
    let facts = [
        ("System", asset.os.clone()),
        ("Kernel", asset.kernel.clone()),
        ("Addresses", addresses.join(", ")),
        ("Asset id", asset.id.to_string()),
        ("Identity key", asset.fingerprint.to_string()),
    ];
    facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn problem(told: PastProblem, now: Timestamp) -> Told {
    Told {
        current: told.current,
        first: When::of(told.first_seen, now),
        last: When::of(told.last_seen, now),
        times: told.times,
        code: told.code,
        text: told.text,
    }
}

fn happened(event: AgentEvent, now: Timestamp) -> Answer<Event> {
    let tone = match event.kind.known() {
        Some(
            AgentEventKind::Tampered
            | AgentEventKind::PolicyReverted
            | AgentEventKind::ConfigurationRefused
            | AgentEventKind::SpoolDamaged,
        ) => Tone::Bad,
        _ => Tone::Quiet,
    };
    Ok(Event {
        at: When::of(event.at, now),
        kind: State::new(word(&event.kind)?, tone),
        text: event.text,
    })
}
