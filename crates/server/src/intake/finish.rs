//! Stores the parts of a report that replace earlier reports or exist once per asset, and prunes. Everything
//! is truncated to the platform's limits.

use xshield_model::Timestamp;
use xshield_model::live::Live;
use xshield_operations::ids::new_id;
use xshield_policy::AssetId;
use xshield_store::commands::Job;
use xshield_store::telemetry::Step;
use xshield_store::trim::Flows;
use xshield_store::{
    Doing as _, Store, StoreResult, Tx, agent_events, commands, paths, reports, telemetry,
    threat_events, trim,
};
use xshield_wire::bounds::{self, Cut};
use xshield_wire::message::{CommandKind, ReportBody};
use xshield_wire::telemetry::{DebugLog, HostTelemetry, SoftwareContents, SoftwareReport};

use super::error::ReportError;
use super::items::{Item, MAX_LINE, MAX_TEXT, Parted, short, shortened};
use crate::host_message::strip_userinfo;

/// The limit for a table in nft's syntax, in bytes.
const MAX_TABLE: usize = 1 << 20;
/// The limit for rules that a host can't enforce.
const MAX_UNENFORCEABLE: usize = 2_000;
/// The limit for listening ports of one host.
const MAX_PORTS: usize = 4_096;
/// The limit for the lines of a log chunk, in bytes.
const MAX_LOG: usize = 4 << 20;
/// Seconds between two requests to resend everything.
const RESEND_WITHIN: i64 = 24 * 3600;
/// The minimum number of seconds before everything is requested again, whatever the host answers.
const RESEND_PAUSE: i64 = 3600;

/// A report that is ready to be stored.
pub(super) struct Prepared {
    pub(super) items: Vec<Item>,
    pub(super) rest: Rest,
}

/// Stored together with the last row.
pub(super) struct Rest {
    body: ReportBody,
    software: Option<Step>,
    created: Timestamp,
    /// What was truncated here.
    pub(super) cuts: Vec<Cut>,
}

/// Does the slow work before anything is locked.
pub(super) async fn prepare(
    store: &Store,
    asset: &AssetId,
    parted: Parted,
) -> Result<Prepared, ReportError> {
    let Parted { items, mut body, created, latest } = parted;
    let mut cuts = Vec::new();
    let mut software = None;
    match &mut body {
        ReportBody::Programmed(report) => {
            let list = &mut report.unenforceable;
            cuts.extend(shortened("unenforceable rules", list, MAX_UNENFORCEABLE));
            list.iter_mut().for_each(|rule| bounds::text(&mut rule.reason, MAX_TEXT));
            if let Some(text) = &mut report.text {
                cuts.extend(table_cut(text));
            }
        }
        ReportBody::ListeningPorts { ports } => {
            cuts.extend(shortened("listening ports", ports, MAX_PORTS));
            for port in ports {
                short(&mut port.process);
                short(&mut port.path);
            }
        }
        ReportBody::Host(host) => host_bounded(host, latest),
        ReportBody::Software(report) => {
            cuts.extend(software_bounded(report, latest));
            let known = telemetry::software(&mut *store.read().await?, asset).await;
            // An unreadable inventory counts as never reported.
            let known = known
                .inspect_err(|error| tracing::error!(%error, %asset, "software inventory lost"));
            let nothing = SoftwareContents::Full { packages: Vec::new() };
            let contents = std::mem::replace(&mut report.contents, nothing);
            let SoftwareReport { taken, digest, .. } = *report;
            let report = SoftwareReport { taken, digest, contents };
            let known = known.ok().flatten();
            let step = move || telemetry::step(known, report);
            software = Some(tokio::task::spawn_blocking(step).await??);
        }
        ReportBody::DebugLog(log) => log_bounded(log),
        _ => {}
    }
    Ok(Prepared { items, rest: Rest { body, software, created, cuts } })
}

