//! Check-ins that are refused, as an operator should know of them.

use axum::http::StatusCode;
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_store::{assets, commit, problems, refusals};
use xshield_wire::message;

use crate::problem::{Answer, Problem};
use crate::state::App;

/// Refusals that are no trouble: the host goes on by itself, or an operator wanted it so and is told
/// in other words.
const ORDINARY: [&str; 6] = [
    "session-expired",
    "session-unknown",
    "asset-unknown",
    "asset-decommissioned",
    "identity-copied",
    "broken-body",
];

/// Writes a refused check-in of an asset down. That it can't be written down does not change the
/// answer; the log has it.
pub(super) async fn note(app: &App, asset: &AssetId, refusal: &Problem) {
    let reason = refusal.slug();
    if refusal.status == StatusCode::TOO_MANY_REQUESTS || ORDINARY.contains(&reason) {
        return;
    }
    metrics::counter!("xshield_check_ins_refused_total", "reason" => reason.to_owned())
        .increment(1);
    // The problem is in the log by now.
    drop(write_down(app, asset, reason, refusal).await);
}

async fn write_down(app: &App, asset: &AssetId, reason: &str, refusal: &Problem) -> Answer<()> {
    let now = Timestamp::now();
    let detail = match &refusal.detail {
        Some(detail) => format!("{}: {detail}", refusal.title),
        None => refusal.title.clone(),
    };
    let mut tx = app.store.write().await?;
    let Some(asset) = assets::by_id(&mut tx, asset.as_str()).await? else { return Ok(()) };
    refusals::note(&mut tx, &asset.id, reason, &detail, now).await?;
    // In words that stay the same from one check-in to the next.
    let text = format!("the platform refused a check-in: {}", refusal.title);
    let told = message::Problem { code: "check-in-refused".to_owned(), text };
    problems::note(&mut tx, &asset.id, &asset.problems, &[told], now).await?;
    commit(tx).await?;
    Ok(())
}
