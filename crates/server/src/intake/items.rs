//! The rows of a report, each of which is stored separately.

use xshield_intelligence::past::Attribution;
use xshield_model::Timestamp;
use xshield_model::live::Live;
use xshield_model::threat_match::ReadFrom;
use xshield_policy::AssetId;
use xshield_store::threat_events::{AlertEvaluation, ThreatEvent};
use xshield_store::{
    StoreResult, Tx, agent_events, commands, events, paths, reports, threat_events,
};
use xshield_wire::bounds::{self, Cut};
use xshield_wire::message::{CommandOutcome, FirewallEvent, Report, ReportBody, RuleHits};
use xshield_wire::telemetry::{ActivePath, AgentEvent, LiveEvent, PathSource};
use xshield_wire::threat::ThreatMatch;

use super::matches;
use crate::host_message::strip_userinfo;

/// How far a host's clock may be ahead, in seconds, before its times are clamped.
const AHEAD: i64 = 300;
/// The limit for texts, in bytes as JSON.
pub(super) const MAX_TEXT: usize = 512;
/// The limit for lines of logs and events, in bytes as JSON.
pub(super) const MAX_LINE: usize = 4_000;
/// The limit for live events of one report; they are for display only.
const MAX_LIVE: usize = 500;
/// The limit for matches of one host that the alert rules have not evaluated; further ones are counted and
/// listed, but raise no alert.
const MOST_UNJUDGED: i64 = 20_000;

/// A row.
pub(super) enum Item {
    Event(FirewallEvent),
    Hits(RuleHits, Timestamp),
    Path(ActivePath, PathSource),
    Threat(Box<ThreatEvent>),
    Live(Box<Live>),
    Agent(AgentEvent),
    Outcome(CommandOutcome),
}

/// A report split into rows.
pub(super) struct Parted {
    pub(super) items: Vec<Item>,
    /// The rest of it.
    pub(super) body: ReportBody,
    /// When it was made, as far as the platform believes it.
    pub(super) created: Timestamp,
    /// Later times are not believed.
    pub(super) latest: Timestamp,
}

/// Extracts the rows of a report, with truncated texts and plausible times, and looks each peer up in the
/// threat list. May take a while.
pub(super) fn prepare(report: Report, mut attribution: Attribution, now: Timestamp) -> Parted {
    let latest = now.plus(AHEAD);
    let created = Timestamp::from_unix(report.created).min(latest);
    let mut body = report.body;
    let items = match &mut body {
        ReportBody::Events(report) => {
            taken(&mut report.events, |event| Item::Event(bounded(event, latest)))
        }
        ReportBody::Programmed(report) => taken(&mut report.hits, |hits| Item::Hits(hits, created)),
        ReportBody::Paths(report) => {
            let from = report.from;
            taken(&mut report.paths, |path| Item::Path(path_bounded(path, latest), from))
        }
        ReportBody::Threats(report) => taken(&mut report.matches, |found| {
            Item::Threat(Box::new(matches::read(&mut attribution, found, now)))
        }),
        ReportBody::Live(report) => {
            let denials = report.events.drain(..).map(Live::Denial).collect::<Vec<_>>();
            let matches = report.threats.iter().cloned().map(Live::Match);
            let shown = denials.into_iter().chain(matches).take(MAX_LIVE);
            let mut items: Vec<_> =
                shown.map(|live| Item::Live(Box::new(live_bounded(live, latest)))).collect();
            items.extend(taken(&mut report.threats, |found| {
                // The flow is known and has its alert already, and is not counted again.
                let uncounted = ThreatMatch { packets: 0, bytes: 0, ..found };
                Item::Threat(Box::new(matches::read(&mut attribution, uncounted, now)))
            }));
            items
        }
        ReportBody::Agent { events } => taken(events, |event| {
            let mut event = event;
            event.at = event.at.min(latest.unix());
            strip_userinfo(&mut event.text);
            bounds::text(&mut event.text, MAX_LINE);
            Item::Agent(event)
        }),
        ReportBody::Commands { outcomes } => taken(outcomes, Item::Outcome),
        ReportBody::ListeningPorts { .. }
        | ReportBody::Host(_)
        | ReportBody::Software(_)
        | ReportBody::DebugLog(_) => Vec::new(),
    };
    Parted { items, body, created, latest }
}

