//! `POST /host/v1/reports`: what a host saw. Acknowledged once it is on disk, counted once however
//! often it comes.

use std::io::Read as _;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use xshield_policy::AssetId;
use xshield_wire::bounds::Cut;
use xshield_wire::message::{self, FirewallEvent, Report, ReportAnswer, ReportBody, VERSION};

use super::signed::{FromHost, read_message};
use super::telemetry;
use crate::alerts::intake;
use crate::clock::Timestamp;
use crate::problem::{Answer, Problem};
use crate::state::App;
use crate::store::{StoreResult, Tx, commands, commit, events, problems, reports};

/// Largest unpacked report, in bytes.
const MAX_UNPACKED: u64 = 64 << 20;
/// Nothing a host says packs better than this.
const MAX_RATIO: u64 = 500;
/// The packer's window, as a power of two: what unpacking may take besides its output.
const WINDOW_LOG: u32 = 23;
/// A Zstandard frame begins so (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// How far a host's clock may be ahead, in seconds, before its times are cut.
const AHEAD: i64 = 300;
/// Program names and paths are cut here, in characters.
const MAX_PROCESS: usize = 512;

pub(super) async fn take(State(app): State<App>, request: FromHost) -> Answer<Json<ReportAnswer>> {
    let FromHost { asset, body, now, .. } = request;
    let (report, cuts) = {
        let _permit = app.limits.reports.acquire().await;
        tokio::task::spawn_blocking(move || read(&body)).await??
    };
    let acknowledged = report.batch;
    let mut tx = app.store.write().await?;
    if reports::first_time(&mut tx, &asset.id, report.batch, now).await? {
        store(&app, &mut tx, &asset.id, report, now).await?;
        let told: Vec<_> = cuts.into_iter().map(message::Problem::from).collect();
        if !told.is_empty() {
            problems::note(&mut tx, &asset.id, &asset.problems, &told, now).await?;
        }
        metrics::counter!("xshield_reports_total", "outcome" => "counted").increment(1);
    } else {
        metrics::counter!("xshield_reports_total", "outcome" => "known").increment(1);
    }
    commit(tx).await?;
    app.alerts.fresh.notify_one();
    Ok(Json(ReportAnswer { version: VERSION, acknowledged }))
}

async fn store(
    app: &App,
    tx: &mut Tx,
    asset: &AssetId,
    report: Report,
    now: Timestamp,
) -> StoreResult<()> {
    let latest = now.plus(AHEAD);
    let created = Timestamp::from_unix(report.created).min(latest);
    match report.body {
        ReportBody::Programmed(programmed) => {
            reports::put_programmed(tx, asset, &programmed, created, now).await?;
            commands::resent(tx, asset, created, now).await
        }
        ReportBody::ListeningPorts { ports } => {
            reports::put_listening(tx, asset, &ports, created, now).await
        }
        ReportBody::Events(report) => {
            for event in report.events {
                events::add(tx, asset, &bounded(event, latest)).await?;
            }
            if report.lost > 0 {
                reports::add_lost(tx, asset, report.lost).await?;
            }
            let keep = app.settings.flows_per_asset;
            if events::count(tx, asset).await? > keep {
                let forgotten = events::trim(tx, asset, keep).await?;
                metrics::counter!("xshield_events_forgotten_total").increment(forgotten);
            }
            Ok(())
        }
        ReportBody::Commands { outcomes } => {
            for outcome in outcomes {
                commands::finish(tx, asset, &outcome, now).await?;
            }
            Ok(())
        }
        ReportBody::Threats(report) => intake::from_host(app, tx, asset, report, now).await,
        ReportBody::Live(report) => {
            telemetry::live(tx, asset, &report, latest, now).await?;
            intake::live(app, tx, asset, report.threats, now).await
        }
        ReportBody::Host(host) => telemetry::host(tx, asset, *host, latest, now).await,
        ReportBody::Software(report) => telemetry::software(tx, asset, report, latest, now).await,
        ReportBody::Paths(report) => telemetry::paths(app, tx, asset, report, latest).await,
        ReportBody::Agent { events } => telemetry::agent(tx, asset, events, latest, now).await,
        ReportBody::DebugLog(log) => telemetry::debug_log(tx, asset, log, now).await,
    }
}

/// An event whose times the platform believes and whose texts are short.
fn bounded(mut event: FirewallEvent, latest: Timestamp) -> FirewallEvent {
    event.last_seen = event.last_seen.min(latest.unix());
    event.first_seen = event.first_seen.min(event.last_seen);
    if let Some(process) = &mut event.process
        && let Some((at, _)) = process.char_indices().nth(MAX_PROCESS)
    {
        process.truncate(at);
    }
    event
}

/// Reads a report, and cuts what is too much of it.
fn read(body: &Bytes) -> Answer<(Report, Vec<Cut>)> {
    let mut report: Report = if body.starts_with(&ZSTD_MAGIC) {
        read_message(&unpack(body)?)?
    } else {
        read_message(body)?
    };
    let cuts = report.fit();
    Ok((report, cuts))
}

fn unpack(body: &[u8]) -> Answer<Vec<u8>> {
    let refuse = |error: std::io::Error| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-zstd", "The body can't be unpacked")
            .detail(error.to_string())
    };
    let packed = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let limit = MAX_UNPACKED.min(packed.saturating_mul(MAX_RATIO));
    let mut reader = zstd::stream::read::Decoder::with_buffer(body).map_err(refuse)?;
    reader.window_log_max(WINDOW_LOG).map_err(refuse)?;
    let mut unpacked = Vec::new();
    reader.take(limit + 1).read_to_end(&mut unpacked).map_err(refuse)?;
    if unpacked.len() as u64 > limit {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The report is too large",
        )
        .detail(format!("{packed} bytes unpack to more than {limit}; send several reports")));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bombs_and_damage_are_refused() {
        let bomb = zstd::bulk::compress(&vec![b' '; 32 << 20], 19).unwrap();
        assert_eq!(unpack(&bomb).unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        let whole = zstd::bulk::compress(b"{\"version\":1}", 3).unwrap();
        assert_eq!(unpack(&whole).unwrap(), b"{\"version\":1}");
        for cut in 5..whole.len() {
            assert_eq!(unpack(&whole[..cut]).unwrap_err().status, StatusCode::BAD_REQUEST, "{cut}");
        }
        let mut trailing = whole.clone();
        trailing.extend_from_slice(b"tail");
        assert_eq!(unpack(&trailing).unwrap_err().status, StatusCode::BAD_REQUEST);
    }
}
