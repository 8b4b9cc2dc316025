//! Refused check-ins, as shown to operators.

use axum::http::StatusCode;
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_store::{Store, assets, commit, problems, refusals};
use xshield_wire::message;

use crate::problem::{Answer, ErrorResponse};

/// Expected refusals: the host recovers by itself, or an operator caused it and is informed otherwise.
const ORDINARY: [&str; 6] = [
    "session-expired",
    "session-unknown",
    "asset-unknown",
    "asset-decommissioned",
    "identity-copied",
    "broken-body",
];

/// Records a refused check-in of an asset. Failing to record it does not change the response; the error is
/// logged.
pub(super) async fn note(store: &Store, asset: &AssetId, refusal: &ErrorResponse) {
    let reason = refusal.slug();
    if refusal.status == StatusCode::TOO_MANY_REQUESTS || ORDINARY.contains(&reason) {
        return;
    }
    metrics::counter!("xshield_check_ins_refused_total", "reason" => reason.to_owned())
        .increment(1);
    // Already logged.
    drop(write_down(store, asset, reason, refusal).await);
}

async fn write_down(
    store: &Store,
    asset: &AssetId,
    reason: &str,
    refusal: &ErrorResponse,
) -> Answer<()> {
    let now = Timestamp::now();
    let detail = match &refusal.detail {
        Some(detail) => format!("{}: {detail}", refusal.title),
        None => refusal.title.clone(),
    };
    let mut tx = store.write().await?;
    let Some(asset) = assets::by_id(&mut tx, asset.as_str()).await? else { return Ok(()) };
    refusals::note(&mut tx, &asset.id, reason, &detail, now).await?;
    // The text is the same from one check-in to the next.
    let text = format!("the platform refused a check-in: {}", refusal.title);
    let told = message::Problem { code: "check-in-refused".to_owned(), text };
    problems::note(&mut tx, &asset.id, &asset.problems, &[told], now).await?;
    commit(tx).await?;
    Ok(())
}