fn taken<T>(list: &mut Vec<T>, item: impl FnMut(T) -> Item) -> Vec<Item> {
    std::mem::take(list).into_iter().map(item).collect()
}

/// Truncates a list; returns whether it was longer.
pub(super) fn shortened<T>(what: &'static str, list: &mut Vec<T>, most: usize) -> Option<Cut> {
    let had = list.len();
    list.truncate(most);
    (had > most).then_some(Cut { what, had, kept: most })
}

pub(super) fn short(text: &mut Option<String>) {
    if let Some(text) = text {
        bounds::text(text, MAX_TEXT);
    }
}

fn bounded(mut event: FirewallEvent, latest: Timestamp) -> FirewallEvent {
    event.last_seen = event.last_seen.min(latest.unix());
    event.first_seen = event.first_seen.min(event.last_seen);
    short(&mut event.process);
    event
}

fn path_bounded(mut path: ActivePath, latest: Timestamp) -> ActivePath {
    path.last_seen = path.last_seen.min(latest.unix());
    path.first_seen = path.first_seen.min(path.last_seen);
    [&mut path.process, &mut path.user, &mut path.service].into_iter().for_each(short);
    path
}

fn live_bounded(live: Live, latest: Timestamp) -> Live {
    match live {
        Live::Denial(LiveEvent { event, mut user, mut service }) => {
            [&mut user, &mut service].into_iter().for_each(short);
            Live::Denial(LiveEvent { event: bounded(event, latest), user, service })
        }
        Live::Match(mut found) => {
            found.last_seen = found.last_seen.min(latest.unix());
            found.first_seen = found.first_seen.min(found.last_seen);
            [&mut found.process, &mut found.service].into_iter().for_each(short);
            Live::Match(found)
        }
        lost @ Live::Lost { .. } => lost,
    }
}

/// How many more matches may wait for the alert rules.
pub(super) async fn room(tx: &mut Tx, asset: &AssetId, items: &[Item]) -> StoreResult<i64> {
    match items.first() {
        Some(Item::Threat(_) | Item::Live(_)) => {
            Ok(MOST_UNJUDGED.saturating_sub(threat_events::unjudged(tx, asset).await?))
        }
        _ => Ok(0),
    }
}

impl Item {
    /// Stores the row.
    pub(super) async fn store(
        &self,
        tx: &mut Tx,
        asset: &AssetId,
        room: &mut i64,
        now: Timestamp,
    ) -> StoreResult<()> {
        match self {
            Self::Event(event) => events::add(tx, asset, event).await,
            Self::Hits(hits, created) => reports::add_hits(tx, asset, hits, *created).await,
            Self::Path(path, from) => paths::add(tx, asset, path, *from).await,
            Self::Threat(event) => {
                let evaluation =
                    if *room > 0 { AlertEvaluation::Wanted } else { AlertEvaluation::LeftOut };
                *room -= 1;
                threat_events::add(tx, asset, event, evaluation, now).await?;
                let counted = u64::from(event.read_from != ReadFrom::Live);
                metrics::counter!("xshield_threat_events_total").increment(counted);
                if evaluation == AlertEvaluation::LeftOut {
                    metrics::counter!("xshield_threat_events_unjudged_total").increment(1);
                }
                Ok(())
            }
            Self::Live(live) => agent_events::add_live(tx, asset, live, now).await,
            Self::Agent(event) => agent_events::add(tx, asset, event, now).await,
            Self::Outcome(outcome) => commands::finish(tx, asset, outcome, now).await.map(drop),
        }
    }
}

/// Prunes after these were stored, where that is cheap.
pub(super) async fn tidy(tx: &mut Tx, asset: &AssetId, stored: &[Item]) -> StoreResult<()> {
    let has = |wanted: fn(&Item) -> bool| stored.iter().any(wanted);
    if has(|item| matches!(item, Item::Hits(..))) {
        reports::trim_hits(tx, asset).await?;
    }
    if has(|item| matches!(item, Item::Live(_) | Item::Agent(_))) {
        agent_events::trim(tx, asset).await?;
    }
    Ok(())
}
