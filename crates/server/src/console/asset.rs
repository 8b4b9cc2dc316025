//! One host: how it stands, its ways to the platform, what it told.

use askama::Template;
use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use xshield_api::assets::Spark;
use xshield_model::Timestamp;
use xshield_operations::asset_threat::asset_threat;
use xshield_operations::claims;
use xshield_operations::lookup::asset as named;
use xshield_operations::management;
use xshield_operations::protection;
use xshield_operations::standing::{spark_of, trouble};
use xshield_policy::inventory::Source;
use xshield_store::agent_events::{AgentEventFilter, StoredAgentEvent};
use xshield_store::assets::StoredAsset;
use xshield_store::identities::OtherIdentity;
use xshield_store::problems::StoredProblem;
use xshield_store::uploads::{Progress, Upload, UploadFilter};
use xshield_store::{
    agent_events, assets, identities, problems, telemetry, threat_assets, uploads, word,
};
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::Problem;
use xshield_wire::telemetry::AgentEventKind;

use super::commands::{self, KINDS, Kind};
use super::look::{State, Tone, When, bytes};
use super::page::{Frame, Section, answer};
use super::routes::{self, Route};
use super::session::Visitor;
use crate::auth::Viewer;
use crate::problem::Answer;
use crate::state::App;

/// Events, commands and archives that are shown; the CLI and the API have the rest.
const RECENT: u32 = 20;
/// Addresses that are shown; the API has the rest.
const ADDRESSES: usize = 50;

pub(super) fn router() -> Router<App> {
    Router::new().route("/assets/{asset}", get(show))
}