/// Truncates the text of a table at the end of a line, and adds a line with the number of missing bytes.
fn table_cut(text: &mut String) -> Option<Cut> {
    let had = text.len();
    if had <= MAX_TABLE {
        return None;
    }
    let fits = (0..=MAX_TABLE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let kept = text[..fits].rfind('\n').map_or(fits, |at| at + 1);
    text.truncate(kept);
    text.push_str(&format!("# cut here: {} more bytes\n", had - kept));
    Some(Cut { what: "bytes of the table's text", had, kept })
}

fn host_bounded(host: &mut HostTelemetry, latest: Timestamp) {
    host.taken = host.taken.min(latest.unix());
    for text in [&mut host.os, &mut host.kernel, &mut host.architecture, &mut host.cpu.model] {
        bounds::text(text, MAX_TEXT);
    }
    short(&mut host.runs_in);
    short(&mut host.hardware);
    for disk in &mut host.disks {
        for text in [&mut disk.mount, &mut disk.device, &mut disk.file_system] {
            bounds::text(text, MAX_TEXT);
        }
    }
    for interface in &mut host.interfaces {
        bounds::text(&mut interface.name, MAX_TEXT);
        short(&mut interface.mac);
    }
    if let Some(cloud) = &mut host.cloud {
        bounds::text(&mut cloud.provider, MAX_TEXT);
        bounds::text(&mut cloud.instance, MAX_TEXT);
        let rest = [
            &mut cloud.size,
            &mut cloud.region,
            &mut cloud.zone,
            &mut cloud.account,
            &mut cloud.image,
        ];
        rest.into_iter().for_each(short);
    }
}

fn software_bounded(report: &mut SoftwareReport, latest: Timestamp) -> Option<Cut> {
    report.taken = report.taken.min(latest.unix());
    let list = match &mut report.contents {
        SoftwareContents::Full { packages } => packages,
        SoftwareContents::Changes { added, .. } => added,
    };
    let had = list.len();
    list.retain(|package| {
        let texts = [&package.name, &package.version, &package.architecture, &package.manager];
        texts.iter().all(|text| text.len() <= MAX_TEXT)
    });
    let kept = list.len();
    (kept < had).then_some(Cut { what: "packages", had, kept })
}

fn log_bounded(log: &mut DebugLog) {
    bounds::text(&mut log.command, MAX_TEXT);
    let mut left = MAX_LOG;
    let had = log.lines.len();
    let fits = |line: &xshield_wire::telemetry::DebugLine| {
        left = left.checked_sub(line.text.len().min(MAX_LINE) + 64)?;
        Some(())
    };
    let kept = log.lines.iter().map_while(fits).count();
    log.lines.truncate(kept);
    log.dropped = log.dropped.saturating_add(u64::try_from(had - kept).unwrap_or(u64::MAX));
    for line in &mut log.lines {
        strip_userinfo(&mut line.text);
        bounds::text(&mut line.text, MAX_LINE);
    }
}

/// Stores the parts that exist once per asset.
pub(super) async fn finish(
    tx: &mut Tx,
    asset: &AssetId,
    rest: Rest,
    now: Timestamp,
) -> StoreResult<()> {
    let Rest { body, software, created, .. } = rest;
    match body {
        ReportBody::Programmed(report) => {
            reports::put_programmed(tx, asset, &report, created, now).await?;
            commands::resent(tx, asset, created, now).await
        }
        ReportBody::ListeningPorts { ports } => {
            reports::put_listening(tx, asset, &ports, created, now).await
        }
        ReportBody::Events(report) if report.lost > 0 => {
            reports::add_lost(tx, asset, report.lost).await
        }
        ReportBody::Paths(report) if report.lost > 0 => {
            paths::add_lost(tx, asset, report.lost).await
        }
        ReportBody::Threats(report) if report.lost > 0 => {
            metrics::counter!("xshield_threat_events_lost_total").increment(report.lost);
            threat_events::add_lost(tx, asset, report.lost, now).await
        }
        ReportBody::Live(report) if report.lost > 0 => {
            let lost = Live::Lost { lost: report.lost };
            agent_events::add_live(tx, asset, &lost, now).await?;
            agent_events::trim(tx, asset).await
        }
        ReportBody::Host(host) => telemetry::put_host(tx, asset, &host, now).await,
        ReportBody::Software(_) => match software {
            Some(Step::Put(inventory)) => telemetry::put_software(tx, asset, *inventory, now).await,
            Some(Step::BaseMissing) => ask_for_everything(tx, asset, now).await,
            Some(Step::Kept) | None => Ok(()),
        },
        ReportBody::DebugLog(log) => {
            agent_events::add_log(tx, asset, &log, now).await?;
            agent_events::trim(tx, asset).await
        }
        _ => Ok(()),
    }
}

/// A difference to an unknown inventory makes the host send everything.
pub(crate) async fn ask_for_everything(
    tx: &mut Tx,
    asset: &AssetId,
    now: Timestamp,
) -> StoreResult<()> {
    let since = now.plus(-RESEND_PAUSE);
    if commands::is_asked(tx, asset, CommandKind::Resend, since, now).await? {
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

/// The maximum number of flows kept per asset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    pub(super) events: i64,
    pub(super) paths: i64,
    pub(super) threats: i64,
}

/// Deletes the asset's oldest flows beyond the limit, in separate short transactions.
pub(super) async fn make_room(
    store: &Store,
    keep: Keep,
    asset: &AssetId,
    items: &[Item],
) -> StoreResult<()> {
    match items.first() {
        Some(Item::Event(_)) => {
            let keep = keep.events;
            let forgotten = trim::flows(store, Flows::Events, asset, keep).await?;
            metrics::counter!("xshield_events_forgotten_total").increment(forgotten);
        }
        Some(Item::Path(..)) => {
            let keep = keep.paths;
            let forgotten = trim::flows(store, Flows::Paths, asset, keep).await?;
            metrics::counter!("xshield_paths_forgotten_total").increment(forgotten);
        }
        Some(Item::Threat(_) | Item::Live(_)) => {
            let keep = keep.threats;
            let mut forgotten = trim::flows(store, Flows::Threats, asset, keep).await?;
            let most = keep.saturating_mul(2);
            forgotten += trim::flows(store, Flows::ThreatsUnjudged, asset, most).await?;
            metrics::counter!("xshield_threat_events_forgotten_total").increment(forgotten);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_truncated_at_a_line_and_marked() {
        let mut short = "table\n".to_owned();
        assert_eq!(table_cut(&mut short), None);
        let line = format!("{}é\n", "x".repeat(60));
        let whole = line.repeat(2 * MAX_TABLE / line.len());
        let mut text = whole.clone();
        let cut = table_cut(&mut text).unwrap();
        let (kept, mark) = text.split_at(cut.kept);
        assert!(whole.starts_with(kept) && kept.ends_with('\n') && kept.len() > MAX_TABLE - 100);
        assert_eq!(mark, format!("# cut here: {} more bytes\n", whole.len() - kept.len()));
        let mut one_line = "é".repeat(MAX_TABLE);
        table_cut(&mut one_line).unwrap();
        assert!(one_line.len() < MAX_TABLE + 100);
    }
}
