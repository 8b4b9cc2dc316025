//! Reports on what a host is, what it communicates and what its program did. All of it is cut to what
//! the platform is ready to keep.

use xshield_policy::AssetId;
use xshield_wire::message::CommandKind;
use xshield_wire::telemetry::{
    AgentEvent, DebugLog, HostTelemetry, LiveEvent, LiveReport, PathReport, SoftwareContents,
    SoftwarePackage, SoftwareReport,
};
use xshield_wire::threat::ThreatMatch;

use crate::clock::Timestamp;
use crate::keys::new_id;
use crate::state::App;
use crate::store::agent_events::Live;
use crate::store::commands::{self, Job};
use crate::store::telemetry::SoftwareTaken;
use crate::store::{Doing as _, StoreResult, Tx, agent_events, paths, telemetry};

/// Texts are cut here, in characters.
const MAX_TEXT: usize = 512;
/// Lines of logs and events are cut here, in characters.
const MAX_LINE: usize = 4000;
/// Live events of one report that are kept; they are for eyes.
const MAX_LIVE: usize = 500;
/// Seconds between two requests for everything.
const RESEND_WITHIN: i64 = 24 * 3600;

fn cut(text: &mut String, most: usize) {
    if let Some((at, _)) = text.char_indices().nth(most) {
        text.truncate(at);
    }
}

fn cut_some(text: &mut Option<String>) {
    if let Some(text) = text {
        cut(text, MAX_TEXT);
    }
}

pub(super) async fn host(
    tx: &mut Tx,
    asset: &AssetId,
    mut host: HostTelemetry,
    latest: Timestamp,
    now: Timestamp,
) -> StoreResult<()> {
    host.taken = host.taken.min(latest.unix());
    for text in [&mut host.os, &mut host.kernel, &mut host.architecture, &mut host.cpu.model] {
        cut(text, MAX_TEXT);
    }
    cut_some(&mut host.runs_in);
    cut_some(&mut host.hardware);
    for disk in &mut host.disks {
        for text in [&mut disk.mount, &mut disk.device, &mut disk.file_system] {
            cut(text, MAX_TEXT);
        }
    }
    for interface in &mut host.interfaces {
        cut(&mut interface.name, MAX_TEXT);
        cut_some(&mut interface.mac);
    }
    if let Some(cloud) = &mut host.cloud {
        cut(&mut cloud.provider, MAX_TEXT);
        cut(&mut cloud.instance, MAX_TEXT);
        let rest = [
            &mut cloud.size,
            &mut cloud.region,
            &mut cloud.zone,
            &mut cloud.account,
            &mut cloud.image,
        ];
        rest.into_iter().for_each(cut_some);
    }
    telemetry::put_host(tx, asset, &host, now).await
}

/// Keeps the software; a step from an inventory that is not here makes the host send everything.
pub(super) async fn software(
    tx: &mut Tx,
    asset: &AssetId,
    mut report: SoftwareReport,
    latest: Timestamp,
    now: Timestamp,
) -> StoreResult<()> {
    report.taken = report.taken.min(latest.unix());
    let small = |package: &SoftwarePackage| {
        [&package.name, &package.version, &package.architecture, &package.manager]
            .iter()
            .all(|text| text.len() <= MAX_TEXT)
    };
    match &mut report.contents {
        SoftwareContents::Full { packages } => packages.retain(small),
        SoftwareContents::Changes { added, .. } => added.retain(small),
    }
    match telemetry::put_software(tx, asset, report, now).await? {
        SoftwareTaken::Kept => Ok(()),
        SoftwareTaken::BaseMissing => ask_for_everything(tx, asset, now).await,
    }
}

async fn ask_for_everything(tx: &mut Tx, asset: &AssetId, now: Timestamp) -> StoreResult<()> {
    if commands::is_asked(tx, asset, CommandKind::Resend, now).await? {
        return Ok(());
    }
    let job = Job {
        id: new_id("cmd-").doing("make a command's id")?,
        kind: CommandKind::Resend,
        duration: None,
        target: commands::target_text(&serde_json::json!({ "assets": [asset.as_str()] }))?,
        created_at: now,
        created_by: "platform".to_owned(),
        expires_at: now.plus(RESEND_WITHIN),
        cancelled_at: None,
    };
    commands::add(tx, &job, std::iter::once(asset)).await.map(drop)
}

pub(super) async fn paths(
    app: &App,
    tx: &mut Tx,
    asset: &AssetId,
    report: PathReport,
    latest: Timestamp,
) -> StoreResult<()> {
    for mut path in report.paths {
        path.last_seen = path.last_seen.min(latest.unix());
        path.first_seen = path.first_seen.min(path.last_seen);
        for text in [&mut path.process, &mut path.user, &mut path.service] {
            cut_some(text);
        }
        paths::add(tx, asset, &path, report.from).await?;
    }
    if report.lost > 0 {
        paths::add_lost(tx, asset, report.lost).await?;
    }
    let forgotten = paths::trim(tx, asset, app.settings.paths_per_asset).await?;
    metrics::counter!("xshield_paths_forgotten_total").increment(forgotten);
    Ok(())
}

pub(super) async fn live(
    tx: &mut Tx,
    asset: &AssetId,
    report: &LiveReport,
    latest: Timestamp,
    now: Timestamp,
) -> StoreResult<()> {
    let denials = report.events.iter().cloned().map(Live::Denial);
    let matches = report.threats.iter().cloned().map(Live::Match);
    let shown = denials.chain(matches).map(|event| event.bounded(latest));
    let lost = (report.lost > 0).then_some(Live::Lost { lost: report.lost });
    for event in shown.take(MAX_LIVE).chain(lost) {
        agent_events::add_live(tx, asset, &event, now).await?;
    }
    agent_events::trim(tx, asset).await
}

impl Live {
    /// With times that the platform believes, and short texts.
    fn bounded(mut self, latest: Timestamp) -> Self {
        let (first, last, texts) = match &mut self {
            Self::Denial(LiveEvent { event, user, service }) => {
                (&mut event.first_seen, &mut event.last_seen, [&mut event.process, user, service])
            }
            Self::Match(found) => {
                let ThreatMatch { first_seen, last_seen, process, service, .. } = found;
                (first_seen, last_seen, [process, service, &mut None])
            }
            Self::Lost { .. } => return self,
        };
        *last = (*last).min(latest.unix());
        *first = (*first).min(*last);
        texts.into_iter().for_each(cut_some);
        self
    }
}

pub(super) async fn agent(
    tx: &mut Tx,
    asset: &AssetId,
    events: Vec<AgentEvent>,
    latest: Timestamp,
    now: Timestamp,
) -> StoreResult<()> {
    for mut event in events {
        event.at = event.at.min(latest.unix());
        super::strip(&mut event.text);
        cut(&mut event.text, MAX_LINE);
        agent_events::add(tx, asset, &event, now).await?;
    }
    agent_events::trim(tx, asset).await
}

pub(super) async fn debug_log(
    tx: &mut Tx,
    asset: &AssetId,
    mut log: DebugLog,
    now: Timestamp,
) -> StoreResult<()> {
    cut(&mut log.command, MAX_TEXT);
    for line in &mut log.lines {
        super::strip(&mut line.text);
        cut(&mut line.text, MAX_LINE);
    }
    agent_events::add_log(tx, asset, &log, now).await?;
    agent_events::trim(tx, asset).await
}