#[derive(Template)]
#[template(path = "asset.html")]
struct AssetPage {
    frame: Frame,
    name: String,
    /// The table that it is in.
    table: (&'static str, &'static str),
    activity: State,
    since: Option<When>,
    missed: Option<String>,
    enforcement: State,
    trouble: Option<String>,
    inbound: Option<String>,
    outbound: Option<String>,
    segments: String,
    /// Check-ins that were refused since the last one that was taken.
    refused: Option<Refused>,
    revision: State,
    threat: State,
    threat_failure: Option<String>,
    last: Option<When>,
    version: String,
    route: routes::Now,
    routes: Vec<Route>,
    /// What the platform finds about it: names and addresses that wait, copies.
    findings: Vec<Problem>,
    problems: Vec<Told>,
    /// Those that are over.
    past: Vec<Told>,
    events: Vec<Event>,
    facts: Vec<(&'static str, String)>,
    usage: Option<Usage>,
    commands: Vec<commands::Given>,
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

/// An identity key that speaks in the asset's name and is not its own.
struct Waiting {
    fingerprint: String,
    from: String,
    key: String,
    first: When,
    last: When,
    attempts: u64,
}

impl Waiting {
    fn of(other: OtherIdentity, now: Timestamp) -> Self {
        Self {
            fingerprint: other.fingerprint().to_string(),
            from: other.from.map_or_else(|| "not known".to_owned(), |from| from.to_string()),
            first: When::of(other.first_seen, now),
            last: When::of(other.last_seen, now),
            key: other.key,
            attempts: other.attempts,
        }
    }
}

/// A problem that the host told of.
struct Told {
    code: String,
    text: String,
    current: bool,
    first: When,
    last: When,
    times: u64,
}

/// What the host's program did.
struct Event {
    at: When,
    kind: State,
    text: String,
}

/// What a resident program uses.
struct Usage {
    since: When,
    cpu: String,
    memory: String,
}

/// Diagnostics that were collected.
pub(super) struct Archive {
    pub(super) id: String,
    pub(super) size: String,
    pub(super) created: When,
    pub(super) whole: bool,
}

impl Archive {
    pub(super) fn of(upload: &Upload, now: Timestamp) -> Self {
        Self {
            id: upload.id.clone(),
            size: bytes(upload.total),
            created: When::of(upload.created_at, now),
            whole: upload.progress == Progress::Complete,
        }
    }
}

async fn show(
    Shared(app): Shared<App>,
    Visitor(allowed): Visitor<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Response> {
    let now = Timestamp::now();
    let mut conn = app.store.read().await?;
    let asset = named(&mut conn, &asset).await?;
    let spark = spark_of(&asset, app.compiler.failure(&asset.id), now);
    let threat = asset_threat(&threat_assets::get(&mut conn, &asset.id).await?);
    let tags = assets::tags_of(&mut conn, std::iter::once(&asset.id)).await?;
    let told = problems::list(&mut conn, &asset.id).await?;
    let mut findings = claims::findings(&mut conn, &asset, now).await?;
    let filter = AgentEventFilter { asset: Some(asset.id.clone()), ..AgentEventFilter::default() };
    let events = agent_events::list(&mut conn, &filter, None, RECENT).await?;
    let host = telemetry::host(&mut conn, &asset.id).await?;
    let filter = UploadFilter { asset: Some(asset.id.clone()), ..UploadFilter::default() };
    let archives = uploads::list(&mut conn, &filter, None, RECENT).await?;
    let commands = commands::recent_of(&mut conn, &asset.id, RECENT, now).await?;
    let waiting = identities::waiting(&mut conn, &asset.id).await?;
    drop(conn);
    findings.extend(management::finding(&app.compiler, &asset.id).await?);

    let mut facts = facts(&asset);
    if let Some(host) = host.map(|host| host.value) {
        facts.push(("Machine", format!("{} processors, {}", host.cpu.count, bytes(host.memory))));
        facts.push(("Architecture", host.architecture));
        facts.extend(host.runs_in.map(|name| ("Runs in", name)));
        facts.extend(host.hardware.map(|name| ("Hardware", name)));
    }
    let tags = tags.get(&asset.id).into_iter().flatten();
    let tags: Vec<_> = tags.map(|(key, value)| format!("{key}={value}")).collect();
    if !tags.is_empty() {
        facts.push(("Tags", tags.join(", ")));
    }
    let standings = app.compiler.standings([asset.id.clone()]).await?;
    let protection = protection::of(standings.get(&asset.id), &spark);
    let told = told.into_iter().map(|told| problem(told, &asset, now));
    let (current, past) = told.partition(|told: &Told| told.current);
    let (section, table) = match asset.source {
        Source::Agent => (Section::Agents, ("/sensors/agents", "Agents")),
        Source::Spark => (Section::Spark, ("/sensors/spark", "Spark")),
        Source::Edr => (Section::Elsewhere, ("/sensors/agents", "Agents")),
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
        findings,
        problems: current,
        past,
        events: events.into_iter().map(|event| happened(event, now)).collect::<Answer<_>>()?,
        facts,
        usage: spark.usage.map(|usage| Usage {
            since: When::of(Timestamp::from_unix(usage.started), now),
            cpu: format!("{}.{} % of a core", usage.cpu / 10, usage.cpu % 10),
            memory: bytes(usage.memory.saturating_mul(1024)),
        }),
        commands,
        archives: archives.iter().map(|upload| Archive::of(upload, now)).collect(),
        kinds: &KINDS,
        waiting: waiting.into_iter().map(|other| Waiting::of(other, now)).collect(),
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

fn facts(asset: &StoredAsset) -> Vec<(&'static str, String)> {
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
        ("Identity key", IdentityFingerprint::of(&asset.identity).to_string()),
    ];
    facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn problem(told: StoredProblem, asset: &StoredAsset, now: Timestamp) -> Told {
    let is_told = asset.problems.iter().any(|one| one.code == told.code && one.text == told.text);
    Told {
        current: is_told,
        first: When::of(told.first_seen, now),
        last: When::of(told.last_seen, now),
        times: told.times,
        code: told.code,
        text: told.text,
    }
}

fn happened(stored: StoredAgentEvent, now: Timestamp) -> Answer<Event> {
    let tone = match stored.event.kind {
        AgentEventKind::Tampered
        | AgentEventKind::PolicyReverted
        | AgentEventKind::ConfigurationRefused
        | AgentEventKind::SpoolDamaged => Tone::Bad,
        _ => Tone::Quiet,
    };
    Ok(Event {
        at: When::of(Timestamp::from_unix(stored.event.at), now),
        kind: State::new(word(&stored.event.kind)?, tone),
        text: stored.event.text,
    })
}
